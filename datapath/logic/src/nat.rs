//! Source translation: which packets, which ports, which keys, for how long.

use crate::{tuple::Tuple, wire::tcp};
use pleopod_abi::{
    Addr16, Be16,
    config::CtTimeouts,
    nat::{NatKey, NatValue, nat_dir, nat_flags},
    proto,
};

/// Ports that are tried before a connection is refused.
pub const ATTEMPTS: u32 = 64;

/// Whether the protocol can be translated.
#[inline(always)]
pub const fn supported(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::ICMP | proto::ICMPV6)
}

/// Whether the port field is an ICMP echo identifier.
#[inline(always)]
pub const fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, proto::ICMP | proto::ICMPV6)
}

/// Key of what a pod sends.
#[inline(always)]
pub const fn out_key(t: &Tuple) -> NatKey {
    let dport = if is_icmp(t.proto) { Be16::ZERO } else { t.dport };
    NatKey { src: t.src, dst: t.dst, sport: t.sport, dport, proto: t.proto, dir: nat_dir::OUT, _pad: 0 }
}

/// Key of what comes back from outside: the packet's own tuple.
#[inline(always)]
pub const fn in_key(t: &Tuple) -> NatKey {
    let sport = if is_icmp(t.proto) { Be16::ZERO } else { t.sport };
    NatKey { src: t.src, dst: t.dst, sport, dport: t.dport, proto: t.proto, dir: nat_dir::IN, _pad: 0 }
}

/// Key under which the answers to `out`, sent from `addr` and `port`, will come.
#[inline(always)]
pub const fn answer_key(out: &NatKey, addr: Addr16, port: Be16) -> NatKey {
    NatKey {
        src: out.dst,
        dst: addr,
        sport: out.dport,
        dport: port,
        proto: out.proto,
        dir: nat_dir::IN,
        _pad: 0,
    }
}

/// The port to try at `attempt` (from 0): first the pod's own if it lies in the range, then steps from a random start.
#[inline(always)]
pub const fn candidate(own: Be16, random: u32, attempt: u32, min: u16, max: u16) -> Be16 {
    let (min, max) = if min <= max { (min, max) } else { (max, min) };
    let own = own.get();
    if attempt == 0 && own >= min && own <= max {
        return Be16::new(own);
    }
    let span = (max - min) as u32 + 1;
    // Odd steps of varying length: neighbours of a busy port are busy too.
    let at = (random >> 8).wrapping_add(attempt.wrapping_mul((random & 0xff) | 1)) % span;
    Be16::new(min + at as u16)
}

/// The connection whose answers come under `answer`, as its pod sends it.
#[inline(always)]
pub const fn connection(answer: &NatKey, holder: &NatValue) -> Tuple {
    let dport = if is_icmp(answer.proto) { holder.port } else { answer.sport };
    Tuple { src: holder.addr, dst: answer.src, sport: holder.port, dport, proto: answer.proto }
}

/// Flags of a translation after a packet in direction `dir` (one of [`nat_dir`]).
#[inline(always)]
pub const fn flags_after(before: u16, dir: u8, protocol: u8, tcp_flags: u8) -> u16 {
    let outward = dir == nat_dir::OUT;
    let mut flags = if outward { before } else { before | nat_flags::REPLIED };
    if protocol != proto::TCP {
        return flags;
    }
    if outward {
        if tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN {
            // The pod uses its port again.
            return 0;
        }
        // Who goes on sending was not reset: somebody guessed.
        flags &= !nat_flags::RESET;
    }
    if tcp_flags & tcp::RST != 0 {
        flags |= nat_flags::RESET;
    }
    if tcp_flags & tcp::FIN != 0 {
        flags |= if outward { nat_flags::FIN_OUT } else { nat_flags::FIN_IN };
    }
    flags
}

/// Whether both sides of a TCP connection are done with it.
#[inline(always)]
pub const fn is_closed(flags: u16) -> bool {
    const BOTH: u16 = nat_flags::FIN_OUT | nat_flags::FIN_IN;
    flags & nat_flags::RESET != 0 || flags & BOTH == BOTH
}

/// Beats that a translation lives without a packet.
#[inline(always)]
pub const fn life(protocol: u8, flags: u16, timeouts: &CtTimeouts) -> u32 {
    let replied = flags & nat_flags::REPLIED != 0;
    match protocol {
        proto::TCP if is_closed(flags) => timeouts.tcp_close,
        proto::TCP if replied => timeouts.tcp_established,
        proto::TCP => timeouts.tcp_syn,
        proto::UDP if replied => timeouts.replied,
        proto::UDP => timeouts.unreplied,
        _ => timeouts.icmp,
    }
}

/// Whether a translation that still lives may be taken away when ports are short. TCP says when it ends; for the others silence
/// has to do, as nobody is told that a datagram was the last one.
#[inline(always)]
pub const fn yields(protocol: u8, flags: u16) -> bool {
    protocol != proto::TCP || is_closed(flags)
}
