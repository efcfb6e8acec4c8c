//! `pleo_node`: facts about the node that can change while the programs run. One entry, index 0.

use crate::Addr16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The only entry of `pleo_node`. All zero (never written) means: leave everything to the kernel's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NodeValue {
    /// Index of the uplink.
    pub uplink_ifindex: u32,
    /// MTU of the uplink in bytes, as the link reports it.
    pub uplink_mtu: u32,
    /// IPv4 address of the node, the source of masqueraded packets; `::` for none.
    pub addr4: Addr16,
    /// IPv6 address of the node; `::` for none.
    pub addr6: Addr16,
}
