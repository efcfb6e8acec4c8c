//! Addresses and ports as they cross the border.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv4 or IPv6 address: 16 bytes in network order, IPv4 as v4-mapped (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
///
/// Stored as four words so that it is 4-byte aligned and copies and compares by word; each word holds its four bytes in
/// the order they have on the wire.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Addr16 {
    words: [u32; 4],
}

/// A 16-bit number in network order: ports, mostly.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(transparent)]
pub struct Be16(u16);

const V4_MARK: u32 = 0xffffu32.to_be();

// === impl Addr16 ===

impl Addr16 {
    /// `::`, also what an unset address reads as.
    pub const UNSPECIFIED: Self = Self { words: [0; 4] };

    /// The v4-mapped form of four bytes in network order.
    #[inline(always)]
    pub const fn from_v4_octets(o: [u8; 4]) -> Self {
        Self { words: [0, 0, V4_MARK, u32::from_ne_bytes(o)] }
    }

    /// The v4-mapped form of a word whose bytes stand in memory in network order (as `__sk_buff` and `bpf_sock_addr`
    /// hand them out).
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self { words: [0, 0, V4_MARK, word] }
    }

    /// Four words whose bytes stand in memory in network order.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The four words, bytes in network order.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.words
    }

    /// 16 bytes in network order.
    #[inline(always)]
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
                u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
                u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
                u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
            ],
        }
    }

    /// 16 bytes in network order.
    #[inline(always)]
    pub const fn octets(&self) -> [u8; 16] {
        let [a, b, c, d] = self.words;
        let (a, b, c, d) = (a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes());
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// The last four bytes as a word in network order: the IPv4 address when [`Self::is_v4`].
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.words[3]
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == V4_MARK
    }

    /// Whether it is a loopback address: 127.0.0.0/8 or ::1.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        let last = u32::from_be(self.words[3]);
        let (v4, v6) = (self.is_v4() && last >> 24 == 127, last == 1 && !self.is_v4());
        v4 || (v6 && self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0)
    }

    /// Whether this is `::`, which stands for "not set".
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == 0
    }

    /// The address as the standard library writes it; v4-mapped becomes IPv4.
    pub const fn to_ip(&self) -> IpAddr {
        if self.is_v4() {
            let o = self.words[3].to_ne_bytes();
            IpAddr::V4(Ipv4Addr::new(o[0], o[1], o[2], o[3]))
        } else {
            IpAddr::V6(Ipv6Addr::from_octets(self.octets()))
        }
    }

    /// The inverse of [`Self::to_ip`]. A v4-mapped IPv6 address is the same as its IPv4 form.
    pub const fn from_ip(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_v4_octets(v4.octets()),
            IpAddr::V6(v6) => Self::from_octets(v6.octets()),
        }
    }
}

impl From<Ipv4Addr> for Addr16 {
    fn from(ip: Ipv4Addr) -> Self {
        Self::from_v4_octets(ip.octets())
    }
}

impl From<Ipv6Addr> for Addr16 {
    fn from(ip: Ipv6Addr) -> Self {
        Self::from_octets(ip.octets())
    }
}

impl From<IpAddr> for Addr16 {
    fn from(ip: IpAddr) -> Self {
        Self::from_ip(ip)
    }
}

impl From<Addr16> for IpAddr {
    fn from(addr: Addr16) -> Self {
        addr.to_ip()
    }
}

impl fmt::Debug for Addr16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_ip(), f)
    }
}

impl fmt::Display for Addr16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_ip(), f)
    }
}

// === impl Be16 ===

impl Be16 {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// From a number in native order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// The number in native order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// From two bytes as they stand on the wire.
    #[inline(always)]
    pub const fn from_wire(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes))
    }

    /// The two bytes as they stand on the wire.
    #[inline(always)]
    pub const fn to_wire(self) -> [u8; 2] {
        self.0.to_ne_bytes()
    }

    /// From a native number whose memory holds the wire order, as socket contexts hand ports out.
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The native number whose memory holds the wire order.
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

impl From<u16> for Be16 {
    fn from(host: u16) -> Self {
        Self::new(host)
    }
}

impl From<Be16> for u16 {
    fn from(be: Be16) -> Self {
        be.get()
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl fmt::Display for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}
