use serde_json::{Value, json};

use super::*;
use crate::controllers::world::{World, named};

fn world(spec: Value) -> World {
    let mut s = named(
        "StatefulSet",
        "db",
        json!({"metadata": {"generation": 1}, "spec": {
            "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        }}),
    );
    for (k, v) in spec.as_object().into_iter().flatten() {
        s["spec"][k] = v.clone();
    }
    let mut w = World::new();
    w.put(shelf::STATEFUL_SETS, s);
    w
}

fn round(w: &mut World) {
    let d =
        decide(&w.get(shelf::STATEFUL_SETS, "db"), &w.list(shelf::PODS), &w.list(shelf::REVISIONS), w.now);
    w.take(d);
}

fn names(w: &World) -> Vec<&str> {
    w.list(shelf::PODS).iter().map(|p| meta::name(p)).collect()
}

fn change(w: &mut World, f: impl FnOnce(&mut Value)) {
    let mut s = w.get(shelf::STATEFUL_SETS, "db");
    f(&mut s["spec"]);
    s["metadata"]["generation"] = (meta::int(&s, "/metadata/generation").unwrap_or(1) + 1).into();
    w.put(shelf::STATEFUL_SETS, s);
}

#[test]
fn pods_come_in_order_and_go_in_reverse() {
    let mut w = world(json!({"replicas": 3}));
    for want in 1..=3 {
        round(&mut w);
        round(&mut w);
        assert_eq!(names(&w).len(), want, "the next comes when the last is ready");
        w.kubelets(9);
    }
    assert_eq!(names(&w), ["db-0", "db-1", "db-2"]);
    let p = w.get(shelf::PODS, "db-1");
    assert_eq!((meta::text(&p, "/spec/hostname"), meta::text(&p, "/spec/subdomain")), ("db-1", "db"));
    change(&mut w, |s| s["replicas"] = 1.into());
    round(&mut w);
    round(&mut w);
    assert_eq!(w.list(shelf::PODS).iter().filter(|p| meta::is_deleting(p)).count(), 1);
    w.kubelets(9);
    assert_eq!(names(&w), ["db-0", "db-1"]);
    round(&mut w);
    w.kubelets(9);
    round(&mut w);
    assert_eq!(names(&w), ["db-0"]);
    let s = w.get(shelf::STATEFUL_SETS, "db");
    assert_eq!(
        (meta::int(&s, "/status/replicas"), meta::int(&s, "/status/readyReplicas")),
        (Some(1), Some(1))
    );
}

#[test]
fn parallel_pods_come_at_once() {
    let mut w = world(json!({"replicas": 3, "podManagementPolicy": "Parallel"}));
    round(&mut w);
    assert_eq!(names(&w).len(), 3);
}

#[test]
fn an_update_walks_from_the_highest_down_to_the_partition() {
    let mut w = world(json!({"replicas": 3, "podManagementPolicy": "Parallel"}));
    for _ in 0..3 {
        round(&mut w);
        w.kubelets(9);
    }
    let image =
        |w: &World, n: &str| meta::text(&w.get(shelf::PODS, n), "/spec/containers/0/image").to_owned();
    change(&mut w, |s| {
        s["template"]["spec"]["containers"][0]["image"] = "v2".into();
        s["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    });
    for _ in 0..12 {
        round(&mut w);
        let down = w.list(shelf::PODS).iter().filter(|p| !pods::is_ready(p) || meta::is_deleting(p)).count();
        assert!(down <= 1, "one at a time");
        w.kubelets(9);
    }
    assert_eq!([image(&w, "db-0"), image(&w, "db-1"), image(&w, "db-2")], ["v1", "v2", "v2"]);
    change(&mut w, |s| s["updateStrategy"]["rollingUpdate"]["partition"] = 0.into());
    for _ in 0..6 {
        round(&mut w);
        w.kubelets(9);
    }
    assert_eq!(image(&w, "db-0"), "v2");
    let s = w.get(shelf::STATEFUL_SETS, "db");
    assert_eq!(s["status"]["currentRevision"], s["status"]["updateRevision"]);
}
