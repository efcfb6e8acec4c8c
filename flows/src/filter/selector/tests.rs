use super::*;
use proptest::prelude::*;

fn labels() -> Vec<String> {
    ["k8s:app=webpod", "k8s:io.kubernetes.pod.namespace=default", "reserved:host"].map(str::to_owned).to_vec()
}

#[test]
fn selectors() {
    for (text, fits) in [
        ("app", true),
        ("app=webpod", true),
        ("app==webpod", true),
        ("k8s:app=webpod", true),
        ("any:app=webpod", true),
        ("reserved:app=webpod", false),
        ("app=netpod", false),
        ("app!=netpod", true),
        ("app!=webpod", false),
        ("missing!=x", true),
        ("!app", false),
        ("!missing", true),
        ("app in (netpod, webpod)", true),
        ("app notin (netpod,webpod)", false),
        ("app in (netpod),reserved:host", false),
        ("app in (webpod), io.kubernetes.pod.namespace = default", true),
        ("reserved:host", true),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(&labels()), fits, "{text}");
    }
}

#[test]
fn nonsense_is_refused() {
    for text in ["", " , ", "=x", "app in (a", "app (a)", "a b", "in (a)", "app in a)"] {
        assert!(Selector::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,60}") {
        if let Ok(selector) = Selector::parse(&text) {
            selector.matches(&labels());
        }
    }

    #[test]
    fn a_selector_and_its_negation_never_agree(key in "[a-z]{1,5}", value in "[a-z]{1,5}") {
        let labels = vec![format!("k8s:{key}={value}")];
        let yes = Selector::parse(&format!("{key}={value}")).unwrap();
        let no = Selector::parse(&format!("{key}!={value}")).unwrap();
        prop_assert!(yes.matches(&labels) && !no.matches(&labels));
    }
}
