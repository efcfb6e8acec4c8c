use serde_json::{Value, json};

use super::*;
use crate::controllers::scheduler;
use crate::controllers::world::{World, named, node};

fn world(nodes: &[Value]) -> World {
    let mut w = World::new();
    w.put(
        shelf::DAEMON_SETS,
        named(
            "DaemonSet",
            "ds",
            json!({"metadata": {"generation": 1}, "spec": {
                "selector": {"matchLabels": {"app": "ds"}},
                "template": {"metadata": {"labels": {"app": "ds"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
            }}),
        ),
    );
    nodes.iter().for_each(|n| w.put(shelf::NODES, n.clone()));
    w
}

fn round(w: &mut World) -> usize {
    let d = decide(
        &w.get(shelf::DAEMON_SETS, "ds"),
        &w.list(shelf::NODES),
        &w.list(shelf::PODS),
        &w.list(shelf::REVISIONS),
        w.now,
    );
    let n = w.take(d);
    let d = scheduler::decide(&w.list(shelf::NODES), &w.list(shelf::PODS), &[], w.now);
    n + w.take(d)
}

fn settle(w: &mut World, least: i64) {
    for _ in 0..100 {
        let n = round(w);
        let ready =
            w.list(shelf::PODS).iter().filter(|p| pods::is_active(p) && pods::is_ready(p)).count() as i64;
        assert!(ready >= least, "{ready} ready, {least} needed");
        let idle = w.list(shelf::PODS).iter().all(|p| pods::is_ready(p) && !meta::is_deleting(p));
        w.kubelets(100);
        if n == 0 && idle {
            return;
        }
    }
    panic!("never at rest");
}

fn places(w: &World) -> Vec<String> {
    let mut n: Vec<String> = w.list(shelf::PODS).iter().map(|p| pods::node(p).to_owned()).collect();
    n.sort();
    n
}

fn status(w: &World, key: &str) -> i64 {
    meta::int(&w.get(shelf::DAEMON_SETS, "ds"), &format!("/status/{key}")).unwrap_or(0)
}

#[test]
fn one_on_each_node_that_may_have_one() {
    let mut tainted = node("n3", &json!({}));
    tainted["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
    let mut cordoned = node("n2", &json!({}));
    cordoned["spec"]["unschedulable"] = true.into();
    let mut w = world(&[node("n1", &json!({})), cordoned, tainted]);
    settle(&mut w, 0);
    assert_eq!(places(&w), ["n1", "n2"]);
    assert_eq!(
        (
            status(&w, "desiredNumberScheduled"),
            status(&w, "numberReady"),
            status(&w, "updatedNumberScheduled")
        ),
        (2, 2, 2)
    );
    w.put(shelf::NODES, node("n4", &json!({})));
    settle(&mut w, 2);
    assert_eq!(places(&w), ["n1", "n2", "n4"]);
}

#[test]
fn a_node_that_no_longer_fits_loses_its_pod() {
    let mut w = world(&[node("n1", &json!({"a": "b"})), node("n2", &json!({"a": "b"}))]);
    let mut ds = w.get(shelf::DAEMON_SETS, "ds");
    ds["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    w.put(shelf::DAEMON_SETS, ds);
    settle(&mut w, 0);
    assert_eq!(places(&w), ["n1", "n2"]);
    w.put(shelf::NODES, node("n2", &json!({})));
    settle(&mut w, 1);
    assert_eq!(places(&w), ["n1"]);
}

#[test]
fn a_new_template_replaces_pods_one_by_one() {
    let nodes: Vec<Value> = (0..4).map(|i| node(&format!("n{i}"), &json!({}))).collect();
    let mut w = world(&nodes);
    settle(&mut w, 0);
    let mut ds = w.get(shelf::DAEMON_SETS, "ds");
    ds["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
    ds["metadata"]["generation"] = 2.into();
    w.put(shelf::DAEMON_SETS, ds);
    settle(&mut w, 3);
    assert!(w.list(shelf::PODS).iter().all(|p| meta::text(p, "/spec/containers/0/image") == "v2"));
    assert_eq!((status(&w, "updatedNumberScheduled"), status(&w, "observedGeneration")), (4, 2));
    assert_eq!(w.list(shelf::REVISIONS).len(), 2);
}

#[test]
fn a_failed_pod_is_replaced() {
    let mut w = world(&[node("n1", &json!({}))]);
    settle(&mut w, 0);
    let mut p = w.list(shelf::PODS)[0].clone();
    let first = meta::name(&p).to_owned();
    p["status"]["phase"] = "Failed".into();
    w.put(shelf::PODS, p);
    for _ in 0..4 {
        round(&mut w);
        w.kubelets(9);
    }
    assert_eq!(places(&w), ["n1"]);
    assert_ne!(meta::name(w.list(shelf::PODS)[0]), first);
}
