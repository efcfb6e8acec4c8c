//! `pleo_routes`: what the routing table said about a flow a moment ago. Per CPU, direct-mapped by a hash of the flow.

use crate::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries per CPU; a power of two.
pub const ROUTES_LEN: u32 = 256;

/// [Ticks](crate::time::ticks) for which an answer counts: a changed route takes effect after at most 67 ms.
pub const ROUTE_LIFE: u32 = 64;

/// Value of `pleo_routes`. The whole flow is compared, so that flows spread over several next hops stay on theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RouteValue {
    /// Source address.
    pub src: Addr16,
    /// Destination address.
    pub dst: Addr16,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// Type of service.
    pub tos: u8,
    /// Address family of the next hop.
    pub family: u8,
    /// See [`route_flags`].
    pub flags: u8,
    /// Next hop as `bpf_redirect_neigh` takes it: network order, IPv4 in the first word.
    pub next_hop: [u32; 4],
    /// When it was asked, in [ticks](crate::time::ticks).
    pub tick: u32,
    /// Outgoing interface.
    pub ifindex: u32,
}

/// What else was found out about the flow.
pub mod route_flags {
    /// Its destination is reached with the pod's own address: nothing is left to do where packets leave the node.
    pub const NATIVE: u8 = 1;
}
