//! `pleo_events`: what the programs report. One ring buffer, records told apart by [`EventHeader::kind`].

use crate::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the records of this module.
pub const EVENT_VERSION: u8 = 1;

/// Start of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EventHeader {
    /// [`kind`].
    pub kind: u8,
    /// [`EVENT_VERSION`].
    pub version: u8,
    /// Bytes of the whole record.
    pub len: u16,
    /// CPU it was made on.
    pub cpu: u32,
    /// `bpf_ktime_get_ns`: CLOCK_MONOTONIC nanoseconds.
    pub time_ns: u64,
}

/// Values of [`EventHeader::kind`].
pub mod kind {
    /// [`FlowEvent`](super::FlowEvent).
    pub const FLOW: u8 = 1;
    /// [`SockEvent`](super::SockEvent).
    pub const SOCK: u8 = 2;
}

/// A packet, or several of the same direction of a connection since the last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FlowEvent {
    /// `kind` is [`kind::FLOW`].
    pub header: EventHeader,
    /// [`ObservationPoint`](crate::reason::ObservationPoint).
    pub point: u8,
    /// [`Verdict`](crate::reason::Verdict): forwarded or dropped.
    pub verdict: u8,
    /// [`DropReason`](crate::DropReason) or [`ForwardReason`](crate::ForwardReason), by `verdict`.
    pub reason: u8,
    /// [`CtVerdict`](crate::ct::CtVerdict).
    pub ct: u8,
    /// [`Direction`](crate::metrics::Direction) seen from the endpoint `endpoint_id`.
    pub direction: u8,
    /// IP protocol number, 0 when the packet could not be read that far.
    pub proto: u8,
    /// TCP flags of this packet; those it stands for had none that were new.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Zero.
    pub _pad: u8,
    /// [`flags`](flow_flags).
    pub flags: u16,
    /// Identity of the source, 0 when not known.
    pub src_identity: u32,
    /// Identity of the destination, 0 when not known.
    pub dst_identity: u32,
    /// Endpoint that the program served, 0 for the node.
    pub endpoint_id: u16,
    /// EtherType in native order.
    pub ether_type: u16,
    /// Interface the program ran on.
    pub ifindex: u32,
    /// Packets that this record stands for, at least 1.
    pub packets: u32,
    /// Bytes of this packet from the Ethernet header on.
    pub len: u32,
    /// Source address.
    pub src: Addr16,
    /// Destination address.
    pub dst: Addr16,
    /// Source port; ICMP echo: the identifier.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// Source MAC as the packet came.
    pub src_mac: [u8; 6],
    /// Destination MAC as the packet came.
    pub dst_mac: [u8; 6],
    /// Zero.
    pub _pad2: u32,
}

/// Bits of [`FlowEvent::flags`].
pub mod flow_flags {
    /// The addresses are set.
    pub const HAS_ADDRESSES: u16 = 1;
    /// Whether this is a reply is known (see `REPLY`).
    pub const REPLY_KNOWN: u16 = 2;
    /// Goes in the direction of the replies.
    pub const REPLY: u16 = 4;
    /// A fragment.
    pub const FRAGMENT: u16 = 8;
    /// An ICMP error about a connection.
    pub const ICMP_ERROR: u16 = 16;
}

/// A socket asked for an address, and what became of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SockEvent {
    /// `kind` is [`kind::SOCK`].
    pub header: EventHeader,
    /// `bpf_get_socket_cookie`.
    pub socket_cookie: u64,
    /// `bpf_get_netns_cookie`.
    pub netns_cookie: u64,
    /// `bpf_get_current_cgroup_id`.
    pub cgroup_id: u64,
    /// [`XlatePoint`](crate::reason::XlatePoint).
    pub point: u8,
    /// [`Verdict`](crate::reason::Verdict): traced or translated.
    pub verdict: u8,
    /// IP protocol number.
    pub proto: u8,
    /// Zero.
    pub _pad: u8,
    /// Service that was chosen, 0 for none.
    pub service_id: u32,
    /// Identity of the socket's endpoint (host when the namespace is no endpoint's).
    pub src_identity: u32,
    /// Endpoint of the socket, 0 for the node.
    pub endpoint_id: u16,
    /// Local port, zero while the socket has none.
    pub sport: Be16,
    /// Address of the socket's endpoint; `::` when not known.
    pub src: Addr16,
    /// The peer: the service before translation, the backend after it; in reverse the other way round.
    pub dst: Addr16,
    /// Port of the peer.
    pub dport: Be16,
    /// Zero.
    pub _pad2: u16,
    /// Process that made the call (tgid).
    pub pid: u32,
}
