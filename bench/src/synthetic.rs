//! Services that nobody uses, to see what many of them cost.

use std::net::{IpAddr, Ipv4Addr};

use pleopod_model::ObjectName;
use pleopod_model::desired::NodeFacts;
use pleopod_model::intent::{
    EndpointSlice, Intent, Protocol, Service, ServicePort, SliceEndpoint, SlicePort,
};

/// Backends of each Service.
pub const BACKENDS: u32 = 2;

/// An intent with `count` Services of one port and two backends each. Their addresses are of 10.112.0.0/12, in the second half
/// of the service range of a lab, where its allocator starts last.
pub fn services(count: u32) -> Intent {
    let mut intent = Intent::default();
    for n in 0..count {
        let name = ObjectName::new("bench", format!("svc{n}"));
        let port = ServicePort { name: String::new(), protocol: Protocol::Tcp, port: 80, node_port: None };
        let service =
            Service { cluster_ips: vec![v4(0x0A70_0000 + n)], ports: vec![port], ..Service::default() };
        intent.services.insert(name, service);
        intent.endpoint_slices.insert(slice_name(n), slice(n, 0));
    }
    intent
}

/// The node they are planned for, which has none of the backends.
pub fn node() -> NodeFacts {
    NodeFacts { name: "n1".into(), ..NodeFacts::default() }
}

/// The name of a Service's slice.
pub fn slice_name(n: u32) -> ObjectName {
    ObjectName::new("bench", format!("svc{n}-1"))
}

/// The slice of Service `n`; `round` moves one of its backends.
pub fn slice(n: u32, round: u32) -> EndpointSlice {
    let backend = |address: u32| SliceEndpoint {
        addresses: vec![v4(address)],
        ready: true,
        serving: true,
        node: Some("elsewhere".into()),
        ..SliceEndpoint::default()
    };
    let moved = 0x0B80_0000 + (round * 8191 + n) % 0x40_0000;
    EndpointSlice {
        service: ObjectName::new("bench", format!("svc{n}")),
        ports: vec![SlicePort { name: String::new(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: vec![backend(0x0B00_0000 + n), backend(moved)],
    }
}

fn v4(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}
