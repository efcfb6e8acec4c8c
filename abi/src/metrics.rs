//! `pleo_metrics`: per-CPU counters, indexed by (reason, direction).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of `pleo_metrics`, one per CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MetricValue {
    /// Packets, or events for [`counter`].
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

/// Which way a packet goes, seen from the endpoint (or the node) that the program serves. Hubble's `TrafficDirection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// Not known.
    Unknown = 0,
    /// Towards the endpoint.
    Ingress = 1,
    /// From the endpoint.
    Egress = 2,
}

/// Reasons that are no verdict on a packet but a count of something lost or odd.
pub mod counter {
    /// A flow event found no room in `pleo_events`, or its source had caused too many already.
    pub const FLOW_EVENT_LOST: u8 = 100;
    /// A socket event found no room in `pleo_events`.
    pub const SOCK_EVENT_LOST: u8 = 101;
    /// A connection could not be written to `pleo_ct`; the packet went on untracked.
    pub const CT_INSERT_FAILED: u8 = 102;
    /// A service had no backend, or not the port that was asked for.
    pub const NO_BACKEND: u8 = 103;

    /// Every counter with its name, for exporters.
    pub const ALL: [(u8, &str); 4] = [
        (FLOW_EVENT_LOST, "flow-event-lost"),
        (SOCK_EVENT_LOST, "sock-event-lost"),
        (CT_INSERT_FAILED, "ct-insert-failed"),
        (NO_BACKEND, "no-backend"),
    ];
}

/// Number of entries: 256 reasons, four places each for the direction.
pub const METRICS_LEN: u32 = 256 * 4;

/// Index of (reason, direction). The reason is a [`ForwardReason`](crate::ForwardReason), a
/// [`DropReason`](crate::DropReason) or a [`counter`].
#[inline(always)]
pub const fn metric_index(reason: u8, direction: Direction) -> u32 {
    (reason as u32) << 2 | direction as u32
}

/// The inverse of [`metric_index`].
pub const fn metric_of_index(index: u32) -> Option<(u8, Direction)> {
    if index >= METRICS_LEN {
        return None;
    }
    let direction = match index & 3 {
        0 => Direction::Unknown,
        1 => Direction::Ingress,
        2 => Direction::Egress,
        _ => return None,
    };
    Some(((index >> 2) as u8, direction))
}

// === impl Direction ===

impl Direction {
    /// The direction of that number.
    pub const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            0 => Self::Unknown,
            1 => Self::Ingress,
            2 => Self::Egress,
            _ => return None,
        })
    }

    /// A name for people and labels of metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}
