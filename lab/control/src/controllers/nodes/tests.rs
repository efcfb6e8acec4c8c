use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::controllers::world::{World, named, node, pod};

const P: Patience = Patience { silence: 50, orphan: 10 };

fn given(nodes: &[Value], text: &str) -> Vec<(String, Value)> {
    let refs: Vec<&Value> = nodes.iter().collect();
    blocks(&refs, &Range::list(text, 24))
        .changes
        .iter()
        .filter_map(|c| match c {
            Change::Update { object, .. } => {
                Some((meta::name(object).to_owned(), object["spec"]["podCIDRs"].clone()))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn nodes_get_blocks_and_keep_what_they_carry() {
    let mut own = node("b", &json!({}));
    own["spec"]["podCIDR"] = "10.244.0.0/23".into();
    let got = given(&[node("a", &json!({})), own, node("c", &json!({}))], "10.244.0.0/16");
    assert_eq!(got, [("a".into(), json!(["10.244.2.0/24"])), ("c".into(), json!(["10.244.3.0/24"]))]);
    let both = given(&[node("a", &json!({}))], "172.16.0.0/16, fd00:10:244::/48");
    assert_eq!(both, [("a".into(), json!(["172.16.0.0/24", "fd00:10:244::/64"]))]);
}

#[test]
fn a_range_that_is_used_up_is_told_of() {
    let nodes: Vec<Value> = (0..3).map(|i| node(&format!("n{i}"), &json!({}))).collect();
    let refs: Vec<&Value> = nodes.iter().collect();
    let d = blocks(&refs, &Range::list("10.0.0.0/23", 24));
    let told =
        d.changes.iter().filter(|c| matches!(c, Change::Event(e) if e.reason == "CIDRNotAvailable")).count();
    assert_eq!((d.changes.len(), told), (3, 1));
    assert_eq!(given(&nodes, "nonsense"), []);
}

#[test]
fn nobody_is_silent_while_the_api_server_is_away() {
    let mut w = World::new();
    let n = node("a", &json!({}));
    let lease = json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}});
    w.pass(3600);
    let back = w.now;
    w.pass(49);
    let d = heartbeat(&n, Some(&lease), back, P, w.now);
    assert_eq!((d.changes.len(), d.again), (0, Some(back + jiff::SignedDuration::from_secs(50))));
    w.pass(1);
    assert_eq!(heartbeat(&n, Some(&lease), back, P, w.now).changes.len(), 2, "it had its time since");
}

#[test]
fn a_silent_node_becomes_unknown_after_the_grace_and_not_before() {
    let mut w = World::new();
    let n = node("a", &json!({}));
    let lease = json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}});
    assert_eq!(
        heartbeat(&n, None, Timestamp::UNIX_EPOCH, P, w.now),
        Decision::default(),
        "no lease, no judgement"
    );
    w.pass(49);
    let d = heartbeat(&n, Some(&lease), Timestamp::UNIX_EPOCH, P, w.now);
    assert_eq!((d.changes.len(), d.again.map(|t| t.to_string())), (0, Some("2026-01-01T00:00:50Z".into())));
    w.pass(1);
    let d = heartbeat(&n, Some(&lease), Timestamp::UNIX_EPOCH, P, w.now);
    let [Change::UpdateStatus { object, .. }, Change::Event(_)] = &d.changes[..] else { panic!("{d:?}") };
    let c = meta::condition(object, "Ready").cloned().unwrap_or_default();
    assert_eq!((meta::text(&c, "/status"), meta::text(&c, "/reason")), ("Unknown", "NodeStatusUnknown"));
    assert_eq!(heartbeat(object, Some(&lease), Timestamp::UNIX_EPOCH, P, w.now), Decision::default());
    let t = taints(object, w.now);
    let Some(Change::Update { object: tainted, .. }) = t else { panic!() };
    let keys: Vec<String> = meta::list(&tainted, "/spec/taints")
        .iter()
        .map(|t| format!("{}:{}", meta::text(t, "/key"), meta::text(t, "/effect")))
        .collect();
    assert_eq!(
        keys,
        ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
    );
}

#[test]
fn taints_follow_conditions_and_leave_others_alone() {
    let now = World::new().now;
    let mut n = node("a", &json!({}));
    assert_eq!(taints(&n, now), None);
    n["spec"]["taints"] =
        json!([{"key": "mine", "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoSchedule"}]);
    n["spec"]["unschedulable"] = true.into();
    let Some(Change::Update { object, .. }) = taints(&n, now) else { panic!() };
    assert_eq!(
        object["spec"]["taints"],
        json!([{"key": "mine", "effect": "NoSchedule"}, {"key": UNSCHEDULABLE, "effect": "NoSchedule"}])
    );
    assert_eq!(taints(&object, now), None);
    let fresh = named("Node", "b", json!({}));
    let Some(Change::Update { object, .. }) = taints(&fresh, now) else { panic!() };
    assert_eq!(
        object["spec"]["taints"],
        json!([{"key": NOT_READY, "effect": "NoSchedule"}]),
        "a new node throws nothing out"
    );
}

#[test]
fn no_execute_throws_out_after_the_time_tolerated() {
    let mut w = World::new();
    let mut n = node("a", &json!({}));
    n["status"]["conditions"][0]["status"] = "Unknown".into();
    n["spec"]["taints"] =
        json!([{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}]);
    let bear = |name: &str, t: Value| {
        let mut p = pod(name, &json!({}), "a", "10.0.0.1", true);
        p["spec"]["tolerations"] = t;
        p
    };
    let all = [
        bear("never", json!([])),
        bear(
            "while",
            json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
        ),
        bear("always", json!([{"operator": "Exists"}])),
    ];
    let refs: Vec<&Value> = all.iter().collect();
    let gone = |d: &Decision| -> Vec<String> {
        d.changes
            .iter()
            .filter_map(|c| if let Change::Delete { name, .. } = c { Some(name.clone()) } else { None })
            .collect()
    };
    let d = tenants(&n, &refs, w.now);
    assert_eq!(gone(&d), ["never"]);
    assert_eq!(d.again, Some(later(w.now, 300)));
    let unready = d
        .changes
        .iter()
        .filter(|c| matches!(c, Change::UpdateStatus { object, .. } if !pods::is_ready(object)))
        .count();
    assert_eq!(unready, 3, "pods of a silent node are not ready");
    w.pass(300);
    assert_eq!(gone(&tenants(&n, &refs, w.now)), ["never", "while"]);
}

#[test]
fn pods_of_a_node_that_is_no_more_are_deleted_after_a_while() {
    let mut w = World::new();
    let (n, p, q) = (
        node("a", &json!({})),
        pod("p", &json!({}), "b", "10.0.0.1", true),
        pod("q", &json!({}), "a", "10.0.0.2", true),
    );
    let mut missing = HashMap::new();
    let d = orphans(&[&p, &q], &[&n], &mut missing, P, w.now);
    assert_eq!((d.changes.len(), d.again), (0, Some(later(w.now, 10))));
    w.pass(10);
    let d = orphans(&[&p, &q], &[&n], &mut missing, P, w.now);
    assert_eq!(d.changes, [Change::delete_in(shelf::PODS, &p, Some(0))]);
    let b = node("b", &json!({}));
    orphans(&[&p], &[&n, &b], &mut missing, P, w.now);
    assert!(missing.is_empty(), "a node that came back starts anew");
}
