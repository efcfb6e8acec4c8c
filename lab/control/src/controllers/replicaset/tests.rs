use serde_json::{Value, json};

use super::*;
use crate::controllers::world::{World, going, named, pod};

fn set(replicas: i64) -> Value {
    named(
        "ReplicaSet",
        "web",
        json!({"metadata": {"generation": 3}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}}, "spec": {"containers": []}},
        }}),
    )
}

fn owned(mut p: Value) -> Value {
    p["metadata"]["ownerReferences"] = json!([owned_by(&set(0), ME.0, ME.1)]);
    p
}

fn deleted(d: &Decision) -> Vec<&str> {
    d.changes
        .iter()
        .filter_map(|c| match c {
            Change::Delete { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn makes_what_is_missing_from_the_template() {
    let w = World::new();
    let d = decide(&set(2), &[], w.now);
    let made: Vec<&Value> = d
        .changes
        .iter()
        .filter_map(|c| match c {
            Change::Create { object, .. } => Some(object),
            _ => None,
        })
        .collect();
    assert_eq!(made.len(), 2);
    assert_eq!(made[0]["metadata"]["generateName"], "web-");
    assert_eq!(made[0]["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(made[0]["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(meta::controller(made[0]).map(|c| meta::text(c, "/uid")), Some("uid-ReplicaSet-web"));
}

#[test]
fn the_worst_go_first() {
    let l = json!({"app": "web"});
    let young = |mut p: Value, t: &str| {
        p["metadata"]["creationTimestamp"] = t.into();
        p["status"]["conditions"][0]["lastTransitionTime"] = t.into();
        p
    };
    let all = [
        young(owned(pod("old", &l, "n1", "10.0.0.1", true)), "2026-01-01T00:00:00Z"),
        young(owned(pod("new", &l, "n2", "10.0.0.2", true)), "2026-01-01T01:00:00Z"),
        young(owned(pod("unready", &l, "n3", "10.0.0.3", false)), "2025-01-01T00:00:00Z"),
        young(owned(pod("placeless", &l, "", "", false)), "2025-01-01T00:00:00Z"),
    ];
    let refs: Vec<&Value> = all.iter().collect();
    let now = World::new().now;
    assert_eq!(deleted(&decide(&set(3), &refs, now)), ["placeless"]);
    assert_eq!(deleted(&decide(&set(1), &refs, now)), ["placeless", "unready", "new"]);
    let mut cheap = all.clone();
    cheap[0]["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-1"});
    assert_eq!(
        deleted(&decide(&set(1), &cheap.iter().collect::<Vec<_>>(), now)),
        ["placeless", "unready", "old"]
    );
}

#[test]
fn pods_on_their_way_out_do_not_count() {
    let l = json!({"app": "web"});
    let all =
        [owned(pod("a", &l, "n1", "10.0.0.1", true)), going(&owned(pod("b", &l, "n1", "10.0.0.2", true)))];
    let d = decide(&set(2), &all.iter().collect::<Vec<_>>(), World::new().now);
    assert_eq!(d.changes.iter().filter(|c| matches!(c, Change::Create { .. })).count(), 1);
    assert_eq!(deleted(&d), Vec::<&str>::new());
}

#[test]
fn a_matching_orphan_is_adopted_and_a_stranger_let_go() {
    let orphan = pod("orphan", &json!({"app": "web"}), "n1", "10.0.0.1", true);
    let stranger = owned(pod("stranger", &json!({"app": "db"}), "n1", "10.0.0.2", true));
    let mut other = pod("other", &json!({"app": "web"}), "n1", "10.0.0.3", true);
    other["metadata"]["ownerReferences"] = json!([{"uid": "x", "controller": true}]);
    let d = decide(&set(1), &[&orphan, &stranger, &other], World::new().now);
    let updates: Vec<&Value> = d
        .changes
        .iter()
        .filter_map(|c| match c {
            Change::Update { object, .. } => Some(object),
            _ => None,
        })
        .collect();
    assert_eq!(updates.len(), 2);
    assert!(meta::controller(updates[0]).is_none(), "{}", updates[0]);
    assert_eq!(meta::controller(updates[1]).map(|c| meta::text(c, "/uid")), Some("uid-ReplicaSet-web"));
    assert!(!d.changes.iter().any(|c| matches!(c, Change::Create { .. } | Change::Delete { .. })));
}

#[test]
fn a_set_that_goes_touches_no_pod() {
    let p = owned(pod("a", &json!({"app": "web"}), "n1", "10.0.0.1", true));
    let d = decide(&going(&set(5)), &[&p], World::new().now);
    assert!(d.changes.iter().all(|c| matches!(c, Change::UpdateStatus { .. })), "{d:?}");
}
