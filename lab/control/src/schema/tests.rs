use serde_json::json;

use super::*;

#[test]
fn every_name_in_the_table_is_there() {
    fn names(s: &Schema, out: &mut Vec<&'static str>) {
        match &s.shape {
            Shape::Named(n) => out.push(n),
            Shape::Map(i) | Shape::List(_, i) => names(i, out),
            Shape::Record(r) => r.fields.values().for_each(|f| names(f, out)),
            _ => {}
        }
    }
    let mut used = Vec::new();
    table().values().for_each(|s| names(s, &mut used));
    for n in used {
        assert!(named(n).is_some(), "{n} is used and not described");
    }
    for r in crate::resource::Registry::built_in().all() {
        let schema = r.versions[0].schema();
        assert!(matches!(schema.shape, Shape::Record(_)), "{} has no field types", r.kind);
    }
}

#[test]
fn unknown_mistyped_and_empty() {
    let mut v = json!({"metadata": {"name": "a", "labels": {}, "x": 1}, "spec": {"ports": [{"port": "80", "y": null}], "selector": null}});
    let mut f = Findings::default();
    prune(&mut v, named("core.v1.Service").expect("a type"), "", true, &mut f);
    assert_eq!(f.unknown, ["metadata.x", "spec.ports[0].y"]);
    assert_eq!(f.mistyped.len(), 1);
    assert!(f.mistyped[0].1.contains("cannot unmarshal string into Go struct field"), "{:?}", f.mistyped);
    assert_eq!(v, json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": "80"}]}}));
}

#[test]
fn a_custom_schema_keeps_what_it_is_told_to_keep() {
    let raw = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"a": {"type": "string"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let s = Schema::of_custom(&raw);
    let mut v = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"},
        "spec": {"a": "1", "b": "2"}, "status": {"anything": {"goes": []}}});
    let mut f = Findings::default();
    prune(&mut v, &s, "", false, &mut f);
    assert_eq!(f.unknown, ["spec.b"]);
    assert_eq!(v["status"], json!({"anything": {"goes": []}}));
}
