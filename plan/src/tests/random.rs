//! Small random clusters in which everything collides with everything.

use super::*;

#[derive(Clone, Debug)]
pub enum Change {
    Service(u8, Box<Option<Service>>),
    Slice(u8, Option<EndpointSlice>),
    Node(u8, u8),
    Options(ServiceOptions),
}

impl Change {
    /// Makes the change; answers the names of Services and slices it touched.
    pub fn apply(self, intent: &mut Intent, facts: &mut NodeFacts) -> (Vec<ObjectName>, Vec<ObjectName>) {
        match self {
            Self::Node(address, zone) => {
                let address = ip(&format!("192.168.10.{address}"));
                let labels = BTreeMap::from([("topology.kubernetes.io/zone".to_owned(), format!("z{zone}"))]);
                let node = Node { addresses: vec![address], labels, ..Node::default() };
                intent.nodes.insert("n1".into(), node);
                facts.addresses = vec![address, ip("10.0.0.1")];
                (vec![], vec![])
            }
            Self::Options(options) => {
                facts.services = options;
                (vec![], vec![])
            }
            Self::Service(n, service) => {
                let name = name(&format!("s{n}"));
                match *service {
                    Some(service) => intent.services.insert(name.clone(), service),
                    None => intent.services.remove(&name),
                };
                (vec![name], vec![])
            }
            Self::Slice(n, slice) => {
                let name = name(&format!("e{n}"));
                match slice {
                    Some(slice) => intent.endpoint_slices.insert(name.clone(), slice),
                    None => intent.endpoint_slices.remove(&name),
                };
                (vec![], vec![name])
            }
        }
    }
}

pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0u8..5, prop::option::weighted(0.8, a_service()))
            .prop_map(|(n, s)| Change::Service(n, Box::new(s))),
        8 => (0u8..5, prop::option::weighted(0.8, a_slice())).prop_map(|(n, s)| Change::Slice(n, s)),
        1 => (0u8..2, 0u8..2).prop_map(|(address, zone)| Change::Node(address, zone)),
        1 => an_option().prop_map(Change::Options),
    ]
}

fn an_option() -> impl Strategy<Value = ServiceOptions> {
    let addresses = prop_oneof![
        Just(NodePortAddresses::Primary),
        Just(NodePortAddresses::Within(vec!["10.0.0.0/8".parse().expect("a CIDR")])),
    ];
    (addresses, any::<bool>(), any::<bool>()).prop_map(
        |(node_port_addresses, node_port_localhost, cluster_ips_outside)| ServiceOptions {
            node_port_addresses,
            node_port_localhost,
            cluster_ips_outside,
            balancing: Balancing::Maglev,
        },
    )
}

/// Everything that lies outside: addresses that also others have, ports of which there are two.
fn what_is_outside() -> impl Strategy<Value = (ServiceType, Vec<IpAddr>, Vec<IpAddr>, bool, u16, Option<u16>)>
{
    let kind = prop_oneof![
        2 => Just(ServiceType::ClusterIP),
        2 => Just(ServiceType::NodePort),
        2 => Just(ServiceType::LoadBalancer),
        1 => Just(ServiceType::ExternalName),
    ];
    // 10.96.0.1 may be a cluster address too, 192.168.10.0 the node's.
    let address = || {
        let addresses = ["10.96.0.1", "192.168.10.0", "203.0.113.1", "fd00::1"];
        prop::collection::vec((0..addresses.len()).prop_map(move |n| ip(addresses[n])), 0..3)
    };
    (kind, address(), address(), any::<bool>(), 30_000u16..30_002, prop::option::of(30_001u16..30_003))
}

fn a_service() -> impl Strategy<Value = Service> {
    let inside = (0u8..3, 1u16..3, any::<bool>(), any::<bool>(), 0i64..3, any::<bool>());
    let weight = prop::option::of((1u8..5, 0u16..3));
    (inside, what_is_outside(), weight).prop_map(
        |((address, port, publish_not_ready, internal_local, created, dual), outside, weight)| {
            let mut service = service(&format!("10.96.0.{}", address + 1), port);
            if dual {
                service.cluster_ips.push(ip(&format!("fd00::{}", address + 1)));
            }
            let (kind, external_ips, load_balancer_ips, external_local, node_port, health) = outside;
            service.ports[0].node_port = Some(node_port);
            if let Some((address, weight)) = weight {
                service.weights.addresses.insert(ip(&format!("172.16.1.{address}")), weight);
            }
            Service {
                kind,
                external_ips,
                load_balancer_ips,
                external_local,
                health_check_node_port: health.filter(|_| external_local),
                publish_not_ready,
                internal_local,
                created,
                ..service
            }
        },
    )
}

fn a_slice() -> impl Strategy<Value = EndpointSlice> {
    let state = prop_oneof![Just("ready"), Just("leaving"), Just("not-ready")];
    let hints = prop_oneof![Just((None, None)), (0u8..3, 0u8..3).prop_map(|(n, z)| (Some(n), Some(z)))];
    let endpoint = (1u8..5, state, 1u8..3, hints);
    (0u8..5, 1u16..3, prop::collection::vec(endpoint, 0..4)).prop_map(|(service, port, endpoints)| {
        EndpointSlice {
            service: name(&format!("s{service}")),
            ports: vec![SlicePort { name: String::new(), protocol: Protocol::Tcp, port }],
            endpoints: endpoints
                .iter()
                .map(|(address, state, node, (for_node, for_zone))| SliceEndpoint {
                    for_nodes: for_node.filter(|n| *n > 0).map(|n| format!("n{n}")).into_iter().collect(),
                    for_zones: for_zone.map(|z| format!("z{z}")).into_iter().collect(),
                    ..slice_endpoint(&format!("172.16.1.{address}"), state, &format!("n{node}"))
                })
                .collect(),
        }
    })
}

fn an_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..6).prop_map(|n| IpAddr::from([172, 16, 0, n])),
        (0u8..3).prop_map(|n| IpAddr::from([192, 168, 10, n])),
        (0u16..4).prop_map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n])),
    ]
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(an_address(), 0..3)
}

fn a_node() -> impl Strategy<Value = Node> {
    let cidr = (an_address(), 1u8..33).prop_map(|(a, len)| {
        ipnet::IpNet::new_assert(a, if a.is_ipv4() { len } else { len * 4 - 4 }).trunc()
    });
    (addresses(), prop::collection::vec(cidr, 0..3), addresses(), addresses()).prop_map(
        |(addresses, pod_cidrs, router_addresses, health_addresses)| Node {
            addresses,
            pod_cidrs,
            router_addresses,
            health_addresses,
            ..Node::default()
        },
    )
}

fn an_endpoint() -> impl Strategy<Value = ClusterEndpoint> {
    (addresses(), 0u8..4, prop::option::of(an_address()), 0u32..300, 0i64..3).prop_map(
        |(addresses, node, node_address, identity, created)| ClusterEndpoint {
            identity: IdentityId(identity),
            addresses,
            node_address,
            node: format!("n{node}"),
            created,
            ..ClusterEndpoint::default()
        },
    )
}

pub fn cluster() -> impl Strategy<Value = (Intent, NodeFacts)> {
    let nodes = prop::collection::btree_map(0u8..4, a_node(), 0..4);
    let endpoints = prop::collection::btree_map(0u8..8, an_endpoint(), 0..8);
    let changes = prop::collection::vec(change(), 0..12);
    let pods = prop::collection::btree_map(an_address(), (1u16..4, 0u32..300), 0..4);
    (nodes, endpoints, changes, pods, addresses(), addresses(), addresses()).prop_map(
        |(nodes, endpoints, changes, pods, addresses, router, health)| {
            let mut intent = Intent::default();
            let mut facts = NodeFacts::default();
            for change in changes {
                change.apply(&mut intent, &mut facts);
            }
            intent.nodes = nodes.into_iter().map(|(n, node)| (format!("n{n}"), node)).collect();
            intent.endpoints = endpoints.into_iter().map(|(n, e)| (name(&format!("p{n}")), e)).collect();
            let local = pods
                .into_iter()
                .map(|(a, (id, identity))| (a, local(id, &format!("p{id}"), u32::from(id) + 10, identity)))
                .collect();
            (
                intent,
                NodeFacts { name: "n1".into(), addresses, router, health, local, services: facts.services },
            )
        },
    )
}
