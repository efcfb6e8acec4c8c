//! How long planning takes with many Services: `cargo run --release -p pleopod-plan --example scale [SERVICES]`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use pleopod_model::desired::NodeFacts;
use pleopod_model::intent::{
    ClusterEndpoint, EndpointSlice, Intent, Node, Protocol, Service, ServicePort, SliceEndpoint, SlicePort,
};
use pleopod_model::{IdentityId, ObjectName};
use pleopod_plan::{Services, plan, plan_without_services};

const ROUNDS: usize = 50;

fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let intent = cluster(count);
    let facts = NodeFacts { name: "n0".into(), addresses: vec![v4(0xC0A8_0A00)], ..NodeFacts::default() };

    let whole = measure(|| drop(plan(&intent, &facts)));
    let rest = measure(|| drop(plan_without_services(&intent, &facts)));
    let mut services = Services::default();
    services.rebuild(&intent, &facts);
    let slice = [ObjectName::new("default", format!("svc{}-1", count / 2))];
    let one = measure(|| drop(services.update(&intent, &facts, &[], &slice)));
    println!("{count} Services of 2 backends, {} endpoints, {ROUNDS} rounds", intent.endpoints.len());
    println!("everything          p50 {:>10.3?}  max {:>10.3?}", whole.0, whole.1);
    println!("all but Services    p50 {:>10.3?}  max {:>10.3?}", rest.0, rest.1);
    println!("one changed slice   p50 {:>10.3?}  max {:>10.3?}", one.0, one.1);
}

fn measure(mut work: impl FnMut()) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[ROUNDS / 2], times[ROUNDS - 1])
}

fn v4(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

fn cluster(count: u32) -> Intent {
    let mut intent = Intent::default();
    for n in 0..10u32 {
        let cidr = format!("10.{n}.0.0/16").parse().ok().into_iter().collect();
        let node = Node { addresses: vec![v4(0xC0A8_0A00 + n)], pod_cidrs: cidr, ..Node::default() };
        intent.nodes.insert(format!("n{n}"), node);
    }
    for n in 0..count {
        let name = ObjectName::new("default", format!("svc{n}"));
        let port = ServicePort { name: String::new(), protocol: Protocol::Tcp, port: 80, node_port: None };
        let service =
            Service { cluster_ips: vec![v4(0x0A60_0000 + n)], ports: vec![port], ..Service::default() };
        intent.services.insert(name.clone(), service);
        let backend = |i: u32| SliceEndpoint {
            addresses: vec![v4(0x0A01_0000 + n * 2 + i)],
            ready: true,
            serving: true,
            node: Some(format!("n{}", n % 10)),
            pod: Some(ObjectName::new("default", format!("pod{n}-{i}"))),
            ..SliceEndpoint::default()
        };
        let slice = EndpointSlice {
            service: name,
            ports: vec![SlicePort { name: String::new(), protocol: Protocol::Tcp, port: 80 }],
            endpoints: vec![backend(0), backend(1)],
        };
        intent.endpoint_slices.insert(ObjectName::new("default", format!("svc{n}-1")), slice);
        for i in 0..2 {
            let endpoint = ClusterEndpoint {
                identity: IdentityId(256 + n % 60_000),
                addresses: vec![v4(0x0A01_0000 + n * 2 + i)],
                node: format!("n{}", 1 + n % 9),
                ..ClusterEndpoint::default()
            };
            intent.endpoints.insert(ObjectName::new("default", format!("pod{n}-{i}")), endpoint);
        }
    }
    intent
}
