use serde_json::json;

use super::*;

fn holds(selector: &str, labels: Value) -> bool {
    Labels::parse(selector).expect(selector).matches(labels.as_object())
}

#[test]
fn every_operator() {
    let l = || json!({"app": "web", "tier": "3"});
    for (s, want) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web", true),
        ("app!=web", false),
        ("zone!=a", true),
        ("app in (web, db)", true),
        ("app notin (web,db)", false),
        ("zone notin (a)", true),
        ("app", true),
        ("!app", false),
        ("!zone", true),
        ("tier>2", true),
        ("tier<3", false),
        ("app=web,tier=3", true),
        ("app in (web),tier in (1,2)", false),
    ] {
        assert_eq!(holds(s, l()), want, "{s}");
    }
}

#[test]
fn nonsense_is_refused() {
    for s in ["=", "a=b=c d", "a in b", "in (a)", "a in (b", "a b"] {
        assert!(Labels::parse(s).is_err(), "{s}");
    }
}

#[test]
fn a_selector_that_is_not_there_selects_nothing() {
    assert!(Labels::from_selector(None).is_none());
    assert!(Labels::from_selector(Some(&json!({}))).expect("selects all").matches(None));
}

#[test]
fn fields_by_path() {
    let known = ["spec.nodeName".to_owned()];
    let v = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}});
    let f = |s: &str| Fields::parse(s, &known).map(|f| f.matches(&v));
    assert_eq!(f("spec.nodeName=n,metadata.name!=b").ok(), Some(true));
    assert_eq!(f("spec.nodeName=").ok(), Some(false));
    assert_eq!(f("metadata.namespace=").ok(), Some(true), "absent reads as empty");
    assert_eq!(
        f("spec.other=x").map_err(|e| e.message).err(),
        Some("field label not supported: spec.other".into())
    );
}
