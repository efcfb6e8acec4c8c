//! Services of every type, cell by cell as kube-proxy answers them.

use super::*;

/// A load balancer with everything, served by one endpoint on k8s-s (this node) and one on k8s-w1.
fn outside() -> (Intent, NodeFacts) {
    let (mut intent, facts) = walk();
    let mut lb = service("10.97.1.148", 80);
    lb.kind = ServiceType::LoadBalancer;
    lb.ports[0].node_port = Some(30_080);
    lb.load_balancer_ips = vec![ip("203.0.113.9")];
    lb.external_ips = vec![ip("198.51.100.1")];
    intent.services.insert(name("svc"), lb);
    intent.endpoint_slices.insert(name("svc-1"), slice("svc", 80, &BOTH));
    (intent, facts)
}

const BOTH: [(&str, &str, &str); 2] =
    [("172.16.0.230", "ready", "k8s-s"), ("172.16.1.111", "ready", "k8s-w1")];
const FRONTENDS: [&str; 5] =
    ["10.97.1.148:80", "127.0.0.1:30080", "192.168.10.10:30080", "198.51.100.1:80", "203.0.113.9:80"];

/// Last bytes of the backends chosen inside and outside; what else happens when there are none.
fn answers(intent: &Intent, facts: &NodeFacts) -> BTreeMap<String, String> {
    let chosen = |f: &pleopod_model::desired::Frontend, scope| {
        let all: Vec<String> = f.chosen(scope).map(|b| b.address.ip().to_string()).collect();
        let last = |a: &String| a.rsplit(['.', ':']).next().unwrap_or_default().to_owned();
        let all: Vec<String> = all.iter().map(last).collect();
        if all.is_empty() { format!("{:?}", f.unserved()) } else { all.join(",") }
    };
    let planned = plan(intent, facts);
    let svc = planned.desired.services.iter().filter(|(_, f)| f.service == name("svc"));
    svc.map(|(key, f)| {
        let outside = match f.outside {
            Outside::Refused => "-".to_owned(),
            how => format!("{how:?} {}", chosen(f, Scope::Outside)),
        };
        (key.address.to_string(), format!("{} / {outside}", chosen(f, Scope::Inside)))
    })
    .collect()
}

fn expect(intent: &Intent, facts: &NodeFacts, rows: [&str; 5]) {
    let expected = FRONTENDS.iter().zip(rows).map(|(f, r)| ((*f).to_owned(), r.to_owned())).collect();
    assert_eq!(answers(intent, facts), expected);
}

fn change(intent: &mut Intent, with: impl FnOnce(&mut Service)) {
    with(intent.services.get_mut(&name("svc")).expect("there"));
}

#[test]
fn policy_cluster_gives_everybody_every_backend() {
    let (intent, facts) = outside();
    let all = "230,111 / Cluster 230,111";
    expect(&intent, &facts, [all, "230,111 / -", all, all, all]);
    let kinds: Vec<FrontendKind> = plan(&intent, &facts)
        .desired
        .services
        .iter()
        .filter(|(_, f)| f.service == name("svc"))
        .map(|(_, f)| f.kind)
        .collect();
    use FrontendKind::*;
    assert_eq!(kinds, [ClusterIP, NodePort, NodePort, ExternalIP, LoadBalancer]);
}

#[test]
fn external_policy_local_keeps_clients_outside_to_this_node_and_nobody_else() {
    let (mut intent, mut facts) = outside();
    change(&mut intent, |s| {
        s.external_local = true;
        s.health_check_node_port = Some(32_000);
    });
    let (cluster, node) = ("230,111 / Cluster 230,111", "230,111 / Local 230");
    expect(&intent, &facts, [cluster, "230,111 / -", node, node, node]);
    let check =
        |intent: &Intent, facts: &NodeFacts| plan(intent, facts).desired.health_checks[&32_000].clone();
    assert_eq!((check(&intent, &facts).local_endpoints, check(&intent, &facts).service), (1, name("svc")));
    // On a node without a backend: silence outside, and the load balancer is told.
    facts.name = "k8s-w2".into();
    facts.addresses = vec![ip("192.168.10.102")];
    facts.services.node_port_addresses =
        NodePortAddresses::Within(vec!["192.168.10.0/24".parse().expect("a CIDR")]);
    let rows = answers(&intent, &facts);
    assert_eq!(rows["192.168.10.102:30080"], "230,111 / Local Drop");
    assert_eq!(rows["10.97.1.148:80"], cluster);
    assert_eq!(check(&intent, &facts).local_endpoints, 0);
    // Nobody anywhere: a refusal, whatever the policy.
    intent.endpoint_slices.remove(&name("svc-1"));
    assert_eq!(answers(&intent, &facts)["192.168.10.102:30080"], "Reject / Local Reject");
}

#[test]
fn internal_policy_local_is_for_the_cluster_address_only() {
    let (mut intent, mut facts) = outside();
    change(&mut intent, |s| s.internal_local = true);
    let all = "230,111 / Cluster 230,111";
    expect(&intent, &facts, ["230 / Cluster 230", "230,111 / -", all, all, all]);
    facts.name = "k8s-w2".into();
    assert_eq!(answers(&intent, &facts)["10.97.1.148:80"], "Drop / Cluster Drop");
}

#[test]
fn who_leaves_serves_where_nobody_is_ready_each_policy_for_itself() {
    let (mut intent, facts) = outside();
    change(&mut intent, |s| {
        s.external_local = true;
        s.health_check_node_port = Some(32_000);
    });
    let leaving = [("172.16.0.230", "leaving", "k8s-s"), ("172.16.1.111", "ready", "k8s-w1")];
    intent.endpoint_slices.insert(name("svc-1"), slice("svc", 80, &leaving));
    let (cluster, node) = ("111 / Cluster 111", "111 / Local 230");
    expect(&intent, &facts, [cluster, "111 / -", node, node, node]);
    assert_eq!(plan(&intent, &facts).desired.health_checks[&32_000].local_endpoints, 0, "not ready");
    let backends = &plan(&intent, &facts).desired.services
        [&FrontendKey { address: "10.97.1.148:80".parse().expect("a socket"), protocol: Protocol::Tcp }]
        .backends;
    assert_eq!(backends.len(), 2, "the one that leaves keeps its connections");
    let both = BOTH.map(|(address, _, node)| (address, "leaving", node));
    intent.endpoint_slices.insert(name("svc-1"), slice("svc", 80, &both));
    let (cluster, node) = ("230,111 / Cluster 230,111", "230,111 / Local 230");
    expect(&intent, &facts, [cluster, "230,111 / -", node, node, node]);
    let both = BOTH.map(|(address, _, node)| (address, "not-ready", node));
    intent.endpoint_slices.insert(name("svc-1"), slice("svc", 80, &both));
    expect(&intent, &facts, {
        let (cluster, node) = ("Reject / Cluster Reject", "Reject / Local Reject");
        [cluster, "Reject / -", node, node, node]
    });
    change(&mut intent, |s| s.publish_not_ready = true);
    assert_eq!(answers(&intent, &facts)["10.97.1.148:80"], "230,111 / Cluster 230,111");
}

/// Chosen at the cluster address, and why, with these hints: address, state, forZones, forNodes.
fn hinted(endpoints: &[(&str, &str, &[&str], &[&str])], zone: Option<&str>) -> (Vec<String>, Topology) {
    let (mut intent, facts) = walk();
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let mut slice = slice("svc", 80, &[]);
    slice.endpoints = endpoints
        .iter()
        .map(|(address, state, zones, nodes)| SliceEndpoint {
            for_zones: strings(zones),
            for_nodes: strings(nodes),
            ..slice_endpoint(&format!("172.16.1.{address}"), state, "k8s-w1")
        })
        .collect();
    intent.endpoint_slices.insert(name("svc-1"), slice);
    if let Some(zone) = zone {
        let node = intent.nodes.get_mut("k8s-s").expect("this node");
        node.labels.insert("topology.kubernetes.io/zone".into(), zone.into());
    }
    let desired = plan(&intent, &facts).desired;
    let key = FrontendKey { address: "10.97.1.148:80".parse().expect("a socket"), protocol: Protocol::Tcp };
    let frontend = &desired.services[&key];
    let last = |b: &Backend| b.address.ip().to_string().rsplit('.').next().unwrap_or_default().to_owned();
    (frontend.chosen(Scope::Inside).map(last).collect(), frontend.topology)
}

#[test]
fn hints_are_followed_when_every_ready_endpoint_has_them_and_one_is_for_here() {
    let (a, b): (&[&str], &[&str]) = (&["a"], &["b"]);
    let two = [("1", "ready", a, &[][..]), ("2", "ready", b, &[][..])];
    assert_eq!(hinted(&two, Some("a")), (vec!["1".into()], Topology::Zone));
    assert_eq!(hinted(&two, Some("c")), (vec!["1".into(), "2".into()], Topology::Any), "none for this zone");
    assert_eq!(hinted(&two, None).1, Topology::Any, "the node has no zone");
    let partly = [("1", "ready", a, &[][..]), ("2", "ready", &[][..], &[][..])];
    assert_eq!(hinted(&partly, Some("a")).1, Topology::Any, "one ready endpoint has no hint");
    let unready = [("1", "ready", a, &[][..]), ("2", "not-ready", &[][..], &[][..])];
    assert_eq!(hinted(&unready, Some("a")).1, Topology::Zone, "only ready ones are asked");
    let (here, there): (&[&str], &[&str]) = (&["k8s-s"], &["k8s-w1"]);
    let nodes = [("1", "ready", a, here), ("2", "ready", a, there)];
    assert_eq!(
        hinted(&nodes, Some("a")),
        (vec!["1".into()], Topology::Node),
        "the node counts before the zone"
    );
    let elsewhere = [("1", "ready", a, there), ("2", "ready", b, there)];
    assert_eq!(hinted(&elsewhere, Some("b")), (vec!["2".into()], Topology::Zone), "then the zone");
    let leaving = [("1", "leaving", a, here), ("2", "leaving", b, there)];
    assert_eq!(
        hinted(&leaving, Some("a")),
        (vec!["1".into(), "2".into()], Topology::Any),
        "no hints for those"
    );
}

#[test]
fn a_backend_of_weight_0_is_never_chosen_and_keeps_its_connections() {
    let (mut intent, facts) = outside();
    change(&mut intent, |s| {
        s.external_local = true;
        s.health_check_node_port = Some(32_000);
        s.weights.addresses.insert(ip("172.16.0.230"), 0);
        s.weights.addresses.insert(ip("172.16.1.111"), 3);
    });
    let (cluster, node) = ("111 / Cluster 111", "111 / Local Drop");
    expect(&intent, &facts, [cluster, "111 / -", node, node, node]);
    let desired = plan(&intent, &facts).desired;
    assert_eq!(desired.health_checks[&32_000].local_endpoints, 0);
    let key = FrontendKey { address: "10.97.1.148:80".parse().expect("a socket"), protocol: Protocol::Tcp };
    let weights: Vec<_> = desired.services[&key].backends.iter().map(|b| (b.state, b.weight)).collect();
    assert_eq!(weights, [(BackendState::Quarantined, 0), (BackendState::Active, 3)]);
    change(&mut intent, |s| s.weights.addresses.insert(ip("172.16.1.111"), 0).map_or((), drop));
    assert_eq!(answers(&intent, &facts)["10.97.1.148:80"], "Reject / Cluster Reject");
}

#[test]
fn source_ranges_guard_the_load_balancer_addresses_in_their_family() {
    let (mut intent, facts) = outside();
    let ranges = ["192.0.2.0/24", "2001:db8::/32"].map(|r| r.parse().expect("a CIDR"));
    change(&mut intent, |s| s.source_ranges = Some(ranges.to_vec()));
    let guarded: Vec<_> = plan(&intent, &facts)
        .desired
        .services
        .into_iter()
        .filter_map(|(key, f)| Some((key.address.to_string(), f.source_ranges?)))
        .collect();
    assert_eq!(guarded, [("203.0.113.9:80".to_owned(), vec![ranges[0]])]);
}

#[test]
fn options_choose_addresses_and_defaults() {
    let (intent, mut facts) = outside();
    facts.addresses = vec![ip("192.168.10.10"), ip("10.1.0.1"), ip("fd00::1")];
    facts.services = ServiceOptions {
        node_port_addresses: NodePortAddresses::Within(vec!["10.0.0.0/8".parse().expect("a CIDR")]),
        node_port_localhost: false,
        cluster_ips_outside: false,
        balancing: Balancing::Maglev,
    };
    let planned = plan(&intent, &facts);
    let node_ports: Vec<String> = planned
        .desired
        .services
        .iter()
        .filter(|(_, f)| f.kind == FrontendKind::NodePort)
        .map(|(key, _)| key.address.to_string())
        .collect();
    assert_eq!(node_ports, ["10.1.0.1:30080"]);
    assert_eq!(answers(&intent, &facts)["10.97.1.148:80"], "230,111 / -");
    assert!(planned.desired.services.values().all(|f| f.balancing == Balancing::Maglev));
    assert_eq!(planned.desired.node_ports, BTreeSet::from([(Protocol::Tcp, 30_080)]));
}

#[test]
fn a_node_port_that_two_want_is_told_once_and_inherited() {
    let (mut intent, facts) = outside();
    let thief =
        Service { created: 7, cluster_ips: vec![ip("10.97.1.149")], ..intent.services[&name("svc")].clone() };
    intent.services.insert(name("thief"), thief);
    let planned = plan(&intent, &facts);
    let told: Vec<String> = planned.problems.iter().map(|p| format!("{} {}", p.field, p.message)).collect();
    let keeps = "belongs to the older Service default/svc, which keeps it";
    assert_eq!(
        told,
        [
            format!("spec.externalIPs TCP 198.51.100.1:80 {keeps}"),
            format!("spec.ports TCP node port 30080 {keeps}"),
            format!("status.loadBalancer.ingress TCP 203.0.113.9:80 {keeps}"),
        ]
    );
    let mut services = Services::default();
    services.rebuild(&intent, &facts);
    intent.services.remove(&name("svc"));
    assert_eq!(services.update(&intent, &facts, &[name("svc")], &[]).len(), 5);
    assert_eq!(services.problems().count(), 0);
    assert_eq!(services.frontends().values().filter(|f| f.service == name("thief")).count(), 5);
}

#[test]
fn headless_and_external_names_have_nothing_whatever_else_they_say() {
    let (mut intent, facts) = outside();
    for with in [(|s: &mut Service| s.cluster_ips.clear()) as fn(&mut Service), |s| {
        s.kind = ServiceType::ExternalName
    }] {
        let before = intent.services[&name("svc")].clone();
        change(&mut intent, with);
        let desired = plan(&intent, &facts).desired;
        assert!(answers(&intent, &facts).is_empty() && desired.node_ports.is_empty());
        intent.services.insert(name("svc"), before);
    }
    // Of the type ClusterIP only the external addresses are more.
    change(&mut intent, |s| s.kind = ServiceType::ClusterIP);
    let rows = answers(&intent, &facts);
    assert!(rows.contains_key("198.51.100.1:80") && !rows.contains_key("192.168.10.10:30080"), "{rows:?}");
}

#[test]
fn a_cluster_address_that_changes_moves_its_frontend_and_no_other() {
    let (mut intent, facts) = outside();
    let mut services = Services::default();
    services.rebuild(&intent, &facts);
    change(&mut intent, |s| s.cluster_ips = vec![ip("10.97.1.200")]);
    let touched = services.update(&intent, &facts, &[name("svc")], &[]);
    let touched: Vec<String> = touched.iter().map(|key| key.address.to_string()).collect();
    assert_eq!(touched, ["10.97.1.148:80", "10.97.1.200:80"]);
}

#[test]
fn a_node_that_moves_to_another_zone_or_address_changes_its_services() {
    let (mut intent, facts) = outside();
    let mut services = Services::default();
    services.rebuild(&intent, &facts);
    assert!(!services.is_stale(&intent, &facts));
    intent.nodes.get_mut("k8s-s").expect("there").addresses = vec![ip("192.168.10.11")];
    assert!(services.is_stale(&intent, &facts));
    let touched = services.update(&intent, &facts, &[], &[]);
    let touched: Vec<String> = touched.iter().map(|key| key.address.to_string()).collect();
    assert_eq!(touched, ["192.168.10.10:30080", "192.168.10.11:30080"]);
}
