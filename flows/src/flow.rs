//! Events to Hubble's messages. Only done for what a client asked for.

use std::fmt::Write;

use pleopod_abi::ct::CtVerdict;
use pleopod_abi::metrics::Direction;
use pleopod_abi::proto;
use pleopod_abi::reason::ObservationPoint;
use pleopod_api::flow::{self, Flow, layer4::Protocol};
use pleopod_api::{Timestamp, words};

use crate::event::{End, Event, Kind, PacketFacts, Verdict};

/// What every flow of a node has in common.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Name of the node.
    pub node: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Start of this observer, so that ids of another one differ.
    pub boot: u64,
}

/// A time as protobuf has it.
pub fn timestamp(nanoseconds: i64) -> Timestamp {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let nanos = i32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0);
    Timestamp { seconds, nanos }
}

/// The id of the event with that number.
pub fn uuid(origin: &Origin, number: u64) -> String {
    // Version 8 (RFC 9562 section 5.8): the bits are ours to choose.
    let (high, low) = ((origin.boot & !0xf000) | 0x8000, (number & !(0b11 << 62)) | 0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// The message for an event.
#[allow(deprecated)] // Older clients read the deprecated fields.
pub fn flow(event: &Event, number: u64, origin: &Origin) -> Flow {
    let mut flow = Flow {
        time: Some(timestamp(event.time)),
        uuid: uuid(origin, number),
        verdict: match event.verdict() {
            Verdict::Forwarded => flow::Verdict::Forwarded,
            Verdict::Dropped => flow::Verdict::Dropped,
            Verdict::Traced => flow::Verdict::Traced,
            Verdict::Translated => flow::Verdict::Translated,
        }
        .into(),
        ip: ip(event),
        l4: Some(layer4(event)).filter(|l4| l4.protocol.is_some()),
        source: Some(endpoint(&event.source, origin)),
        destination: Some(endpoint(&event.destination, origin)),
        node_name: origin.node.clone(),
        source_service: service(&event.source),
        destination_service: service(&event.destination),
        traffic_direction: match event.traffic_direction() {
            Direction::Unknown => flow::TrafficDirection::Unknown,
            Direction::Ingress => flow::TrafficDirection::Ingress,
            Direction::Egress => flow::TrafficDirection::Egress,
        }
        .into(),
        is_reply: event.reply().map(Into::into),
        reply: event.reply().unwrap_or(false),
        event_type: Some(event_type(event)),
        ..Default::default()
    };
    flow.summary = words::summary(flow.l4.as_ref());
    match &event.kind {
        Kind::Packet(packet) => {
            flow.r#type = flow::FlowType::L3L4.into();
            flow.ethernet = ethernet(packet);
            flow.interface = Some(flow::NetworkInterface {
                index: packet.ifindex,
                name: packet.interface.as_deref().unwrap_or_default().to_owned(),
            });
            if let Some(reason) = packet.dropped {
                flow.drop_reason = u32::from(reason as u8);
                flow.drop_reason_desc = i32::from(reason as u8);
            } else {
                flow.trace_observation_point = i32::from(packet.point as u8);
                flow.trace_reason = trace_reason(packet.ct).into();
            }
        }
        Kind::Sock(sock) => {
            flow.r#type = flow::FlowType::Sock.into();
            flow.sock_xlate_point = i32::from(sock.point as u8);
            flow.socket_cookie = sock.cookie;
            flow.cgroup_id = sock.cgroup;
        }
    }
    flow
}

/// Type and sub type as Hubble numbers them.
pub fn event_type(event: &Event) -> flow::CiliumEventType {
    let (r#type, sub_type) = match &event.kind {
        Kind::Packet(PacketFacts { dropped: Some(reason), .. }) => {
            (words::EVENT_DROP, i32::from(*reason as u8))
        }
        // The one point whose number in the kernel is not the contract's.
        Kind::Packet(PacketFacts { point: ObservationPoint::ToEndpoint, .. }) => (words::EVENT_TRACE, 0),
        Kind::Packet(packet) => (words::EVENT_TRACE, i32::from(packet.point as u8)),
        Kind::Sock(sock) => (words::EVENT_SOCK, i32::from(sock.point as u8)),
    };
    flow::CiliumEventType { r#type, sub_type }
}

/// The flags of a TCP header's bits.
pub fn tcp_flags(bits: u8) -> flow::TcpFlags {
    let has = |bit: u8| bits & bit != 0;
    flow::TcpFlags {
        fin: has(0x01),
        syn: has(0x02),
        rst: has(0x04),
        psh: has(0x08),
        ack: has(0x10),
        urg: has(0x20),
        ece: has(0x40),
        cwr: has(0x80),
        ns: false,
    }
}

fn ip(event: &Event) -> Option<flow::Ip> {
    let (source, destination) = (event.source.address, event.destination.address);
    let version = match source.or(destination)? {
        std::net::IpAddr::V4(_) => flow::IpVersion::IPv4,
        std::net::IpAddr::V6(_) => flow::IpVersion::IPv6,
    };
    let text = |address: Option<std::net::IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    Some(flow::Ip {
        source: text(source),
        destination: text(destination),
        ip_version: version.into(),
        ..Default::default()
    })
}

fn layer4(event: &Event) -> flow::Layer4 {
    let (source_port, destination_port) = (u32::from(event.source.port), u32::from(event.destination.port));
    let packet = event.packet();
    let icmp = packet.map_or((0, 0), |p| (u32::from(p.icmp_type), u32::from(p.icmp_code)));
    let protocol = match event.protocol {
        proto::TCP => {
            let flags = packet.map(|packet| tcp_flags(packet.tcp_flags));
            Some(Protocol::Tcp(flow::Tcp { source_port, destination_port, flags }))
        }
        proto::UDP => Some(Protocol::Udp(flow::Udp { source_port, destination_port })),
        proto::SCTP => Some(Protocol::Sctp(flow::Sctp { source_port, destination_port })),
        proto::ICMP => Some(Protocol::IcmPv4(flow::IcmPv4 { r#type: icmp.0, code: icmp.1 })),
        proto::ICMPV6 => Some(Protocol::IcmPv6(flow::IcmPv6 { r#type: icmp.0, code: icmp.1 })),
        _ => None,
    };
    flow::Layer4 { protocol }
}

fn endpoint(end: &End, origin: &Origin) -> flow::Endpoint {
    let mut endpoint =
        flow::Endpoint { identity: end.identity, labels: end.labels().to_vec(), ..Default::default() };
    if let Some(peer) = &end.peer {
        endpoint.id = peer.endpoint.into();
        endpoint.workloads = peer
            .workloads
            .iter()
            .map(|(kind, name)| flow::Workload { kind: kind.clone(), name: name.clone() })
            .collect();
    }
    if let Some((namespace, name)) = end.pod() {
        endpoint.cluster_name = origin.cluster.clone();
        endpoint.namespace = namespace.to_owned();
        endpoint.pod_name = name.to_owned();
    }
    endpoint
}

fn service(end: &End) -> Option<flow::Service> {
    end.service_name()
        .map(|(namespace, name)| flow::Service { name: name.to_owned(), namespace: namespace.to_owned() })
}

fn ethernet(packet: &PacketFacts) -> Option<flow::Ethernet> {
    let (source, destination) = packet.macs;
    let text = |mac: [u8; 6]| {
        let mut text = String::with_capacity(17);
        for (at, byte) in mac.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            let _ = write!(text, "{colon}{byte:02x}");
        }
        text
    };
    (source != [0; 6] || destination != [0; 6])
        .then(|| flow::Ethernet { source: text(source), destination: text(destination) })
}

fn trace_reason(ct: CtVerdict) -> flow::TraceReason {
    match ct {
        CtVerdict::Untracked => flow::TraceReason::Unknown,
        CtVerdict::New => flow::TraceReason::New,
        CtVerdict::Established => flow::TraceReason::Established,
        CtVerdict::Reply => flow::TraceReason::Reply,
        CtVerdict::Related => flow::TraceReason::Related,
    }
}
