//! The three nodes of the lab's topology, planned for each of them, and what must hold for any input.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use pleopod_model::desired::{
    Backend, BackendState, FrontendKey, FrontendKind, IpcacheSource, LocalPod, NodePortAddresses, Outside,
    Route, Scope, ServiceOptions, Topology, Unserved,
};
use pleopod_model::intent::{
    Balancing, ClusterEndpoint, EndpointSlice, Node, Protocol, Service, ServicePort, ServiceType,
    SliceEndpoint, SlicePort,
};
use pleopod_model::{Mac, ObjectName};
use proptest::prelude::*;

use super::*;

mod random;
mod services;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn name(text: &str) -> ObjectName {
    ObjectName::new("default", text)
}

fn node(address: &str, cidr: &str, router: &str, health: &str) -> Node {
    Node {
        addresses: vec![ip(address)],
        pod_cidrs: vec![cidr.parse().expect("a CIDR")],
        router_addresses: vec![ip(router)],
        health_addresses: vec![ip(health)],
        ..Node::default()
    }
}

fn endpoint(address: &str, node: &str, node_address: &str, identity: u32) -> ClusterEndpoint {
    ClusterEndpoint {
        identity: IdentityId(identity),
        addresses: vec![ip(address)],
        node: node.into(),
        node_address: Some(ip(node_address)),
        ..ClusterEndpoint::default()
    }
}

fn slice_endpoint(address: &str, state: &str, node: &str) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![ip(address)],
        ready: state == "ready",
        serving: state != "not-ready",
        terminating: state == "leaving",
        node: Some(node.into()),
        ..SliceEndpoint::default()
    }
}

fn local(id: u16, pod: &str, ifindex: u32, identity: u32) -> LocalPod {
    LocalPod {
        id,
        pod: name(pod),
        ifindex,
        ifname: format!("lxc{id}"),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        node_mac: Mac([2, 0, 0, 0, 0, 2]),
        netns_cookie: 4000 + u64::from(id),
        identity: IdentityId(identity),
    }
}

/// The cluster of the walk: netpod, webpod1 and webpod2 on three nodes, Service `svc` before the last two.
fn walk() -> (Intent, NodeFacts) {
    let mut intent = Intent::default();
    intent
        .nodes
        .insert("k8s-s".into(), node("192.168.10.10", "172.16.0.0/24", "172.16.0.12", "172.16.0.236"));
    intent
        .nodes
        .insert("k8s-w1".into(), node("192.168.10.101", "172.16.1.0/24", "172.16.1.198", "172.16.1.159"));
    intent
        .nodes
        .insert("k8s-w2".into(), node("192.168.10.102", "172.16.2.0/24", "172.16.2.116", "172.16.2.73"));
    for (pod, address, node, via, identity) in [
        ("netpod", "172.16.0.230", "k8s-s", "192.168.10.10", 39_126),
        ("webpod1", "172.16.1.111", "k8s-w1", "192.168.10.101", 25_054),
        ("webpod2", "172.16.2.180", "k8s-w2", "192.168.10.102", 25_054),
    ] {
        intent.endpoints.insert(name(pod), endpoint(address, node, via, identity));
    }
    intent.services.insert(name("svc"), service("10.97.1.148", 80));
    intent.services.insert(name("kubernetes"), service("10.96.0.1", 443));
    let svc = [("172.16.1.111", "ready", "k8s-w1"), ("172.16.2.180", "ready", "k8s-w2")];
    intent.endpoint_slices.insert(name("svc-1"), slice("svc", 80, &svc));
    intent
        .endpoint_slices
        .insert(name("kubernetes"), slice("kubernetes", 6443, &[("192.168.10.10", "ready", "k8s-s")]));
    let facts = NodeFacts {
        name: "k8s-s".into(),
        addresses: vec![ip("192.168.10.10")],
        router: vec![ip("172.16.0.12")],
        health: vec![ip("172.16.0.236")],
        local: BTreeMap::from([(ip("172.16.0.230"), local(416, "netpod", 10, 39_126))]),
        ..NodeFacts::default()
    };
    (intent, facts)
}

fn service(address: &str, port: u16) -> Service {
    Service {
        cluster_ips: vec![ip(address)],
        ports: vec![ServicePort { name: String::new(), protocol: Protocol::Tcp, port, node_port: None }],
        ..Service::default()
    }
}

fn slice(service: &str, port: u16, endpoints: &[(&str, &str, &str)]) -> EndpointSlice {
    EndpointSlice {
        service: name(service),
        ports: vec![SlicePort { name: String::new(), protocol: Protocol::Tcp, port }],
        endpoints: endpoints.iter().map(|(a, state, node)| slice_endpoint(a, state, node)).collect(),
    }
}

fn backends(desired: &Desired, frontend: &str) -> Vec<String> {
    let key =
        FrontendKey { address: frontend.parse::<SocketAddr>().expect("a socket"), protocol: Protocol::Tcp };
    let Some(frontend) = desired.services.get(&key) else { return vec!["no frontend".into()] };
    let state = |b: &Backend| if b.inside { BackendState::Active } else { b.state };
    let listed = frontend.backends.iter().filter(|b| b.inside || b.state != BackendState::Active);
    listed.map(|b| format!("{} {:?}", b.address, state(b))).collect()
}

/// Every row of the ipcache as `pleopod map get ipcache` orders it.
fn ipcache(desired: &Desired) -> Vec<String> {
    desired
        .ipcache
        .iter()
        .map(|(prefix, e)| {
            let via = e.tunnel_endpoint.map_or("-".into(), |a| a.to_string());
            format!("{prefix} {} {via} {:?}", e.identity, e.source)
        })
        .collect()
}

#[test]
fn the_ipcache_of_the_walk() {
    let (intent, facts) = walk();
    let planned = plan(&intent, &facts);
    assert_eq!(planned.problems, []);
    assert_eq!(
        ipcache(&planned.desired),
        [
            "0.0.0.0/0 2 - Reserved",
            "172.16.0.12/32 1 - Reserved",
            "172.16.0.230/32 39126 - CustomResource",
            "172.16.0.236/32 4 - Reserved",
            "172.16.1.111/32 25054 192.168.10.101 CustomResource",
            "172.16.1.159/32 4 192.168.10.101 Node",
            "172.16.1.198/32 6 192.168.10.101 Node",
            "172.16.2.73/32 4 192.168.10.102 Node",
            "172.16.2.116/32 6 192.168.10.102 Node",
            "172.16.2.180/32 25054 192.168.10.102 CustomResource",
            "192.168.10.10/32 1 - Reserved",
            "192.168.10.101/32 6 - Node",
            "192.168.10.102/32 6 - Node",
            "::/0 2 - Reserved",
        ]
    );
    let host = labels_of(&intent, &facts, IdentityId::HOST).expect("reserved");
    assert_eq!(host.to_strings(), ["reserved:host", "reserved:kube-apiserver"]);
}

#[test]
fn the_api_server_is_seven_from_elsewhere_also_when_it_is_no_node() {
    let (mut intent, mut facts) = walk();
    facts = NodeFacts { name: "k8s-w1".into(), addresses: vec![ip("192.168.10.101")], ..facts };
    facts.local.clear();
    let rows = ipcache(&plan(&intent, &facts).desired);
    assert!(rows.contains(&"192.168.10.10/32 7 - Node".to_owned()), "{rows:#?}");
    let outside = [("203.0.113.9", "ready", "")];
    intent.endpoint_slices.insert(name("kubernetes"), slice("kubernetes", 6443, &outside));
    let rows = ipcache(&plan(&intent, &facts).desired);
    assert!(rows.contains(&"203.0.113.9/32 7 - Reserved".to_owned()), "{rows:#?}");
    assert!(rows.contains(&"192.168.10.10/32 6 - Node".to_owned()), "{rows:#?}");
}

#[test]
fn routes_of_the_walk() {
    let (intent, facts) = walk();
    let routes = plan(&intent, &facts).desired.routes;
    let expected: BTreeMap<ipnet::IpNet, Route> = [
        ("172.16.0.230/32", Route::Pod { ifindex: 10, mac: Mac([2, 0, 0, 0, 0, 1]) }),
        ("172.16.0.0/24", Route::Router),
        ("172.16.1.0/24", Route::Node { via: ip("192.168.10.101") }),
        ("172.16.2.0/24", Route::Node { via: ip("192.168.10.102") }),
    ]
    .into_iter()
    .map(|(to, route)| (to.parse().expect("a CIDR"), route))
    .collect();
    assert_eq!(routes, expected);
}

#[test]
fn a_service_has_its_ready_backends_in_order() {
    let (intent, facts) = walk();
    let desired = plan(&intent, &facts).desired;
    assert_eq!(backends(&desired, "10.97.1.148:80"), ["172.16.1.111:80 Active", "172.16.2.180:80 Active"]);
    assert_eq!(backends(&desired, "10.96.0.1:443"), ["192.168.10.10:6443 Active"]);
    assert_eq!(backends(&desired, "10.97.1.148:8080"), ["no frontend"]);
}

#[test]
fn backends_that_leave_serve_only_when_nobody_else_does() {
    let (mut intent, facts) = walk();
    let mut with = |endpoints: &[(&str, &str, &str)]| {
        intent.endpoint_slices.insert(name("svc-1"), slice("svc", 80, endpoints));
        backends(&plan(&intent, &facts).desired, "10.97.1.148:80")
    };
    assert_eq!(
        with(&[("172.16.1.111", "leaving", "k8s-w1"), ("172.16.2.180", "ready", "k8s-w2")]),
        ["172.16.1.111:80 Terminating", "172.16.2.180:80 Active"]
    );
    assert_eq!(
        with(&[("172.16.1.111", "leaving", "k8s-w1"), ("172.16.2.180", "not-ready", "k8s-w2")]),
        ["172.16.1.111:80 Active"]
    );
    assert!(with(&[("172.16.1.111", "not-ready", "k8s-w1")]).is_empty());
    intent.services.get_mut(&name("svc")).expect("there").publish_not_ready = true;
    assert_eq!(backends(&plan(&intent, &facts).desired, "10.97.1.148:80"), ["172.16.1.111:80 Active"]);
}

#[test]
fn one_address_in_two_slices_is_one_backend_and_the_better_report_counts() {
    let (mut intent, facts) = walk();
    intent.endpoint_slices.insert(name("svc-1"), slice("svc", 80, &[("172.16.1.111", "leaving", "a")]));
    intent.endpoint_slices.insert(name("svc-2"), slice("svc", 80, &[("172.16.1.111", "ready", "b")]));
    assert_eq!(backends(&plan(&intent, &facts).desired, "10.97.1.148:80"), ["172.16.1.111:80 Active"]);
}

#[test]
fn named_ports_and_protocols_meet_only_their_own() {
    let (mut intent, facts) = walk();
    let port =
        |name: &str, protocol, port| ServicePort { name: name.into(), protocol, port, node_port: None };
    let ports = vec![port("dns", Protocol::Udp, 53), port("dns-tcp", Protocol::Tcp, 53)];
    let dns = Service { ports, ..service("10.96.0.10", 0) };
    intent.services.insert(name("dns"), dns);
    let mut dns_slice = slice("dns", 5353, &[("172.16.1.210", "ready", "k8s-w1")]);
    dns_slice.ports = vec![
        SlicePort { name: "dns".into(), protocol: Protocol::Udp, port: 5353 },
        SlicePort { name: "dns-tcp".into(), protocol: Protocol::Tcp, port: 5354 },
        SlicePort { name: "metrics".into(), protocol: Protocol::Tcp, port: 9153 },
    ];
    intent.endpoint_slices.insert(name("dns-1"), dns_slice);
    let desired = plan(&intent, &facts).desired;
    assert_eq!(backends(&desired, "10.96.0.10:53"), ["172.16.1.210:5354 Active"]);
    let udp = FrontendKey { address: "10.96.0.10:53".parse().expect("a socket"), protocol: Protocol::Udp };
    assert_eq!(desired.services[&udp].backends[0].address.port(), 5353);
}

#[test]
fn local_traffic_policy_keeps_to_the_node() {
    let (mut intent, mut facts) = walk();
    intent.services.get_mut(&name("svc")).expect("there").internal_local = true;
    assert!(backends(&plan(&intent, &facts).desired, "10.97.1.148:80").is_empty());
    facts.name = "k8s-w2".into();
    assert_eq!(backends(&plan(&intent, &facts).desired, "10.97.1.148:80"), ["172.16.2.180:80 Active"]);
}

#[test]
fn the_older_of_two_services_keeps_the_frontend_and_the_other_inherits() {
    let (mut intent, facts) = walk();
    intent.services.get_mut(&name("svc")).expect("there").created = 20;
    intent.services.insert(name("a-thief"), Service { created: 30, ..service("10.97.1.148", 80) });
    let planned = plan(&intent, &facts);
    assert_eq!(backends(&planned.desired, "10.97.1.148:80").len(), 2);
    assert_eq!(
        planned.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "Service default/a-thief spec.ports: TCP 10.97.1.148:80 belongs to the older Service default/svc, which \
          keeps it; give the Service another clusterIP or port"
        ]
    );
    let mut services = Services::default();
    services.rebuild(&intent, &facts);
    intent.services.remove(&name("svc"));
    let touched = services.update(&intent, &facts, &[name("svc")], &[]);
    assert_eq!(touched.len(), 1);
    assert_eq!(services.frontends().values().filter(|f| f.service == name("a-thief")).count(), 1);
    assert_eq!(services.problems().count(), 0);
}

#[test]
fn nobody_takes_the_address_of_a_node_or_of_a_pod_that_is_here() {
    let (mut intent, facts) = walk();
    intent.endpoints.insert(name("x-node"), endpoint("192.168.10.101", "k8s-w2", "192.168.10.102", 300));
    intent.endpoints.insert(name("x-pod"), endpoint("172.16.0.230", "k8s-w2", "192.168.10.102", 300));
    intent.endpoints.insert(name("x-web"), endpoint("172.16.2.180", "k8s-w1", "192.168.10.101", 300));
    let planned = plan(&intent, &facts);
    assert_eq!(
        planned.problems.iter().map(|p| format!("{}: {}", p.object, p.message)).collect::<Vec<_>>(),
        [
            "PleopodEndpoint default/x-node: its address 192.168.10.101 belongs to reserved:remote-node, which keeps it",
            "PleopodEndpoint default/x-pod: its address 172.16.0.230 belongs to pod default/netpod on node k8s-s, which \
             keeps it",
            "PleopodEndpoint default/x-web: its address 172.16.2.180 belongs to PleopodEndpoint default/webpod2, which \
             keeps it",
        ]
    );
    for object in ["x-node", "x-pod", "x-web"] {
        intent.endpoints.remove(&name(object));
    }
    assert_eq!(planned.desired.ipcache, plan(&intent, &facts).desired.ipcache);
}

#[test]
fn endpoints_left_behind_on_this_node_say_nothing() {
    let (mut intent, facts) = walk();
    intent.endpoints.insert(name("gone"), endpoint("172.16.0.99", "k8s-s", "192.168.10.10", 300));
    assert!(!ipcache(&plan(&intent, &facts).desired).iter().any(|row| row.starts_with("172.16.0.99")));
}

#[test]
fn a_node_says_whose_an_address_is_in_its_own_cidrs_only() {
    let (mut intent, facts) = walk();
    // The one that has no right to it is the older.
    let mut thief = endpoint("172.16.2.180", "k8s-w1", "192.168.10.101", 300);
    thief.created = -1;
    intent.endpoints.insert(name("x-thief"), thief);
    intent.endpoints.insert(name("x-world"), endpoint("203.0.113.7", "k8s-w1", "192.168.10.101", 300));
    intent.endpoints.insert(name("x-early"), endpoint("172.16.9.7", "k8s-w9", "192.168.10.109", 301));
    let planned = plan(&intent, &facts);
    assert_eq!(
        planned.problems.iter().map(|p| format!("{}: {}", p.object, p.message)).collect::<Vec<_>>(),
        [
            "PleopodEndpoint default/x-thief: its address 172.16.2.180 is in 172.16.2.0/24, the pod CIDR of node \
             k8s-w2, not of its node k8s-w1; it is left out",
            "PleopodEndpoint default/x-world: its address 203.0.113.7 is outside 172.16.1.0/24, the pod CIDR of its \
             node k8s-w1; it is left out",
        ]
    );
    let identity = |address: &str| {
        let address: IpAddr = address.parse().expect("an address");
        planned.desired.ipcache.get(&ipnet::IpNet::from(address)).map(|entry| entry.identity.0)
    };
    let webpod2 = intent.endpoints[&name("webpod2")].identity.0;
    assert_eq!(identity("172.16.2.180"), Some(webpod2));
    assert_eq!(identity("203.0.113.7"), None, "the world");
    assert_eq!(identity("172.16.9.7"), Some(301), "its Node may be on its way");
    intent.nodes.insert("k8s-w9".into(), node("192.168.10.109", "172.16.8.0/24", "172.16.8.1", "172.16.8.2"));
    assert_eq!(plan(&intent, &facts).problems.len(), 3);
}

#[test]
fn node_mistakes_are_told_and_not_routed() {
    let (mut intent, facts) = walk();
    intent.nodes.insert("z1".into(), node("192.168.10.103", "172.16.1.0/24", "172.16.9.1", "172.16.9.2"));
    intent.nodes.insert("z2".into(), node("192.168.10.104", "192.168.10.0/24", "172.16.9.3", "172.16.9.4"));
    intent.nodes.insert("z3".into(), node("192.168.10.105", "fd00::/64", "172.16.9.5", "172.16.9.6"));
    intent.nodes.insert("z4".into(), node("192.168.10.101", "172.16.4.0/24", "172.16.9.7", "172.16.9.8"));
    intent.nodes.insert("z5".into(), node("192.168.10.106", "172.16.2.128/25", "172.16.9.9", "172.16.9.10"));
    intent.nodes.insert("z6".into(), node("192.168.10.107", "172.16.0.0/20", "172.16.9.11", "172.16.9.12"));
    let planned = plan(&intent, &facts);
    assert_eq!(
        planned
            .problems
            .iter()
            .map(|p| format!("{} {}: {}", p.object, p.field, p.message))
            .collect::<Vec<_>>(),
        [
            "Node z1 spec.podCIDRs: 172.16.1.0/24 is the pod CIDR of node k8s-w1 too; it is routed to k8s-w1",
            "Node z2 spec.podCIDRs: 192.168.10.0/24 covers the address 192.168.10.10 of node k8s-s; it is not routed",
            "Node z3 spec.podCIDRs: fd00::/64 is not routed: the node has no InternalIP of that family",
            "Node z4 spec.podCIDRs: 172.16.4.0/24 is not routed: 192.168.10.101 is the InternalIP of node k8s-w1 too",
            "Node z4 status.addresses: its address 192.168.10.101 is taken already (reserved:remote-node); the first \
             keeps it",
            "Node z5 spec.podCIDRs: 172.16.2.128/25 overlaps 172.16.2.0/24, the pod CIDR of node k8s-w2; it is not routed",
            "Node z6 spec.podCIDRs: 172.16.0.0/20 overlaps 172.16.0.0/24, the pod CIDR of node k8s-s; it is not routed",
        ]
    );
}

#[test]
fn two_interfaces_in_one_namespace_are_told() {
    let (intent, mut facts) = walk();
    let twin = LocalPod { netns_cookie: 4416, ..local(9, "netpod", 11, 39_126) };
    facts.local.insert(ip("172.16.0.231"), twin);
    let planned = plan(&intent, &facts);
    assert_eq!(planned.desired.namespaces, BTreeMap::from([(4416, 9)]));
    assert_eq!(planned.problems.len(), 1);
}

proptest! {
    /// Incremental planning of Services gives what planning all of them gives, after every step of any history.
    #[test]
    fn a_history_of_changes_gives_the_same_services(steps in prop::collection::vec(random::change(), 1..60)) {
        let mut intent = Intent::default();
        let mut facts = NodeFacts { name: "n1".into(), ..NodeFacts::default() };
        let mut kept = Services::default();
        kept.rebuild(&intent, &facts);
        for change in steps {
            let before = kept.frontends().clone();
            let (services, slices) = change.apply(&mut intent, &mut facts);
            let touched = kept.update(&intent, &facts, &services, &slices);
            let mut fresh = Services::default();
            fresh.rebuild(&intent, &facts);
            prop_assert!(!kept.is_stale(&intent, &facts));
            prop_assert_eq!(&kept, &fresh);
            let differ: BTreeSet<FrontendKey> = before
                .keys()
                .chain(kept.frontends().keys())
                .filter(|k| before.get(k) != kept.frontends().get(k))
                .copied()
                .collect();
            prop_assert!(differ.is_subset(&touched), "{:?} changed, {:?} told", differ, touched);
        }
    }

    /// Any input gives a plan in which the tables agree with each other.
    #[test]
    fn any_cluster_gives_a_sound_plan((intent, facts) in random::cluster()) {
        let Planned { desired, .. } = plan(&intent, &facts);
        for (prefix, route) in &desired.routes {
            if let Route::Node { via } = route {
                prop_assert!(!prefix.contains(via), "{} via {}", prefix, via);
                prop_assert_eq!(prefix.addr().is_ipv4(), via.is_ipv4());
            }
        }
        for address in &facts.addresses {
            let entry = &desired.ipcache[&ipnet::IpNet::from(*address)];
            prop_assert_eq!((entry.identity, entry.source), (IdentityId::HOST, IpcacheSource::Reserved));
        }
        for (key, frontend) in &desired.services {
            let sorted: BTreeSet<&Backend> = frontend.backends.iter().collect();
            prop_assert!(frontend.backends.iter().eq(sorted), "sorted and each once");
            for scope in [Scope::Inside, Scope::Outside] {
                let states: BTreeSet<BackendState> = frontend.chosen(scope).map(|b| b.state).collect();
                prop_assert!(states.len() < 2 && !states.contains(&BackendState::Quarantined), "{:?}", states);
            }
            for b in frontend.backends.iter() {
                prop_assert_eq!(b.weight == 0, b.state == BackendState::Quarantined);
                prop_assert_eq!(b.address.is_ipv4(), key.address.is_ipv4());
                prop_assert_eq!(b.local, b.node.as_deref() == Some("n1"));
            }
            prop_assert!(!frontend.inside_local || frontend.chosen(Scope::Inside).all(|b| b.local));
            prop_assert!(frontend.outside != Outside::Local || frontend.chosen(Scope::Outside).all(|b| b.local));
            let somebody = frontend.unserved() == Unserved::Drop;
            prop_assert!(frontend.inside_local || somebody == frontend.chosen(Scope::Inside).next().is_some());
        }
        for check in desired.health_checks.values() {
            prop_assert!(intent.services[&check.service].external_local);
        }
        prop_assert_eq!(plan(&intent, &facts).desired, desired);
    }
}
