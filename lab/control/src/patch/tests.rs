use serde_json::json;

use super::fields::{Set, compare};
use super::*;
use crate::schema;

fn strategic(kind: &str, mut v: Value, diff: Value) -> Value {
    Kind::Strategic.patch(&mut v, diff, schema::named(kind).expect(kind)).expect("a good patch");
    v
}

#[test]
fn merge_patch_of_rfc_7386() {
    for (v, diff, want) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut got = v.clone();
        merge::merge(&mut got, diff.clone());
        assert_eq!(got, want, "{v} by {diff}");
    }
}

#[test]
fn lists_merge_by_their_key() {
    let v = json!({"ports": [{"port": 80, "name": "a"}, {"port": 443, "name": "b"}]});
    let got = strategic(
        "core.v1.ServiceSpec",
        v,
        json!({"ports": [{"port": 443, "nodePort": 30000}, {"port": 8080}]}),
    );
    let want = json!({"ports": [{"port": 80, "name": "a"}, {"port": 443, "name": "b", "nodePort": 30000}, {"port": 8080}]});
    assert_eq!(got, want);
}

#[test]
fn directives_are_heeded() {
    let pod =
        || json!({"containers": [{"name": "a", "image": "x"}, {"name": "b"}], "tolerations": [{"key": "k"}]});
    let of = |d: Value| strategic("core.v1.PodSpec", pod(), d);
    assert_eq!(
        of(json!({"containers": [{"name": "a", "$patch": "delete"}]}))["containers"],
        json!([{"name": "b"}])
    );
    assert_eq!(
        of(json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}))["containers"],
        json!([{"name": "z"}])
    );
    assert_eq!(
        of(json!({"tolerations": [{"key": "new"}]}))["tolerations"],
        json!([{"key": "new"}]),
        "atomic"
    );
    let order = of(json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": []}));
    assert_eq!(order["containers"][0]["name"], "b");
    let got = strategic(
        "meta.v1.ObjectMeta",
        json!({"finalizers": ["a", "b"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}),
    );
    assert_eq!(got["finalizers"], json!(["b", "c"]));
    let got = strategic(
        "apps.v1.DeploymentSpec",
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
    );
    assert_eq!(got["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn a_member_without_its_key_is_refused() {
    let mut v = json!({"containers": [{"name": "a"}]});
    let bad = Kind::Strategic.patch(
        &mut v,
        json!({"containers": [{"image": "x"}]}),
        schema::named("core.v1.PodSpec").expect("a type"),
    );
    assert!(bad.is_err());
}

#[test]
fn field_sets_are_written_as_fields_v1() {
    let s = schema::named("core.v1.PodSpec").expect("a type");
    let v = json!({"nodeName": "n", "nodeSelector": {"a": "b"},
        "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]});
    let set = Set::of(&v, s);
    let want = json!({
        "f:nodeName": {},
        "f:nodeSelector": {},
        "f:containers": {"k:{\"name\":\"c\"}": {
            ".": {},
            "f:name": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
        }},
    });
    assert_eq!(set.to_json(), want);
    assert_eq!(Set::from_json(&want), set);
    assert!(set.paths().contains(
        &".containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"].containerPort".to_owned()
    ));
}

#[test]
fn what_changed_and_what_went() {
    let s = schema::named("core.v1.PodSpec").expect("a type");
    let old = json!({"nodeName": "n", "containers": [{"name": "a", "image": "1"}, {"name": "b"}]});
    let new = json!({"containers": [{"name": "a", "image": "2"}], "hostNetwork": true});
    let (changed, removed) = compare(&old, &new, s);
    assert_eq!(changed.paths(), [".containers[name=\"a\"].image", ".hostNetwork"]);
    assert_eq!(removed.paths(), [".containers[name=\"b\"]", ".containers[name=\"b\"].name", ".nodeName"]);
}
