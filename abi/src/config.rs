//! `CONFIG`: read-only data of the BPF object, set before load and frozen with it. The verifier knows the values, so a switch
//! that is off costs nothing.

use crate::{Addr16, LAYOUT, MAGIC, time};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The read-only data of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Config {
    /// [`MAGIC`]. Programs that see anything else pass every packet on untouched.
    pub magic: u32,
    /// [`LAYOUT`] of who wrote it.
    pub layout: u32,
    /// [`flags`](config_flags).
    pub flags: u32,
    /// Interface index of `pleo_host`.
    pub host_ifindex: u32,
    /// Interface index of `pleo_net`, its peer.
    pub net_ifindex: u32,
    /// Flow events of one direction of a connection come at most this often, unless TCP flags are new. In
    /// [ticks](time::ticks).
    pub event_interval: u32,
    /// Events that the packets of one source may cause on a CPU in each [tick](time::ticks), on average. One about a drop or an
    /// ICMP error counts for eight.
    pub event_rate: u32,
    /// And at once, after a silence.
    pub event_burst: u32,
    /// Where in `pleo_calls` the programs of this set stand.
    pub calls: u32,
    /// Life of connections.
    pub ct: CtTimeouts,
    /// Lowest port that masquerading may choose, native order.
    pub nat_port_min: u16,
    /// Highest port that masquerading may choose, native order.
    pub nat_port_max: u16,
    /// Bits of `native4`, counted in the 128 bits of the v4-mapped form (96 to 128); 0 when not set.
    pub native4_prefixlen: u32,
    /// Bits of `native6`, 0 when not set.
    pub native6_prefixlen: u32,
    /// Destinations in this prefix are reached with the pod's own address.
    pub native4: Addr16,
    /// The same for IPv6.
    pub native6: Addr16,
    /// Router address of the node for pods, IPv4; `::` for none.
    pub router4: Addr16,
    /// Router address of the node for pods, IPv6; `::` for none.
    pub router6: Addr16,
}

/// How long connections live without a packet, in [beats](time::beats).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CtTimeouts {
    /// TCP before the handshake is complete.
    pub tcp_syn: u32,
    /// TCP after it.
    pub tcp_established: u32,
    /// TCP after FIN or RST.
    pub tcp_close: u32,
    /// UDP and others, one direction seen.
    pub unreplied: u32,
    /// UDP and others, both directions seen.
    pub replied: u32,
    /// ICMP echo.
    pub icmp: u32,
    /// Fragments of one datagram.
    pub fragment: u32,
}

/// Bits of [`Config::flags`].
pub mod config_flags {
    /// Send flow events.
    pub const FLOW_EVENTS: u32 = 1;
    /// Send socket events.
    pub const SOCK_EVENTS: u32 = 2;
    /// One event for every packet (`monitor`), no aggregation.
    pub const EVENT_PER_PACKET: u32 = 4;
    /// Pods reach the world with the node's address.
    pub const MASQUERADE: u32 = 8;
    /// Choose backends of Services in the socket hooks.
    pub const SOCKET_LB: u32 = 16;
    /// Keep connections in `pleo_ct`.
    pub const CONNTRACK: u32 = 32;
    /// Pods may only send from their own addresses.
    pub const ANTI_SPOOF: u32 = 64;
    /// Give packets from outside that ask a Service a backend.
    pub const SERVICE_PACKETS: u32 = 128;
}

// === impl Config ===

impl Config {
    /// What programs see when nobody set the data: magic 0, so they stand aside.
    pub const UNSET: Self = Self { magic: 0, layout: 0, ..Self::STANDARD };

    /// The settings of an ordinary node; addresses, prefixes and interface indexes are left to be filled in.
    pub const STANDARD: Self = Self {
        magic: MAGIC,
        layout: LAYOUT,
        flags: config_flags::FLOW_EVENTS
            | config_flags::SOCK_EVENTS
            | config_flags::SOCKET_LB
            | config_flags::SERVICE_PACKETS
            | config_flags::CONNTRACK
            | config_flags::ANTI_SPOOF,
        host_ifindex: 0,
        net_ifindex: 0,
        event_interval: time::millis_to_ticks(5000),
        // The ring holds some 14 000 events.
        event_rate: 128,
        event_burst: 2048,
        calls: 0,
        ct: CtTimeouts::STANDARD,
        // Above what Linux gives its own sockets by default (32768-60999), so the two never meet.
        nat_port_min: 61000,
        nat_port_max: 65535,
        native4_prefixlen: 0,
        native6_prefixlen: 0,
        native4: Addr16::UNSPECIFIED,
        native6: Addr16::UNSPECIFIED,
        router4: Addr16::UNSPECIFIED,
        router6: Addr16::UNSPECIFIED,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self::STANDARD
    }
}

// === impl CtTimeouts ===

impl CtTimeouts {
    /// Six hours for open TCP connections, minutes for the rest.
    pub const STANDARD: Self = Self {
        tcp_syn: time::secs_to_beats(60),
        tcp_established: time::secs_to_beats(21600),
        tcp_close: time::secs_to_beats(10),
        unreplied: time::secs_to_beats(60),
        replied: time::secs_to_beats(180),
        icmp: time::secs_to_beats(60),
        fragment: time::secs_to_beats(30),
    };
}

impl Default for CtTimeouts {
    fn default() -> Self {
        Self::STANDARD
    }
}
