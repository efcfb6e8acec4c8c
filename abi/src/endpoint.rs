//! `pleo_endpoints`: the addresses that live on this node. `pleo_netns`: which network namespace is which endpoint.

use crate::Addr16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `pleo_endpoints`: one address of a local endpoint, or of the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EndpointKey {
    /// The address.
    pub addr: Addr16,
}

/// Value of `pleo_endpoints`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EndpointValue {
    /// Index of the host side of the pod's veth; 0 for addresses of the node.
    pub ifindex: u32,
    /// Security identity.
    pub identity: u32,
    /// Endpoint number, local to the node.
    pub id: u16,
    /// [`flags`](endpoint_flags).
    pub flags: u16,
    /// MAC of the pod's own interface (`eth0` in the pod).
    pub mac: [u8; 6],
    /// MAC of the host side of the veth, which the pod knows as its gateway.
    pub node_mac: [u8; 6],
}

/// Bits of [`EndpointValue::flags`].
pub mod endpoint_flags {
    /// The address belongs to the node itself (router, node, health): packets go to the stack.
    pub const HOST: u16 = 1;
}

/// Key of `pleo_netns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NetnsKey {
    /// `SO_NETNS_COOKIE` of the namespace.
    pub cookie: u64,
}

/// Value of `pleo_netns`: the endpoint whose sockets live in that namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NetnsValue {
    /// Security identity.
    pub identity: u32,
    /// Endpoint number.
    pub id: u16,
    /// No bits yet.
    pub flags: u16,
    /// Its IPv4 address (v4-mapped), or `::`.
    pub addr4: Addr16,
    /// Its IPv6 address, or `::`.
    pub addr6: Addr16,
}
