//! Whether a pod may send what it sends.

use crate::parse::{Parsed, shape};
use pleopod_abi::{
    Addr16, DropReason,
    endpoint::{EndpointValue, endpoint_flags},
};

/// Checks the source of a packet that came in from interface `ifindex` with source MAC `mac`. `owner` is the local endpoint
/// that has the packet's source address.
///
/// # Errors
/// `InvalidSourceIp` when the address is not this pod's, `InvalidSourceMac` when the frame is not.
#[inline(always)]
pub fn check(owner: Option<&EndpointValue>, ifindex: u32, mac: [u8; 6]) -> Result<(), DropReason> {
    let Some(owner) = owner else { return Err(DropReason::InvalidSourceIp) };
    if owner.flags & endpoint_flags::HOST != 0 || owner.ifindex != ifindex {
        return Err(DropReason::InvalidSourceIp);
    }
    if owner.mac != mac {
        return Err(DropReason::InvalidSourceMac);
    }
    Ok(())
}

/// Messages of the link (neighbour discovery, listener reports).
#[inline(always)]
pub fn is_link_chatter(parsed: &Parsed) -> bool {
    parsed.shape & shape::LINK_LOCAL != 0
        && (parsed.tuple.src.is_unspecified() || is_link_local(&parsed.tuple.src) || parsed.ttl == 255)
}

/// Whether this is a message of the link that the pod may send: from `::`, a link-local address, or as [`check`] allows.
#[inline(always)]
pub fn is_own_chatter(parsed: &Parsed, owner: Option<&EndpointValue>, ifindex: u32, mac: [u8; 6]) -> bool {
    let src = &parsed.tuple.src;
    is_link_chatter(parsed)
        && (src.is_unspecified() || is_link_local(src) || check(owner, ifindex, mac).is_ok())
}

/// fe80::/10.
#[inline(always)]
pub fn is_link_local(addr: &Addr16) -> bool {
    u32::from_be(addr.words()[0]) >> 22 == 0xfe80 >> 6
}

/// Multicast of either family, or 255.255.255.255: for the stack, never for a pod's fast path.
#[inline(always)]
pub fn is_multicast(addr: &Addr16) -> bool {
    if addr.is_v4() {
        // 224.0.0.0/4 and what lies above it.
        u32::from_be(addr.v4_word()) >= 0xe000_0000
    } else {
        u32::from_be(addr.words()[0]) >> 24 == 0xff
    }
}
