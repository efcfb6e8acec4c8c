//! `pleo_frag`: ports of a fragmented datagram, learnt from its first fragment and used for the others.

use crate::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `pleo_frag` (RFC 791 section 3.2, RFC 8200 section 4.5: what fragments of one datagram share).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FragKey {
    /// Source address.
    pub src: Addr16,
    /// Destination address.
    pub dst: Addr16,
    /// Identification as it stands on the wire; IPv4 uses the first two bytes in memory.
    pub id: u32,
    /// IPv4: the protocol number. IPv6: 44, because there source, destination and identification alone make the datagram, and
    /// the number in a later fragment may be that of an extension header.
    pub proto: u8,
    /// Zero.
    pub _pad: [u8; 3],
}

/// Value of `pleo_frag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FragValue {
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// [Beat](crate::time::beats) from which on the entry is stale.
    pub expires: u32,
    /// Protocol number of the transport header.
    pub proto: u8,
    /// Zero.
    pub _pad: [u8; 3],
}
