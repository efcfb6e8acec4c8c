//! One step of a connection: what a packet makes of its entry. The states are drawn in `pleopod_abi::ct::CtState`.
//!
//! There is no window tracking: a connection is observed, not policed. What is guarded is that an entry never outlives its
//! connection (RST, FINs, timeouts) and that ports used again start a new one.

use crate::wire::tcp;
use pleopod_abi::{
    config::CtTimeouts,
    ct::{CtState, CtValue, CtVerdict, ct_flags},
    proto,
};

/// What the step needs to know of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// IP protocol number.
    pub proto: u8,
    /// TCP flags, 0 for other protocols.
    pub tcp_flags: u8,
    /// Whether the source is side A of the key.
    pub source_is_a: bool,
    /// Now, in beats.
    pub beat: u32,
}

/// The mark of a connection one side of which was found to be outside.
#[inline(always)]
pub const fn outside_mark(source_is_a: bool) -> u8 {
    if source_is_a { ct_flags::A_OUTSIDE } else { ct_flags::B_OUTSIDE }
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// New, established or reply.
    pub verdict: CtVerdict,
    /// 0: in the direction of the opener, 1: reply. Index into the pairs of [`CtValue`].
    pub way: usize,
}

/// The entry for the first packet of a connection.
#[inline(always)]
pub fn open(seen: &Seen, src_identity: u32, timeouts: &CtTimeouts) -> CtValue {
    let mut flags = if seen.source_is_a { ct_flags::OPENED_BY_A } else { 0 };
    let mut state = CtState::Unreplied;
    if seen.proto == proto::TCP {
        if seen.tcp_flags & tcp::RST != 0 {
            state = CtState::Closed;
        } else if seen.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN {
            state = CtState::SynSent;
        } else {
            // In the middle of a connection that began before us.
            state = CtState::Established;
            flags |= ct_flags::PICKED_UP;
            if seen.tcp_flags & tcp::FIN != 0 {
                flags |= ct_flags::FIN_FORWARD;
                state = CtState::Closing;
            }
        }
    }
    CtValue {
        expires: seen.beat.wrapping_add(lifetime(seen.proto, state, timeouts)),
        src_identity,
        last_report: [0; 2],
        unreported: [0; 2],
        seen: [0; 2],
        state: state as u8,
        flags,
        service_id: 0,
        backend: 0,
    }
}

/// Lets a packet act on the entry of its connection.
#[inline(always)]
pub fn step(entry: &mut CtValue, seen: &Seen, src_identity: u32, timeouts: &CtTimeouts) -> Step {
    if entry.expires <= seen.beat || opens_anew(entry, seen) {
        *entry = open(seen, src_identity, timeouts);
        return Step { verdict: CtVerdict::New, way: 0 };
    }
    let forward = is_forward(entry, seen.source_is_a);
    let before = entry.state;
    let mut flags = entry.flags;
    let state = if seen.proto == proto::TCP {
        tcp_state(before, &mut flags, forward, seen.tcp_flags)
    } else if forward {
        before
    } else {
        CtState::Replied as u8
    };
    if !forward {
        flags |= ct_flags::REPLIED;
    }
    // Write only what changes: the entry may be shared with another CPU.
    if flags != entry.flags {
        entry.flags = flags;
    }
    if state != before {
        entry.state = state;
    }
    let life = match CtState::from_u8(state) {
        Some(known) => lifetime(seen.proto, known, timeouts),
        None => timeouts.tcp_close,
    };
    let expires = seen.beat.wrapping_add(life);
    if entry.expires != expires {
        entry.expires = expires;
    }
    if forward {
        Step { verdict: CtVerdict::Established, way: 0 }
    } else {
        Step { verdict: CtVerdict::Reply, way: 1 }
    }
}

/// Whether a packet goes in the direction of the opener.
#[inline(always)]
pub const fn is_forward(entry: &CtValue, source_is_a: bool) -> bool {
    source_is_a == (entry.flags & ct_flags::OPENED_BY_A != 0)
}

/// Whether a connection that still has an entry may give it up: it is closing, or only silence could tell.
#[inline(always)]
pub const fn is_over(entry: &CtValue, protocol: u8) -> bool {
    protocol != proto::TCP || entry.state == CtState::Closing as u8 || entry.state == CtState::Closed as u8
}

/// A SYN on an entry that is closing or closed: the ports are used again, perhaps from the other side.
#[inline(always)]
fn opens_anew(entry: &CtValue, seen: &Seen) -> bool {
    seen.proto == proto::TCP
        && seen.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
        && (entry.state == CtState::Closing as u8 || entry.state == CtState::Closed as u8)
}

#[inline(always)]
fn tcp_state(before: u8, flags: &mut u8, forward: bool, tcp_flags: u8) -> u8 {
    const SENT: u8 = CtState::SynSent as u8;
    const RECEIVED: u8 = CtState::SynReceived as u8;
    const ESTABLISHED: u8 = CtState::Established as u8;
    const CLOSING: u8 = CtState::Closing as u8;
    const CLOSED: u8 = CtState::Closed as u8;
    const BOTH: u8 = ct_flags::FIN_FORWARD | ct_flags::FIN_REPLY;

    if tcp_flags & tcp::RST != 0 {
        return CLOSED;
    }
    if tcp_flags & tcp::FIN != 0 {
        *flags |= if forward { ct_flags::FIN_FORWARD } else { ct_flags::FIN_REPLY };
    }
    if *flags & BOTH == BOTH {
        return CLOSED;
    }
    if *flags & BOTH != 0 && before != CLOSED {
        return CLOSING;
    }
    match before {
        SENT if !forward && tcp_flags & tcp::SYN != 0 => RECEIVED,
        // The SYN,ACK took another way or was lost to us.
        SENT if !forward => ESTABLISHED,
        RECEIVED if forward && tcp_flags & (tcp::SYN | tcp::ACK) == tcp::ACK => ESTABLISHED,
        other => other,
    }
}

/// Beats that an entry in this state lives without a packet.
#[inline(always)]
fn lifetime(protocol: u8, state: CtState, timeouts: &CtTimeouts) -> u32 {
    match state {
        CtState::SynSent | CtState::SynReceived => timeouts.tcp_syn,
        // A connection that one side closed may go on for long in the other direction.
        CtState::Established | CtState::Closing => timeouts.tcp_established,
        CtState::Closed => timeouts.tcp_close,
        _ if protocol == proto::ICMP || protocol == proto::ICMPV6 => timeouts.icmp,
        CtState::Unreplied => timeouts.unreplied,
        CtState::Replied => timeouts.replied,
    }
}
