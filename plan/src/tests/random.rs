//! Small random clusters in which everything collides with everything.

use super::*;

#[derive(Clone, Debug)]
pub enum Change {
    Service(u8, Option<Service>),
    Slice(u8, Option<EndpointSlice>),
}

impl Change {
    /// Makes the change; answers the names of Services and slices it touched.
    pub fn apply(self, intent: &mut Intent) -> (Vec<ObjectName>, Vec<ObjectName>) {
        match self {
            Self::Service(n, service) => {
                let name = name(&format!("s{n}"));
                match service {
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
        (0u8..5, prop::option::weighted(0.8, a_service())).prop_map(|(n, s)| Change::Service(n, s)),
        (0u8..5, prop::option::weighted(0.8, a_slice())).prop_map(|(n, s)| Change::Slice(n, s)),
    ]
}

fn a_service() -> impl Strategy<Value = Service> {
    (0u8..3, 1u16..3, any::<bool>(), any::<bool>(), 0i64..3, any::<bool>()).prop_map(
        |(address, port, publish_not_ready, internal_local, created, dual)| {
            let mut service = service(&format!("10.96.0.{}", address + 1), port);
            if dual {
                service.cluster_ips.push(ip(&format!("fd00::{}", address + 1)));
            }
            Service { publish_not_ready, internal_local, created, ..service }
        },
    )
}

fn a_slice() -> impl Strategy<Value = EndpointSlice> {
    let state = prop_oneof![Just("ready"), Just("leaving"), Just("not-ready")];
    let endpoint = (1u8..5, state, 1u8..3);
    (0u8..5, 1u16..3, prop::collection::vec(endpoint, 0..4)).prop_map(|(service, port, endpoints)| {
        EndpointSlice {
            service: name(&format!("s{service}")),
            ports: vec![SlicePort { name: String::new(), protocol: Protocol::Tcp, port }],
            endpoints: endpoints
                .iter()
                .map(|(address, state, node)| {
                    slice_endpoint(&format!("172.16.1.{address}"), state, &format!("n{node}"))
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
            for change in changes {
                change.apply(&mut intent);
            }
            intent.nodes = nodes.into_iter().map(|(n, node)| (format!("n{n}"), node)).collect();
            intent.endpoints = endpoints.into_iter().map(|(n, e)| (name(&format!("p{n}")), e)).collect();
            let local = pods
                .into_iter()
                .map(|(a, (id, identity))| (a, local(id, &format!("p{id}"), u32::from(id) + 10, identity)))
                .collect();
            (
                intent,
                NodeFacts { name: "n1".into(), addresses, router, health, local, ..NodeFacts::default() },
            )
        },
    )
}
