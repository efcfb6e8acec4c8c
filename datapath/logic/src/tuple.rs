//! The five-tuple of a packet, and the one key that both directions of a connection share.

use pleopod_abi::{Addr16, Be16, ct::CtKey};

/// Source and destination of a packet. ICMP echo has its identifier as both ports; protocols without ports have zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tuple {
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
}

// === impl Tuple ===

impl Tuple {
    /// The same connection seen from the other side.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, proto: self.proto }
    }

    /// The key of the connection, and whether the source is its side A.
    ///
    /// Side A is the smaller of the two (address, port) pairs, compared as native numbers: any order does, as long as both
    /// directions find the same one.
    #[inline(always)]
    pub fn key(&self) -> (CtKey, bool) {
        let source_is_a = source_is_smaller(self);
        let (a, b, a_port, b_port) = if source_is_a {
            (self.src, self.dst, self.sport, self.dport)
        } else {
            (self.dst, self.src, self.dport, self.sport)
        };
        (CtKey { a, b, a_port, b_port, proto: self.proto, zone: 0, _pad: 0 }, source_is_a)
    }
}

#[inline(always)]
fn source_is_smaller(t: &Tuple) -> bool {
    let (s, d) = (t.src.words(), t.dst.words());
    // The last word differs in nearly all packets.
    if s[3] != d[3] {
        return s[3] < d[3];
    }
    if s[0] != d[0] {
        return s[0] < d[0];
    }
    if s[1] != d[1] {
        return s[1] < d[1];
    }
    if s[2] != d[2] {
        return s[2] < d[2];
    }
    t.sport.raw() <= t.dport.raw()
}
