//! Choice of a backend, and how long it is remembered.

use crate::{conntrack::Seen, tuple::Tuple, wire::tcp};
use pleopod_abi::{
    Addr16,
    config::CtTimeouts,
    ct::{CtState, CtValue, ct_flags},
    proto,
};

/// Slot of a random number among `count` slots, each as likely as the others to within 2^-32. `None` when there is none.
#[inline(always)]
pub const fn pick(random: u32, count: u32) -> Option<u32> {
    if count == 0 { None } else { Some(((random as u64 * count as u64) >> 32) as u32) }
}

/// Lets a packet of the client act on the entry that remembers its backend. `false`: this packet begins a new connection, and the
/// entry counts no more. Only this direction passes here, so the entry lives as long as a connection in the best case does.
#[inline(always)]
pub fn front(entry: &mut CtValue, seen: &Seen, timeouts: &CtTimeouts) -> bool {
    let tcp = seen.proto == proto::TCP;
    let opens = tcp && seen.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN;
    let over = entry.flags & ct_flags::FIN_FORWARD != 0 || entry.state == CtState::Closed as u8;
    if entry.expires <= seen.beat || (opens && over) {
        return false;
    }
    let mut state = entry.state;
    if tcp {
        if seen.tcp_flags & tcp::RST != 0 {
            state = CtState::Closed as u8;
        } else if !opens && state == CtState::SynSent as u8 {
            state = CtState::Established as u8;
        }
        if seen.tcp_flags & tcp::FIN != 0 && entry.flags & ct_flags::FIN_FORWARD == 0 {
            entry.flags |= ct_flags::FIN_FORWARD;
        }
    }
    let life = if !tcp {
        timeouts.replied
    } else if state == CtState::Closed as u8 {
        timeouts.tcp_close
    } else if state == CtState::SynSent as u8 {
        timeouts.tcp_syn
    } else {
        timeouts.tcp_established
    };
    let expires = seen.beat.wrapping_add(life);
    // Write only what changes: the entry may be shared with another CPU.
    if entry.state != state {
        entry.state = state;
    }
    if entry.expires != expires {
        entry.expires = expires;
    }
    true
}

/// A number from an address, spread over 32 bits.
#[inline(always)]
pub const fn address_hash(addr: &Addr16) -> u32 {
    let w = addr.words();
    mix(mix(mix(mix(0x9e37_79b9, w[0]), w[1]), w[2]), w[3])
}

/// A number from a connection, spread over 32 bits; the same on every node.
#[inline(always)]
pub const fn connection_hash(t: &Tuple) -> u32 {
    let ports = (t.sport.raw() as u32) << 16 | t.dport.raw() as u32;
    mix(mix(mix(address_hash(&t.src), address_hash(&t.dst)), ports), t.proto as u32)
}

/// One round of murmur3's 32-bit mixing (Appleby), with its finalizer, so that close inputs end far apart.
#[inline(always)]
const fn mix(state: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut h = (state ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}
