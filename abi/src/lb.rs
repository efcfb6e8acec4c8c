//! Service load balancing: `pleo_lb_fe`, `pleo_lb_table`, `pleo_lb_be`, `pleo_lb_addr`, `pleo_lb_turn`, `pleo_lb_rev`.
//!
//! A frontend names a region of `pleo_lb_table`, an array of backends by number: one entry for each, several for one of more
//! weight, or a Maglev table. Choosing costs one lookup in a hash and two in arrays. To change the backends of a live service write
//! a new region, then the frontend, which so changes as a whole; the old region is given to nobody for a while.
//!
//! ```text
//!   pleo_lb_fe            pleo_lb_table        pleo_lb_be
//!   10.96.1.1:80/TCP  ->  [at..at+len]     ->  172.16.1.4:80
//! ```

use crate::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `pleo_lb_fe`: a port of a Service, or its address ([`LbFrontendKey::any_port`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbFrontendKey {
    /// Address of the service.
    pub addr: Addr16,
    /// Port of the service.
    pub port: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// Zero.
    pub _pad: u8,
}

// === impl LbFrontendKey ===

impl LbFrontendKey {
    /// The row that every address of a Service has beside those of its ports: whoever asks for another port is refused, and no
    /// packet is sent there. Its value has no number and no backend.
    #[inline(always)]
    pub const fn any_port(addr: Addr16) -> Self {
        Self { addr, port: Be16::ZERO, proto: 0, _pad: 0 }
    }
}

/// A region of `pleo_lb_table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbRegion {
    /// Its first entry.
    pub at: u32,
    /// Its entries. 0: nobody is there.
    pub len: u32,
}

/// Value of `pleo_lb_fe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbFrontendValue {
    /// Number of the service port on this node, from 1; index into `pleo_lb_addr` and `pleo_lb_turn`.
    pub service_id: u32,
    /// Who may be chosen for clients inside: pods of this node and the node itself.
    pub inside: LbRegion,
    /// Who may be chosen for clients behind an uplink.
    pub outside: LbRegion,
    /// For how long after its last connection a client stays with its backend, in [beats](crate::time::beats); 0: it does not.
    pub affinity_timeout: u32,
    /// [`flags`](frontend_flags).
    pub flags: u16,
    /// [`balancing`].
    pub balancing: u8,
    /// Zero.
    pub _pad: u8,
}

/// Values of [`LbFrontendValue::balancing`]: how an entry of the region is chosen.
pub mod balancing {
    /// Any, with equal chance.
    pub const RANDOM: u8 = 0;
    /// One after the other.
    pub const ROUND_ROBIN: u8 = 1;
    /// By the client's address.
    pub const SOURCE_HASH: u8 = 2;
    /// By the connection; the region is a Maglev table.
    pub const MAGLEV: u8 = 3;
}

/// Bits of [`LbFrontendValue::flags`].
pub mod frontend_flags {
    /// ClusterIP.
    pub const CLUSTER_IP: u16 = 1;
    /// NodePort.
    pub const NODE_PORT: u16 = 2;
    /// LoadBalancer address.
    pub const LOAD_BALANCER: u16 = 4;
    /// External address.
    pub const EXTERNAL_IP: u16 = 8;
    /// Clients outside keep their address; only backends of this node (externalTrafficPolicy `Local`).
    pub const OUTSIDE_LOCAL: u16 = 16;
    /// Clients outside are not served.
    pub const OUTSIDE_REFUSED: u16 = 32;
    /// Others serve it, but no backend of this node: nothing is answered where a region is empty.
    pub const ELSEWHERE: u16 = 64;
    /// Only clients in `pleo_lb_src` may ask.
    pub const SOURCE_RANGES: u16 = 128;
    /// Connections to a backend that is gone are reset.
    pub const RESET_REMOVED: u16 = 256;
}

/// Value of `pleo_lb_be`, an array by the index of the backend ([`backend_index`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbBackend {
    /// Address of the backend.
    pub addr: Addr16,
    /// Port of the backend.
    pub port: Be16,
    /// IP protocol number; 0 for a backend that is gone.
    pub proto: u8,
    /// No bits yet.
    pub flags: u8,
    /// Number of the backend on this node. Entries of `pleo_lb_table` and connections name it: they mean this backend only if it
    /// is equal.
    pub backend_id: u32,
}

/// Bits of a backend's number that are its index; those above count how often the index was used, so that a number which
/// somebody still remembers does not mean another backend.
pub const BACKEND_INDEX_BITS: u32 = 20;

/// Index of a backend in `pleo_lb_be`.
#[inline(always)]
pub const fn backend_index(backend_id: u32) -> u32 {
    backend_id & ((1 << BACKEND_INDEX_BITS) - 1)
}

/// The number of a backend after `backend_id` with the same index.
#[inline(always)]
pub const fn next_backend_id(backend_id: u32) -> u32 {
    backend_id.wrapping_add(1 << BACKEND_INDEX_BITS)
}

/// Value of `pleo_lb_addr`, an array by [`LbFrontendValue::service_id`]: the address that clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbAddress {
    /// Address of the service.
    pub addr: Addr16,
    /// Port of the service.
    pub port: Be16,
    /// IP protocol number; 0 for a number that nobody has.
    pub proto: u8,
    /// Zero.
    pub _pad: u8,
}

/// Key of `pleo_lb_src`, a trie: clients that may ask a Service port whose row has
/// [`SOURCE_RANGES`](frontend_flags::SOURCE_RANGES). The programs look up all 160 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbSourceKey {
    /// Bits that count, of [`Self::source`]: 32 and those of the prefix, which for IPv4 are 96 more than are written.
    pub prefixlen: u32,
    /// Whom to ask, and who asks.
    pub source: LbSource,
}

/// A Service port and a client of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbSource {
    /// [`LbFrontendValue::service_id`], always looked up whole: its byte order does not matter.
    pub service_id: u32,
    /// Address of the client.
    pub addr: Addr16,
}

/// Key of `pleo_lb_aff`: a client and the Service port it stays with a backend of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbAffinityKey {
    /// Address of the client. For a process of this node ([`LbAffinityKey::inside`]) its network namespace, written as an address
    /// that nobody has.
    pub client: Addr16,
    /// [`LbFrontendValue::service_id`].
    pub service_id: u32,
}

// === impl LbAffinityKey ===

impl LbAffinityKey {
    /// The key of a network namespace, by its cookie.
    #[inline(always)]
    pub const fn inside(cookie: u64, service_id: u32) -> Self {
        Self { client: Addr16::from_words([u32::MAX, 0, (cookie >> 32) as u32, cookie as u32]), service_id }
    }
}

/// Value of `pleo_lb_aff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbAffinityValue {
    /// [Number](LbBackend::backend_id) of the backend.
    pub backend_id: u32,
    /// Where in the region of the frontend it was found last.
    pub place: u32,
    /// [Beat](crate::time::beats) of the last connection.
    pub last: u32,
}

/// Key of `pleo_lb_rev`: a socket and the backend it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbReverseKey {
    /// `bpf_get_socket_cookie`.
    pub cookie: u64,
    /// Address of the backend.
    pub addr: Addr16,
    /// Port of the backend.
    pub port: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// Zero.
    pub _pad: [u8; 5],
}

/// Value of `pleo_lb_rev`: the service that the socket asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbReverseValue {
    /// Address of the service.
    pub addr: Addr16,
    /// Port of the service.
    pub port: Be16,
    /// Zero.
    pub _pad: u16,
    /// [`LbFrontendValue::service_id`].
    pub service_id: u32,
}
