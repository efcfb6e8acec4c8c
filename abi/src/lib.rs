//! Every byte that both sides of the kernel border agree on.
//!
//! Map keys and values, events, drop reasons, read-only configuration, and the table of maps. The crate decides nothing:
//! it names fields, units and byte order. It refuses padding: each record derives zerocopy's traits, so an unnamed hole
//! between fields is a compile error, and `tests/layout.rs` holds every offset to a golden file.
//!
//! Conventions, used in all records:
//! - addresses are [`Addr16`]: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`;
//! - ports are [`Be16`]: network order in memory;
//! - everything else is native order;
//! - padding is named `_pad*`, is written as zero and ignored when read.

#![no_std]
#![deny(missing_docs)]

pub mod addr;
pub mod config;
pub mod ct;
pub mod endpoint;
pub mod event;
pub mod frag;
pub mod ipcache;
pub mod lb;
pub mod maps;
pub mod metrics;
pub mod nat;
pub mod node;
pub mod reason;
pub mod route;
pub mod time;

pub use addr::{Addr16, Be16};
pub use config::Config;
pub use reason::{DropReason, ForwardReason};

/// First word of [`Config`]: "PLEO" in ASCII. A program that was loaded without a configuration sees zero here.
pub const MAGIC: u32 = 0x504c_454f;

/// Version of the rows in pinned maps. Pins made by another layout are never reused: the agent starts with empty maps, says
/// so, and connections are picked up in the middle.
///
/// It must grow by one, in the same commit,
/// - when the type, the flags, or the size of key or value of a map change, or a field moves: `tests/pins.rs` fails until it does
///   and `tests/layouts.txt` has the new lines;
/// - when a field keeps its place and means something else, so that an old row would mislead a new program: nothing but this
///   sentence says so.
///
/// It need not for a new map, for another capacity (compared by itself), for [`Config`] (never outlives its programs) or for
/// events ([`event::EVENT_VERSION`]).
pub const LAYOUT: u32 = 4;

/// IP protocol numbers that the datapath tells apart (IANA "Assigned Internet Protocol Numbers").
pub mod proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
}

/// Security identities with a fixed meaning; numbers from 256 on belong to sets of labels.
pub mod identity {
    /// Not known.
    pub const UNKNOWN: u32 = 0;
    /// The node the program runs on.
    pub const HOST: u32 = 1;
    /// Everything outside the cluster.
    pub const WORLD: u32 = 2;
    /// An address of the cluster that no endpoint of ours owns.
    pub const UNMANAGED: u32 = 3;
    /// Health endpoints.
    pub const HEALTH: u32 = 4;
    /// An endpoint whose labels are not known yet.
    pub const INIT: u32 = 5;
    /// Another node of the cluster.
    pub const REMOTE_NODE: u32 = 6;
    /// The Kubernetes API server.
    pub const KUBE_APISERVER: u32 = 7;
    /// Ingress proxies.
    pub const INGRESS: u32 = 8;
    /// Lowest number that stands for a set of labels.
    pub const FIRST_LABELS: u32 = 256;
    /// Highest number that stands for a set of labels.
    pub const LAST_LABELS: u32 = 65535;
}

/// `AF_INET`, as `bpf_fib_lookup` and sockets write it.
pub const AF_INET: u8 = 2;
/// `AF_INET6`.
pub const AF_INET6: u8 = 10;
