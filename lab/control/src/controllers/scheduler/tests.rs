use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::controllers::world::{World, going, named, node, pod};

fn waiting(name: &str, spec: Value) -> Value {
    named(
        "Pod",
        name,
        json!({"metadata": {"labels": {"app": "web"}}, "spec": spec, "status": {"phase": "Pending"}}),
    )
}

/// Where pods went; the reason for those that went nowhere.
fn place(nodes: &[Value], pods: &[Value]) -> BTreeMap<String, String> {
    let (n, p): (Vec<&Value>, Vec<&Value>) = (nodes.iter().collect(), pods.iter().collect());
    let d = decide(&n, &p, &[], World::new().now);
    d.changes
        .iter()
        .filter_map(|c| match c {
            Change::Bind { name, node, .. } => Some((name.clone(), node.clone())),
            Change::UpdateStatus { object, .. } => {
                let c = meta::condition(object, "PodScheduled")?;
                Some((meta::name(object).to_owned(), meta::text(c, "/message").to_owned()))
            }
            _ => None,
        })
        .collect()
}

fn three() -> Vec<Value> {
    ["a", "b", "c"]
        .iter()
        .map(|z| node(&format!("n{z}"), &json!({"zone": z, "kubernetes.io/hostname": format!("n{z}")})))
        .collect()
}

fn spread_of(got: &BTreeMap<String, String>) -> Vec<usize> {
    let mut n: BTreeMap<&str, usize> = BTreeMap::new();
    got.values().for_each(|v| *n.entry(v).or_default() += 1);
    n.into_values().collect()
}

#[test]
fn pods_are_spread_evenly_even_a_few_hundred() {
    let pods: Vec<Value> = (0..200).map(|i| waiting(&format!("p{i:03}"), json!({}))).collect();
    let mut n = spread_of(&place(&three(), &pods));
    n.sort_unstable();
    assert_eq!(n, [66, 67, 67]);
}

#[test]
fn pods_of_one_owner_are_spread_before_nodes_are_filled() {
    let mut pods: Vec<Value> =
        (0..4).map(|i| pod(&format!("x{i}"), &json!({}), "na", "10.0.0.1", true)).collect();
    let mut sibling = pod("s", &json!({}), "nb", "10.0.0.9", true);
    sibling["metadata"]["ownerReferences"] = json!([{"uid": "o", "controller": true}]);
    pods.push(sibling);
    let mut nc = pod("y", &json!({}), "nc", "10.0.0.8", true);
    nc["metadata"]["ownerReferences"] = json!([{"uid": "o", "controller": true}]);
    pods.push(nc);
    let mut p = waiting("p", json!({}));
    p["metadata"]["ownerReferences"] = json!([{"uid": "o", "controller": true}]);
    pods.push(p);
    assert_eq!(place(&three(), &pods)["p"], "na");
}

#[test]
fn every_node_struck_off_is_told_of_with_its_reason() {
    let mut n = three();
    n[0]["spec"]["taints"] = json!([{"key": "k", "value": "v", "effect": "NoSchedule"}]);
    n[1]["spec"]["unschedulable"] = true.into();
    let got = place(&n, &[waiting("p", json!({"nodeSelector": {"zone": "b"}}))]);
    assert_eq!(
        got["p"],
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(place(&[], &[waiting("p", json!({}))])["p"], "no nodes available to schedule pods");
    let bears = json!({"tolerations": [{"key": "k", "operator": "Equal", "value": "v"}], "nodeSelector": {"zone": "a"}});
    assert_eq!(place(&n, &[waiting("p", bears)])["p"], "na");
}

#[test]
fn the_same_reason_is_told_once() {
    let n = three();
    let p = waiting("p", json!({"nodeSelector": {"zone": "x"}}));
    let now = World::new().now;
    let refs: Vec<&Value> = n.iter().collect();
    let d = decide(&refs, &[&p], &[], now);
    let [Change::UpdateStatus { object, .. }, Change::Event(e)] = &d.changes[..] else { panic!("{d:?}") };
    assert_eq!((e.reason, e.warning), ("FailedScheduling", true));
    assert_eq!(decide(&refs, &[object], &[], now), Decision::default());
}

#[test]
fn a_node_that_is_not_ready_gets_only_pods_that_bear_it() {
    let mut n = three();
    for x in &mut n {
        x["status"]["conditions"][0]["status"] = "False".into();
    }
    let agent = waiting("agent", json!({"tolerations": [{"operator": "Exists"}]}));
    let got = place(&n, &[waiting("p", json!({})), agent]);
    assert_eq!(got["agent"], "na");
    assert!(
        got["p"].contains("3 node(s) had untolerated taint {node.kubernetes.io/not-ready: }"),
        "{}",
        got["p"]
    );
}

#[test]
fn anti_affinity_holds_in_both_directions() {
    let term =
        json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let far =
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let pods: Vec<Value> = (0..4).map(|i| waiting(&format!("p{i}"), far.clone())).collect();
    let got = place(&three(), &pods);
    let placed: Vec<&String> = got.values().filter(|v| v.len() == 2).collect();
    assert_eq!(placed.len(), 3);
    assert_eq!(placed.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    // One that repels stands on na; another without any rule may not join it.
    let mut there = waiting("there", far);
    there["spec"]["nodeName"] = "na".into();
    let got = place(&three()[..1], &[there, waiting("plain", json!({}))]);
    assert!(got["plain"].contains("pod anti-affinity"), "{}", got["plain"]);
}

#[test]
fn pod_affinity_follows_its_friend_and_the_first_may_go_anywhere() {
    let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}]);
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let pods: Vec<Value> = (0..3).map(|i| waiting(&format!("p{i}"), near.clone())).collect();
    assert_eq!(spread_of(&place(&three(), &pods)), [3]);
    let mut stranger = waiting("s", near);
    stranger["metadata"]["labels"] = json!({"app": "db"});
    assert!(place(&three(), &[stranger])["s"].contains("pod affinity rules"));
}

#[test]
fn topology_spread_keeps_the_skew() {
    let c = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]);
    let mut pods: Vec<Value> =
        (0..2).map(|i| pod(&format!("x{i}"), &json!({"app": "web"}), "na", "10.0.0.1", true)).collect();
    pods.extend((0..7).map(|i| waiting(&format!("p{i}"), json!({"topologySpreadConstraints": c}))));
    assert_eq!(spread_of(&place(&three(), &pods)), [1, 3, 3]);
    let only_b = json!({"topologySpreadConstraints": c, "nodeSelector": {"zone": "b"}});
    let pods: Vec<Value> = (0..3).map(|i| waiting(&format!("p{i}"), only_b.clone())).collect();
    assert_eq!(spread_of(&place(&three(), &pods)), [3], "only nodes the pod may use count");
}

#[test]
fn room_and_host_ports_run_out() {
    let mut n = vec![node("na", &json!({}))];
    n[0]["status"]["allocatable"] = json!({"cpu": "1", "memory": "1Gi", "pods": "3"});
    let asks = |cpu: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    let got = place(&n, &[waiting("a", asks("600m")), waiting("b", asks("600m"))]);
    assert_eq!(got["a"], "na");
    assert!(got["b"].contains("1 Insufficient cpu"), "{}", got["b"]);
    let many: Vec<Value> = (0..4).map(|i| waiting(&format!("p{i}"), json!({}))).collect();
    assert!(place(&n, &many)["p3"].contains("1 Too many pods"));
    let port = json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]});
    let got = place(&n, &[waiting("a", port.clone()), waiting("b", port)]);
    assert!(got["b"].contains("free ports"), "{}", got["b"]);
}

#[test]
fn gates_other_schedulers_and_dying_pods() {
    let got = place(
        &three(),
        &[
            waiting("gated", json!({"schedulingGates": [{"name": "g"}]})),
            waiting("other", json!({"schedulerName": "mine"})),
            going(&waiting("going", json!({}))),
        ],
    );
    assert_eq!(got.keys().collect::<Vec<_>>(), ["gated"]);
    assert!(got["gated"].contains("scheduling gates"));
}

#[test]
fn liked_nodes_win() {
    let like = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 5, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["c"]}]}}]}}});
    assert_eq!(place(&three(), &[waiting("p", like)])["p"], "nc");
}
