use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::controllers::world::{World, going, named, node, pod};

fn svc(rest: Value) -> Value {
    let mut s = named(
        "Service",
        "web",
        json!({"spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.5", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}}),
    );
    for (k, v) in rest.as_object().into_iter().flatten() {
        s["spec"][k] = v.clone();
    }
    s
}

fn web(i: usize, ready: bool) -> Value {
    pod(
        &format!("p{i:03}"),
        &json!({"app": "web"}),
        "n1",
        &format!("10.0.{}.{}", i / 250, i % 250 + 1),
        ready,
    )
}

/// Asks about a Service in a world and carries the answer out; gives the changes to slices.
fn ask(w: &mut World, s: &Value) -> Vec<Change> {
    let n = [node("n1", &json!({"topology.kubernetes.io/zone": "a"})), node("n2", &json!({}))];
    let nodes: BTreeMap<&str, &Value> = n.iter().map(|n| (meta::name(n), n)).collect();
    let ep = w.list(shelf::ENDPOINTS).first().copied().cloned();
    let d = decide(s, &w.list(shelf::PODS), &nodes, &w.list(shelf::SLICES), ep.as_ref());
    let changes: Vec<Change> = d
        .changes
        .iter()
        .filter(|c| {
            !matches!(
                c,
                Change::Create { shelf: shelf::ENDPOINTS, .. }
                    | Change::Update { shelf: shelf::ENDPOINTS, .. }
            )
        })
        .cloned()
        .collect();
    w.take(d);
    changes
}

fn conditions(w: &World, name: &str) -> Value {
    w.list(shelf::SLICES)
        .iter()
        .flat_map(|s| meta::list(s, "/endpoints"))
        .find(|e| meta::text(e, "/targetRef/name") == name)
        .map(|e| e["conditions"].clone())
        .unwrap_or_default()
}

fn legacy(w: &World) -> (usize, usize) {
    let e = w.list(shelf::ENDPOINTS)[0];
    let sum = |k: &str| meta::list(e, "/subsets").iter().map(|s| meta::list(s, k).len()).sum();
    (sum("/addresses"), sum("/notReadyAddresses"))
}

#[test]
fn an_endpoint_lives_from_unready_to_ready_to_terminating_to_gone() {
    let (mut w, s) = (World::new(), svc(json!({})));
    assert_eq!(ask(&mut w, &s).len(), 1, "an empty slice is made at once");
    let name = meta::name(w.list(shelf::SLICES)[0]).to_owned();
    w.put(shelf::PODS, web(1, false));
    ask(&mut w, &s);
    assert_eq!(conditions(&w, "p001"), json!({"ready": false, "serving": false, "terminating": false}));
    assert_eq!(legacy(&w), (0, 1));
    w.put(shelf::PODS, web(1, true));
    let c = ask(&mut w, &s);
    assert!(matches!(&c[..], [Change::Update { .. }]), "one write: {c:?}");
    assert_eq!(conditions(&w, "p001"), json!({"ready": true, "serving": true, "terminating": false}));
    assert_eq!(legacy(&w), (1, 0));
    let e = w.list(shelf::SLICES)[0]["endpoints"][0].clone();
    assert_eq!(
        (&e["nodeName"], &e["zone"], &e["targetRef"]["kind"]),
        (&json!("n1"), &json!("a"), &json!("Pod"))
    );
    w.put(shelf::PODS, going(&web(1, true)));
    ask(&mut w, &s);
    assert_eq!(conditions(&w, "p001"), json!({"ready": false, "serving": true, "terminating": true}));
    assert_eq!(legacy(&w), (0, 0));
    let mut over = web(1, true);
    over["status"]["phase"] = "Succeeded".into();
    w.put(shelf::PODS, over);
    ask(&mut w, &s);
    assert_eq!(w.list(shelf::SLICES)[0]["endpoints"], json!([]));
    assert_eq!(meta::name(w.list(shelf::SLICES)[0]), name, "the same slice all along");
    assert_eq!(ask(&mut w, &s), [], "at rest");
}

#[test]
fn a_hundred_a_slice_and_only_the_touched_slice_is_written() {
    let (mut w, s) = (World::new(), svc(json!({})));
    for i in 0..250 {
        w.put(shelf::PODS, web(i, true));
    }
    ask(&mut w, &s);
    let sizes = |w: &World| {
        let mut n: Vec<usize> =
            w.list(shelf::SLICES).iter().map(|s| meta::list(s, "/endpoints").len()).collect();
        n.sort_unstable();
        n
    };
    assert_eq!(sizes(&w), [50, 100, 100]);
    w.put(shelf::PODS, web(120, false));
    let c = ask(&mut w, &s);
    assert!(matches!(&c[..], [Change::Update { .. }]), "{}", c.len());
    for i in 250..290 {
        w.put(shelf::PODS, web(i, true));
    }
    let c = ask(&mut w, &s);
    assert!(matches!(&c[..], [Change::Update { .. }]), "new ones fill the slice with room: {}", c.len());
    assert_eq!(sizes(&w), [90, 100, 100]);
    let names: BTreeSet<String> = w.list(shelf::SLICES).iter().map(|s| meta::name(s).to_owned()).collect();
    assert_eq!(names.len(), 3);
    let all: BTreeSet<&str> = w
        .list(shelf::SLICES)
        .iter()
        .flat_map(|s| meta::list(s, "/endpoints"))
        .map(|e| meta::text(e, "/addresses/0"))
        .collect();
    assert_eq!(all.len(), 290);
}

#[test]
fn a_named_port_is_looked_up_on_each_pod() {
    let (mut w, s) =
        (World::new(), svc(json!({"ports": [{"name": "http", "port": 80, "targetPort": "web"}]})));
    for (i, port) in [(1, 8080), (2, 8080), (3, 9090)] {
        let mut p = web(i, true);
        p["spec"]["containers"][0]["ports"] = json!([{"name": "web", "containerPort": port}]);
        w.put(shelf::PODS, p);
    }
    ask(&mut w, &s);
    let got: BTreeMap<i64, usize> = w
        .list(shelf::SLICES)
        .iter()
        .map(|s| (meta::int(s, "/ports/0/port").unwrap_or(0), meta::list(s, "/endpoints").len()))
        .collect();
    assert_eq!(got, BTreeMap::from([(8080, 2), (9090, 1)]));
    assert_eq!(meta::list(w.list(shelf::ENDPOINTS)[0], "/subsets").len(), 2);
    assert_eq!(ask(&mut w, &s), [], "at rest");
}

#[test]
fn a_changed_port_keeps_the_name_of_the_slice() {
    let mut w = World::new();
    w.put(shelf::PODS, web(1, true));
    ask(&mut w, &svc(json!({})));
    let before = meta::name(w.list(shelf::SLICES)[0]).to_owned();
    ask(&mut w, &svc(json!({"ports": [{"port": 80, "targetPort": 81}]})));
    let all = w.list(shelf::SLICES);
    assert_eq!(
        (all.len(), meta::name(all[0]), &all[0]["ports"][0]["port"]),
        (1, before.as_str(), &json!(81))
    );
}

#[test]
fn both_families_get_slices_of_their_own() {
    let mut w = World::new();
    let mut p = web(1, true);
    p["status"]["podIPs"] = json!([{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]);
    w.put(shelf::PODS, p);
    ask(&mut w, &svc(json!({"ipFamilies": ["IPv4", "IPv6"]})));
    let mut got: Vec<(String, String)> = w
        .list(shelf::SLICES)
        .iter()
        .map(|s| {
            (meta::text(s, "/addressType").to_owned(), meta::text(s, "/endpoints/0/addresses/0").to_owned())
        })
        .collect();
    got.sort();
    assert_eq!(got, [("IPv4".into(), "10.0.0.2".into()), ("IPv6".into(), "fd00::2".into())]);
    ask(&mut w, &svc(json!({"ipFamilies": ["IPv4"]})));
    assert_eq!(w.list(shelf::SLICES).len(), 1);
}

#[test]
fn publishing_not_ready_addresses_makes_everyone_ready() {
    let mut w = World::new();
    w.put(shelf::PODS, web(1, false));
    ask(&mut w, &svc(json!({"publishNotReadyAddresses": true})));
    assert_eq!(conditions(&w, "p001"), json!({"ready": true, "serving": false, "terminating": false}));
    assert_eq!(legacy(&w), (1, 0));
}

#[test]
fn headless_hostnames_and_pods_without_address() {
    let mut w = World::new();
    let mut p = web(1, true);
    p["spec"]["hostname"] = "a".into();
    p["spec"]["subdomain"] = "web".into();
    w.put(shelf::PODS, p);
    let mut none = web(2, false);
    none["status"] = json!({"phase": "Pending"});
    w.put(shelf::PODS, none);
    ask(&mut w, &svc(json!({"clusterIP": "None", "ports": []})));
    let s = w.list(shelf::SLICES)[0];
    assert_eq!(meta::list(s, "/endpoints").len(), 1);
    assert_eq!(s["endpoints"][0]["hostname"], "a");
    assert_eq!(label(s, HEADLESS), "");
    assert!(meta::labels(s).is_some_and(|l| l.contains_key(HEADLESS)));
}

#[test]
fn a_bare_service_mirrors_its_endpoints() {
    let mut w = World::new();
    let s = named("Service", "web", json!({"spec": {"ports": [{"port": 80}]}}));
    let e = named(
        "Endpoints",
        "web",
        json!({"subsets": [
        {"addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 80}]}]}),
    );
    let d = mirror(Some(&s), Some(&e), "web", &[]);
    w.take(d);
    let slice = w.list(shelf::SLICES)[0].clone();
    assert_eq!(slice["endpoints"][0], json!({"addresses": ["192.0.2.1"], "conditions": {"ready": true}}));
    assert_eq!(slice["endpoints"][1]["conditions"]["ready"], false);
    assert_eq!(mirror(Some(&s), Some(&e), "web", &[&slice]), Decision::default());
    assert_eq!(
        mirror(Some(&svc(json!({}))), Some(&e), "web", &[&slice]).changes.len(),
        1,
        "a selector takes over"
    );
    assert_eq!(mirror(Some(&s), None, "web", &[&slice]).changes.len(), 1);
}
