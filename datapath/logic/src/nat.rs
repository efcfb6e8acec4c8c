//! Source translation: which packets, which ports, which keys.

use crate::tuple::Tuple;
use pleopod_abi::{
    Addr16, Be16,
    nat::{NatKey, nat_dir},
    proto,
};

/// Ports that are tried before a connection is refused.
pub const ATTEMPTS: u32 = 16;

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
