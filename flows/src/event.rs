//! One event with names: what the ring keeps. Names are shared, so keeping an event allocates nothing.

use std::net::IpAddr;
use std::sync::Arc;

use pleopod_abi::ct::CtVerdict;
use pleopod_abi::metrics::Direction;
use pleopod_abi::reason::{DropReason, ObservationPoint, XlatePoint};

use crate::lookup::{Peer, ServiceName};

/// Something that was seen.
#[derive(Clone, Debug)]
pub struct Event {
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    /// CPU it was seen on.
    pub cpu: u32,
    /// IP protocol number, 0 when not known.
    pub protocol: u8,
    /// Who sent, or for a socket's reverse translation, who answered.
    pub source: End,
    /// Who was to receive.
    pub destination: End,
    /// What kind of event, with what only that kind has.
    pub kind: Kind,
}

/// One side of an event.
#[derive(Clone, Debug)]
pub struct End {
    /// `None` when the packet could not be read that far.
    pub address: Option<IpAddr>,
    /// In native order; 0 when there is none.
    pub port: u16,
    /// Security identity, 0 when not known.
    pub identity: u32,
    /// Who that is.
    pub peer: Option<Arc<Peer>>,
    /// The Service whose address it is.
    pub service: Option<ServiceName>,
    /// Labels of the identity when there is no peer to have them.
    pub labels: Option<Arc<[String]>>,
}

/// The kinds of event.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A packet (or several, see `packets`).
    Packet(PacketFacts),
    /// A socket call.
    Sock(SockFacts),
}

/// What only a packet has.
#[derive(Clone, Debug)]
pub struct PacketFacts {
    /// Where it was seen.
    pub point: ObservationPoint,
    /// Why it was dropped, if it was.
    pub dropped: Option<DropReason>,
    /// What conntrack said.
    pub ct: CtVerdict,
    /// Whether it is a reply; `None` when not known.
    pub reply: Option<bool>,
    /// Direction of the packet, seen from `endpoint`.
    pub direction: Direction,
    /// Endpoint of this node it was from or for, 0 for the node.
    pub endpoint: u16,
    /// Bits of the TCP header: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Source and destination MAC.
    pub macs: ([u8; 6], [u8; 6]),
    /// Interface it was seen on.
    pub ifindex: u32,
    /// Name of that interface.
    pub interface: Option<Arc<str>>,
    /// Packets this event stands for.
    pub packets: u32,
    /// Length of the packet in bytes.
    pub length: u32,
}

/// What only a socket call has.
#[derive(Clone, Copy, Debug)]
pub struct SockFacts {
    /// Where in the translation.
    pub point: XlatePoint,
    /// Whether an address was exchanged.
    pub translated: bool,
    /// Cookie of the socket.
    pub cookie: u64,
    /// Cgroup of the caller.
    pub cgroup: u64,
    /// Process of the caller.
    pub pid: u32,
}

/// What Hubble calls the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On its way.
    Forwarded,
    /// Dropped.
    Dropped,
    /// Seen at a socket.
    Traced,
    /// Translated at a socket.
    Translated,
}

// === impl Event ===

impl Event {
    /// What became of it.
    pub fn verdict(&self) -> Verdict {
        match &self.kind {
            Kind::Packet(packet) if packet.dropped.is_some() => Verdict::Dropped,
            Kind::Packet(_) => Verdict::Forwarded,
            Kind::Sock(sock) if sock.translated => Verdict::Translated,
            Kind::Sock(_) => Verdict::Traced,
        }
    }

    /// Whether it is a reply; `None` when not known.
    pub fn reply(&self) -> Option<bool> {
        match &self.kind {
            Kind::Packet(packet) => packet.reply,
            Kind::Sock(_) => None,
        }
    }

    /// The packet's facts.
    pub fn packet(&self) -> Option<&PacketFacts> {
        match &self.kind {
            Kind::Packet(packet) => Some(packet),
            Kind::Sock(_) => None,
        }
    }

    /// Direction of the connection seen from the node's endpoint: a reply counts as what it answers.
    pub fn traffic_direction(&self) -> Direction {
        let Some(packet) = self.packet() else { return Direction::Unknown };
        match (packet.direction, packet.reply) {
            (Direction::Ingress, Some(true)) => Direction::Egress,
            (Direction::Egress, Some(true)) => Direction::Ingress,
            (direction, _) => direction,
        }
    }
}

// === impl End ===

impl End {
    /// Labels of whoever it is.
    pub fn labels(&self) -> &[String] {
        match (&self.peer, &self.labels) {
            (Some(peer), _) => &peer.labels,
            (None, Some(labels)) => labels,
            (None, None) => &[],
        }
    }

    /// The pod, as (namespace, name).
    pub fn pod(&self) -> Option<(&str, &str)> {
        let pod = self.peer.as_ref()?.pod.as_ref()?;
        Some((&pod.namespace, &pod.name))
    }

    /// The Service, as (namespace, name).
    pub fn service_name(&self) -> Option<(&str, &str)> {
        self.service.as_ref().map(|service| (service.namespace.as_str(), service.name.as_str()))
    }
}
