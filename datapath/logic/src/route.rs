//! Where a packet goes.

use crate::parse::Parsed;
use pleopod_abi::{
    Addr16,
    endpoint::{EndpointValue, endpoint_flags},
};

/// Where a packet goes, as far as the maps tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Into this pod of the node.
    Pod,
    /// To the node's own stack: the node's address, or a case that only the stack answers.
    Stack,
    /// Out of the node; the routing table says how.
    Out,
}

/// The way of a packet whose destination is owned by `owner` (a local endpoint), if by any.
///
/// A packet with TTL 0 or 1 may not be forwarded; the stack tells its sender (RFC 1812 section 5.3.1, RFC 4443 section 3.3).
#[inline(always)]
pub fn way(parsed: &Parsed, owner: Option<&EndpointValue>) -> Way {
    if crate::spoof::is_multicast(&parsed.tuple.dst) {
        return Way::Stack;
    }
    match owner {
        Some(owner) if owner.flags & endpoint_flags::HOST != 0 => Way::Stack,
        _ if parsed.ttl <= 1 => Way::Stack,
        Some(_) => Way::Pod,
        None => Way::Out,
    }
}

/// Whether `addr` lies in `prefix` of `len` bits, counted in 128. Zero bits mean "no prefix": nothing lies in it.
#[inline(always)]
pub fn in_prefix(addr: &Addr16, prefix: &Addr16, len: u32) -> bool {
    if len == 0 || len > 128 {
        return false;
    }
    let (a, p) = (addr.words(), prefix.words());
    let mut left = len;
    let mut same = true;
    let mut i = 0;
    while i < 4 {
        let bits = if left >= 32 { 32 } else { left };
        if bits != 0 {
            let mask = (!0u32) << (32 - bits);
            same &= (u32::from_be(a[i]) ^ u32::from_be(p[i])) & mask == 0;
        }
        left -= bits;
        i += 1;
    }
    same
}
