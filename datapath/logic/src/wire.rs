//! Headers as they stand on the wire, and how packet bytes are read.

use pleopod_abi::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A packet that can be read from. Offsets count from the Ethernet header.
pub trait Bytes {
    /// Bytes from the Ethernet header to the end.
    fn len(&self) -> u32;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies a header out of the packet; `None` when it does not reach that far.
    fn load<T: FromBytes>(&self, offset: u32) -> Option<T>;

    /// Called where many paths of the parser meet. A verifier that walks paths one by one may forget here what it knows about
    /// the result so far; else nothing happens.
    #[inline(always)]
    fn forget(&self) {}
}

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Length of an Ethernet header.
pub const ETHERNET_LEN: u32 = 14;

/// TCP flags (RFC 9293 section 3.1).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// Ethernet II.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC.
    pub dst: [u8; 6],
    /// Source MAC.
    pub src: [u8; 6],
    /// EtherType.
    pub ether_type: Be16,
}

/// IPv4 without options (RFC 791 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ipv4 {
    /// Version and header length in words.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Total length.
    pub total_len: Be16,
    /// Identification.
    pub id: Be16,
    /// Flags and fragment offset.
    pub fragment: Be16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Header checksum.
    pub checksum: Be16,
    /// Source, bytes in network order.
    pub src: u32,
    /// Destination, bytes in network order.
    pub dst: u32,
}

/// IPv6 (RFC 8200 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ipv6 {
    /// Version, traffic class, flow label.
    pub version_class_flow: [u8; 4],
    /// Bytes after this header.
    pub payload_len: Be16,
    /// Next header.
    pub next: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: Addr16,
    /// Destination.
    pub dst: Addr16,
}

/// First two bytes of an IPv6 extension header and what follows in the shortest one (RFC 8200 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ipv6Extension {
    /// Next header.
    pub next: u8,
    /// Length in units that depend on the header.
    pub len: u8,
    /// Fragment header: offset and the M flag.
    pub fragment: Be16,
    /// Fragment header: identification.
    pub id: u32,
}

/// TCP without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Header length in words in the upper half.
    pub data_offset: u8,
    /// [`tcp`].
    pub flags: u8,
    /// Window.
    pub window: Be16,
    /// Checksum.
    pub checksum: Be16,
    /// Urgent pointer.
    pub urgent: Be16,
}

/// UDP; SCTP begins the same way with its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// Length (SCTP: upper half of the verification tag).
    pub len: Be16,
    /// Checksum (SCTP: lower half of the verification tag).
    pub checksum: Be16,
}

/// ICMP and ICMPv6: the first eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub checksum: Be16,
    /// Echo: the identifier.
    pub id: Be16,
    /// Echo: the sequence number.
    pub seq: Be16,
}

impl Bytes for [u8] {
    fn len(&self) -> u32 {
        <[u8]>::len(self) as u32
    }

    fn load<T: FromBytes>(&self, offset: u32) -> Option<T> {
        T::read_from_prefix(self.get(offset as usize..)?).ok().map(|(value, _)| value)
    }
}
