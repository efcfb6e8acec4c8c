//! `pleo_ct`: one entry for a connection, found by the same key from both directions.
//!
//! The key holds the two ends of the connection as side A and side B, A being the smaller in the order of
//! (address words as native numbers, port in its raw form). The value remembers which side opened it.

use crate::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `pleo_ct`. ICMP echo keeps its identifier as the port of both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CtKey {
    /// Address of side A.
    pub a: Addr16,
    /// Address of side B.
    pub b: Addr16,
    /// Port of side A.
    pub a_port: Be16,
    /// Port of side B.
    pub b_port: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// [`zone`].
    pub zone: u8,
    /// Zero.
    pub _pad: u16,
}

/// Values of [`CtKey::zone`].
pub mod zone {
    /// Packets as they are on the way to the endpoint.
    pub const PLAIN: u8 = 0;
    /// Packets to the address of a Service, before they get that of a backend.
    pub const SERVICE: u8 = 1;
}

/// Value of `pleo_ct`. Index 0 of each pair is the direction of the opener ("forward"), 1 the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CtValue {
    /// End of life, in [beats](crate::time::beats).
    pub expires: u32,
    /// Identity of the side that opened the connection.
    pub src_identity: u32,
    /// [Tick](crate::time::ticks) of the last flow event, per direction.
    pub last_report: [u32; 2],
    /// Packets since the last flow event, per direction; saturates.
    pub unreported: [u16; 2],
    /// TCP flags seen since the connection began, per direction.
    pub seen: [u8; 2],
    /// [`CtState`].
    pub state: u8,
    /// [`flags`](ct_flags).
    pub flags: u8,
    /// [Service port](crate::lb::LbFrontendValue::service_id) whose address the client asked for, 0 for none.
    pub service_id: u32,
    /// In the entry between client and Service address (zone 1): the [backend](crate::lb::LbBackend::backend_id) it has.
    pub backend: u32,
}

/// Bits of [`CtValue::flags`].
pub mod ct_flags {
    /// Side A opened the connection (else side B did).
    pub const OPENED_BY_A: u8 = 1;
    /// A reply was seen.
    pub const REPLIED: u8 = 2;
    /// The opener sent FIN.
    pub const FIN_FORWARD: u8 = 4;
    /// The other side sent FIN.
    pub const FIN_REPLY: u8 = 8;
    /// Picked up in the middle (no SYN seen), as after a restart with lost maps.
    pub const PICKED_UP: u8 = 16;
    /// Packets of side A come by the uplink, and its address is none of this node's.
    pub const A_OUTSIDE: u8 = 32;
    /// The same of side B.
    pub const B_OUTSIDE: u8 = 64;
    /// In the entry of zone 1: the backend sees the node's address in place of the client's.
    pub const FROM_NODE: u8 = 128;
}

/// Where a connection is in its life.
///
/// ```text
///   (none) --SYN--> SynSent --SYN,ACK--> SynReceived --ACK--> Established --FIN both--> Closing
///      \---other packet: picked up ----------------------------^    any --RST--> Closed
///   Closing | Closed --SYN of either side--> SynSent (ports used again)
///   UDP, ICMP echo, others: Unreplied --packet back--> Replied
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CtState {
    /// TCP: SYN from the opener.
    SynSent = 1,
    /// TCP: SYN,ACK from the other side.
    SynReceived = 2,
    /// TCP: open in both directions, or picked up.
    Established = 3,
    /// TCP: at least one side sent FIN.
    Closing = 4,
    /// TCP: RST, or both FINs.
    Closed = 5,
    /// Not TCP: only one direction seen.
    Unreplied = 16,
    /// Not TCP: both directions seen.
    Replied = 17,
}

// === impl CtState ===

impl CtState {
    /// The state of that number.
    #[inline(always)]
    pub const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::Closing,
            5 => Self::Closed,
            16 => Self::Unreplied,
            17 => Self::Replied,
            _ => return None,
        })
    }

    /// A name for people, as `pleopod bpf ct list` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Unreplied => "unreplied",
            Self::Replied => "replied",
        }
    }
}

/// Outcome of the connection lookup for one packet, as flow events carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CtVerdict {
    /// Not tracked (ARP, fragments whose head is lost, ...).
    Untracked = 0,
    /// First packet of a connection, or one that opens it anew.
    New = 1,
    /// In the direction of the opener.
    Established = 2,
    /// In the direction of the replies.
    Reply = 3,
    /// An ICMP error that belongs to a known connection.
    Related = 4,
}

// === impl CtVerdict ===

impl CtVerdict {
    /// The verdict of that number.
    pub const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            0 => Self::Untracked,
            1 => Self::New,
            2 => Self::Established,
            3 => Self::Reply,
            4 => Self::Related,
            _ => return None,
        })
    }

    /// A name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untracked => "untracked",
            Self::New => "new",
            Self::Established => "established",
            Self::Reply => "reply",
            Self::Related => "related",
        }
    }
}
