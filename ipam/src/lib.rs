//! Which address and which endpoint number a pod gets on this node, and the journal that remembers it.
//!
//! Host-scope mode: addresses come from the node's own pod CIDRs. Nothing here reads a clock or a file: the time is
//! passed in, and the journal is bytes that the agent writes (temporary file, then rename) and reads back.
//!
//! - [`Ipam`]: addresses, endpoint numbers and leases of one node.
//! - [`pool`]: one CIDR; decides the order in which addresses are given.
//! - [`journal`]: the file format.
#![deny(missing_docs)]

pub mod error;
pub mod ids;
pub mod ipam;
pub mod journal;
pub mod lease;
pub mod pool;

pub use error::{Error, JournalError};
pub use ipam::{Allocated, Config, Ipam, Usage};
pub use lease::{Attachment, Lease, Owner};

use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds on a clock that only goes forward while the machine runs (the agent's is
/// `CLOCK_BOOTTIME`). After a boot it begins anew: what was noted before then lies in the future, and counts as now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

// === impl Timestamp ===

impl Timestamp {
    /// Time passed since `earlier`; zero when that lies in the future.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

// === impl Family ===

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}
