//! How many events one core decodes, names, counts and keeps in a second, and what a new snapshot of names costs.
//!
//! `cargo run --release -p pleopod-flows --example rate [SECONDS]`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pleopod_abi::event::{EVENT_VERSION, EventHeader, FlowEvent, flow_flags, kind};
use pleopod_abi::{Addr16, Be16, proto};
use pleopod_flows::ring::Entry;
use pleopod_flows::{Config, Eyes, Lookup, Peer, clock};
use pleopod_model::desired::{
    Desired, Frontend, FrontendKey, FrontendKind, IpcacheEntry, IpcacheSource, NodeFacts,
};
use pleopod_model::intent::{ClusterEndpoint, Intent, Protocol};
use pleopod_model::{IdentityId, Label, ObjectName};
use zerocopy::IntoBytes;

const PODS: u32 = 10_000;

fn address(pod: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + pod))
}

/// Time to make the names of a large cluster: 50,000 pods and 10,000 Services.
fn snapshot() -> Duration {
    let (mut intent, mut desired) = (Intent::default(), Desired::default());
    for pod in 0..50_000 {
        let identity = IdentityId(256 + pod % 1000);
        let endpoint =
            ClusterEndpoint { identity, addresses: vec![address(pod)], ..ClusterEndpoint::default() };
        intent.endpoints.insert(ObjectName::new("default", format!("pod-{pod}")), endpoint);
        let entry = IpcacheEntry { identity, tunnel_endpoint: None, source: IpcacheSource::CustomResource };
        desired.ipcache.insert(address(pod).into(), entry);
    }
    for id in 0..1000 {
        let labels = (0..6).map(|n| Label::parse(&format!("k8s:label-{n}=value-{id}"))).collect();
        intent.identities.insert(IdentityId(256 + id), labels);
    }
    for service in 0..10_000 {
        let address = SocketAddr::new(address(1 << 20 | service), 80);
        let name = ObjectName::new("default", format!("svc-{service}"));
        let frontend = Frontend::new(name, FrontendKind::ClusterIP, []);
        desired.services.insert(FrontendKey { address, protocol: Protocol::Tcp }, frontend);
    }
    let start = Instant::now();
    let lookup = Lookup::build(&intent, &desired, &NodeFacts::default());
    let took = start.elapsed();
    drop(lookup);
    took
}

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let eyes = Eyes::new(Config {
        node: "node".into(),
        cluster: "default".into(),
        version: "0".into(),
        capacity: 4096,
    });
    let mut lookup = Lookup::default();
    for pod in 0..PODS {
        let labels = vec![format!("k8s:app=pod-{}", pod % 100)].into();
        let name = Some(ObjectName::new("default", format!("pod-{pod}")));
        lookup.insert_peer(
            address(pod),
            Peer { identity: 1000 + pod % 100, pod: name, labels, ..Peer::default() },
        );
    }
    eyes.update(lookup);

    let mut event = FlowEvent {
        header: EventHeader {
            kind: kind::FLOW,
            version: EVENT_VERSION,
            len: u16::try_from(size_of::<FlowEvent>()).unwrap_or_default(),
            cpu: 0,
            time_ns: 0,
        },
        point: 11,
        verdict: 1,
        reason: 2,
        ct: 1,
        direction: 2,
        proto: proto::TCP,
        tcp_flags: 2,
        flags: flow_flags::HAS_ADDRESSES | flow_flags::REPLY_KNOWN,
        packets: 1,
        ..Default::default()
    };
    let (start, mut events) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        event.header.time_ns = clock::monotonic();
        for batch in 0..256 {
            let pod = (u32::try_from(events % u64::from(PODS)).unwrap_or(0) + batch * 37) % PODS;
            event.src = Addr16::from_ip(address(pod));
            event.dst = Addr16::from_ip(address((pod * 7 + 1) % PODS));
            event.sport = Be16::new(u16::try_from(batch).unwrap_or(0) + 40_000);
            if let Err(error) = eyes.ingest(event.as_bytes()) {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
        eyes.publish();
        events += 256;
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{events} events in {took:.2} s: {:.2} M/s, {:.0} ns each",
        events as f64 / took / 1e6,
        took * 1e9 / events as f64
    );
    println!("names of 50,000 pods and 10,000 Services: {:.1} ms", snapshot().as_secs_f64() * 1e3);
    println!("memory of one kept event: {} bytes", size_of::<Entry>());
    ExitCode::SUCCESS
}
