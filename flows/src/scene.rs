//! The cluster of the walk, for tests: netpod here, webpod1 and webpod2 elsewhere, kube-dns, the world.

use std::net::IpAddr;

use pleopod_abi::ct::CtVerdict;
use pleopod_abi::event::{EVENT_VERSION, EventHeader, FlowEvent, SockEvent, flow_flags, kind};
use pleopod_abi::metrics::Direction;
use pleopod_abi::reason::{ForwardReason, ObservationPoint, Verdict, XlatePoint};
use pleopod_abi::{Addr16, Be16, proto};
use pleopod_model::desired::{
    Desired, Frontend, FrontendKey, FrontendKind, IpcacheEntry, IpcacheSource, LocalPod, NodeFacts,
};
use pleopod_model::intent::{ClusterEndpoint, Intent, Protocol};
use pleopod_model::{IdentityId, Label, Labels, Mac, ObjectName};

use crate::{Config, Eyes, Lookup};

pub const NETPOD: &str = "172.16.0.230";
pub const WEBPOD1: &str = "172.16.1.111";
pub const COREDNS: &str = "172.16.1.210";
pub const KUBE_DNS: &str = "10.96.0.10";
pub const WORLD: &str = "5.9.243.187";
pub const NODE: &str = "192.168.10.10";
pub const NETNS: u64 = 7777;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn lookup() -> Lookup {
    let mut intent = Intent::default();
    let mut desired = Desired::default();
    let label = |text: &str| Labels::from_iter([Label::parse(text)]);
    for (id, app) in [(39126, "app=netpod"), (25054, "app=webpod"), (39166, "k8s-app=kube-dns")] {
        intent.identities.insert(IdentityId(id), label(app));
    }
    for (namespace, name, address, id) in [
        ("default", "netpod", NETPOD, 39126),
        ("default", "webpod1", WEBPOD1, 25054),
        ("kube-system", "coredns-55cb58b774-2xvk2", COREDNS, 39166),
    ] {
        let endpoint =
            ClusterEndpoint { identity: IdentityId(id), addresses: vec![ip(address)], ..Default::default() };
        intent.endpoints.insert(ObjectName::new(namespace, name), endpoint);
        desired.ipcache.insert(ip(address).into(), entry(IdentityId(id)));
    }
    desired.ipcache.insert(ip(NODE).into(), entry(IdentityId::HOST));
    desired.ipcache.insert("0.0.0.0/0".parse().unwrap(), entry(IdentityId::WORLD));
    desired.services.insert(
        FrontendKey { address: format!("{KUBE_DNS}:53").parse().unwrap(), protocol: Protocol::Udp },
        Frontend {
            port_name: "dns".into(),
            ..Frontend::new(ObjectName::new("kube-system", "kube-dns"), FrontendKind::ClusterIP, [])
        },
    );
    let mut facts = NodeFacts { name: "k8s-s".into(), addresses: vec![ip(NODE)], ..Default::default() };
    facts.local.insert(
        ip(NETPOD),
        LocalPod {
            id: 416,
            pod: ObjectName::new("default", "netpod"),
            ifindex: 10,
            ifname: "lxc7408fc78b9ff".into(),
            mac: Mac::default(),
            node_mac: Mac::default(),
            netns_cookie: NETNS,
            identity: IdentityId(39126),
        },
    );
    Lookup::build(&intent, &desired, &facts)
}

fn entry(identity: IdentityId) -> IpcacheEntry {
    IpcacheEntry { identity, tunnel_endpoint: None, source: IpcacheSource::CustomResource }
}

fn header<T>(kind: u8) -> EventHeader {
    EventHeader {
        kind,
        version: EVENT_VERSION,
        len: u16::try_from(size_of::<T>()).unwrap(),
        cpu: 1,
        time_ns: crate::clock::monotonic(),
    }
}

/// A TCP packet of netpod's connection from port 41320 to webpod1:80, or its reply.
pub fn tcp(flags: u8, reply: bool) -> FlowEvent {
    let there = FlowEvent {
        header: header::<FlowEvent>(kind::FLOW),
        point: ObservationPoint::ToNetwork as u8,
        verdict: Verdict::Forwarded as u8,
        reason: ForwardReason::ToNetwork as u8,
        ct: CtVerdict::Established as u8,
        direction: Direction::Egress as u8,
        proto: proto::TCP,
        tcp_flags: flags,
        flags: flow_flags::HAS_ADDRESSES | flow_flags::REPLY_KNOWN,
        src_identity: 39126,
        dst_identity: 25054,
        endpoint_id: 416,
        ether_type: 0x0800,
        ifindex: 10,
        packets: 1,
        len: 74,
        src: Addr16::from_ip(ip(NETPOD)),
        dst: Addr16::from_ip(ip(WEBPOD1)),
        sport: Be16::new(41320),
        dport: Be16::new(80),
        src_mac: [0x92, 0xef, 0x86, 0x7b, 0xd1, 0xd4],
        ..Default::default()
    };
    if !reply {
        return there;
    }
    FlowEvent {
        point: ObservationPoint::ToEndpoint as u8,
        reason: ForwardReason::ToEndpoint as u8,
        ct: CtVerdict::Reply as u8,
        direction: Direction::Ingress as u8,
        flags: there.flags | flow_flags::REPLY,
        src_identity: there.dst_identity,
        dst_identity: there.src_identity,
        src: there.dst,
        dst: there.src,
        sport: there.dport,
        dport: there.sport,
        ..there
    }
}

/// A call of a UDP socket of netpod with this peer.
pub fn sock(point: XlatePoint, translated: bool, peer: &str, port: u16) -> SockEvent {
    SockEvent {
        header: header::<SockEvent>(kind::SOCK),
        socket_cookie: 42,
        netns_cookie: NETNS,
        point: point as u8,
        verdict: if translated { Verdict::Translated } else { Verdict::Traced } as u8,
        proto: proto::UDP,
        src_identity: 39126,
        dst: Addr16::from_ip(ip(peer)),
        dport: Be16::new(port),
        ..Default::default()
    }
}

pub fn eyes(capacity: usize) -> Eyes {
    let config =
        Config { node: "k8s-s".into(), cluster: "default".into(), version: "0.1.0".into(), capacity };
    let eyes = Eyes::new(config);
    eyes.update(lookup());
    eyes
}
