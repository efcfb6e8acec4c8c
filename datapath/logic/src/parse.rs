//! From bytes to [`Parsed`]: Ethernet, ARP (passed), IPv4 with options, IPv6 with extension headers, fragments, TCP, UDP, SCTP,
//! ICMP, ICMPv6, and the packet inside an ICMP error.
//!
//! Refuses what contradicts itself: lengths beyond the packet, transport headers that are cut off (also in a first fragment,
//! RFC 1858), extension headers without end.

use crate::{
    tuple::Tuple,
    wire::{self, Bytes},
};
use pleopod_abi::{Addr16, Be16, DropReason, proto};

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Parsed {
    /// Addresses, ports, protocol. Ports of a later fragment are zero until its datagram is looked up.
    pub tuple: Tuple,
    /// Identification shared by the fragments of a datagram, as in `FragKey::id`.
    pub fragment_id: u32,
    /// Offset of the transport header from the Ethernet header.
    pub l4: u32,
    /// [`shape`].
    pub shape: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
}

/// Bits of [`Parsed::shape`].
pub mod shape {
    /// IPv6 (else IPv4).
    pub const V6: u8 = 1;
    /// Part of a fragmented datagram.
    pub const FRAGMENT: u8 = 2;
    /// Not its first fragment: there is no transport header here.
    pub const LATER_FRAGMENT: u8 = 4;
    /// An ICMP error; the packet it is about follows.
    pub const ICMP_ERROR: u8 = 8;
    /// Neighbour discovery or multicast listener messages: belong to the link, never leave it.
    pub const LINK_LOCAL: u8 = 16;
    /// IPv4: must not be fragmented.
    pub const DONT_FRAGMENT: u8 = 32;
}

/// What the Ethernet header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP packet, described by [`Parsed`].
    Ip,
    /// ARP.
    Arp,
}

/// Where the packet inside an ICMP error stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Inner {
    /// Its five-tuple, in the direction in which it was sent.
    pub tuple: Tuple,
    /// Offset of its IP header from the outer Ethernet header.
    pub l3: u32,
    /// Offset of its transport header.
    pub l4: u32,
}

const MAX_EXTENSIONS: usize = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Reads an IP packet whose Ethernet header says `ether_type`.
///
/// # Errors
/// The reason for which the packet is to be dropped.
#[inline(always)]
pub fn parse<P: Bytes + ?Sized>(packet: &P, ether_type: u16, out: &mut Parsed) -> Result<Kind, DropReason> {
    let mut network = Network::default();
    match ether_type {
        wire::ETHERTYPE_IPV4 => ipv4(packet, wire::ETHERNET_LEN, &mut network, Limits::Whole)?,
        wire::ETHERTYPE_IPV6 => ipv6(packet, wire::ETHERNET_LEN, &mut network, Limits::Whole)?,
        wire::ETHERTYPE_ARP => return Ok(Kind::Arp),
        _ => return Err(DropReason::UnsupportedL3),
    }
    *out = Parsed {
        tuple: Tuple {
            src: network.src,
            dst: network.dst,
            sport: Be16::ZERO,
            dport: Be16::ZERO,
            proto: network.proto,
        },
        fragment_id: network.fragment_id,
        l4: network.l4,
        shape: network.shape,
        ttl: network.ttl,
        tos: network.tos,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
    };
    if network.shape & shape::LATER_FRAGMENT == 0 {
        transport(packet, out)?;
    }
    Ok(Kind::Ip)
}

/// Reads the packet inside an ICMP error. `None` when it is cut off before its ports, is itself a later fragment, or is not
/// addressed back to where the error goes.
#[inline(always)]
pub fn inner<P: Bytes + ?Sized>(packet: &P, outer: &Parsed) -> Option<Inner> {
    let l3 = outer.l4 + size_of::<wire::Icmp>() as u32;
    let mut network = Network::default();
    if outer.shape & shape::V6 == 0 {
        ipv4(packet, l3, &mut network, Limits::Quoted).ok()?;
    } else {
        ipv6(packet, l3, &mut network, Limits::Quoted).ok()?;
    }
    if network.shape & shape::LATER_FRAGMENT != 0 {
        return None;
    }
    let (sport, dport) = match network.proto {
        proto::TCP | proto::UDP | proto::SCTP => {
            let [sport, dport] = packet.load::<[Be16; 2]>(network.l4)?;
            (sport, dport)
        }
        proto::ICMP | proto::ICMPV6 => {
            let icmp = packet.load::<wire::Icmp>(network.l4)?;
            let id = if is_echo(network.proto, icmp.kind) { icmp.id } else { Be16::ZERO };
            (id, id)
        }
        _ => (Be16::ZERO, Be16::ZERO),
    };
    let tuple = Tuple { src: network.src, dst: network.dst, sport, dport, proto: network.proto };
    Some(Inner { tuple, l3, l4: network.l4 })
}

/// What both IP versions say.
#[derive(Clone, Copy, Default)]
struct Network {
    src: Addr16,
    dst: Addr16,
    fragment_id: u32,
    l4: u32,
    proto: u8,
    shape: u8,
    ttl: u8,
    tos: u8,
}

/// Whether the lengths of the header must fit the packet, or the packet is a quotation that ends early.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    Whole,
    Quoted,
}

#[inline(always)]
fn ipv4<P: Bytes + ?Sized>(packet: &P, at: u32, out: &mut Network, limits: Limits) -> Result<(), DropReason> {
    let header: wire::Ipv4 = packet.load(at).ok_or(DropReason::InvalidPacket)?;
    let header_len = u32::from(header.version_ihl & 0x0f) * 4;
    if header.version_ihl >> 4 != 4 || header_len < 20 {
        return Err(DropReason::InvalidPacket);
    }
    if limits == Limits::Whole {
        let total = u32::from(header.total_len.get());
        let there = packet.len() - at;
        // Segments joined beyond 64 KiB say zero ("BIG TCP").
        let joined = total == 0 && there > 0xffff;
        if !joined && (total < header_len || total > there) {
            return Err(DropReason::InvalidPacket);
        }
    }
    let fragment = header.fragment.get();
    let mut bits = 0;
    if fragment & 0x3fff != 0 {
        bits |= shape::FRAGMENT;
    }
    if fragment & 0x1fff != 0 {
        bits |= shape::LATER_FRAGMENT;
    }
    if fragment & 0x4000 != 0 {
        bits |= shape::DONT_FRAGMENT;
    }
    *out = Network {
        src: Addr16::from_v4_word(header.src),
        dst: Addr16::from_v4_word(header.dst),
        fragment_id: u32::from(header.id.raw()),
        l4: at + header_len,
        proto: header.proto,
        shape: bits,
        ttl: header.ttl,
        tos: header.tos,
    };
    Ok(())
}

#[inline(always)]
fn ipv6<P: Bytes + ?Sized>(packet: &P, at: u32, out: &mut Network, limits: Limits) -> Result<(), DropReason> {
    let header: wire::Ipv6 = packet.load(at).ok_or(DropReason::InvalidPacket)?;
    if header.version_class_flow[0] >> 4 != 6 {
        return Err(DropReason::InvalidPacket);
    }
    let mut l4 = at + size_of::<wire::Ipv6>() as u32;
    if limits == Limits::Whole && l4 + u32::from(header.payload_len.get()) > packet.len() {
        return Err(DropReason::InvalidPacket);
    }
    let mut next = header.next;
    let mut bits = shape::V6;
    let mut fragment_id = 0;
    let mut ended = false;
    for _ in 0..MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION) {
            ended = true;
            break;
        }
        let extension: wire::Ipv6Extension = packet.load(l4).ok_or(DropReason::InvalidIpv6Extension)?;
        l4 += match next {
            FRAGMENT => {
                let fragment = extension.fragment.get();
                // An "atomic" fragment (offset 0, no more) is a whole packet (RFC 6946).
                if fragment & 0xfff9 != 0 {
                    bits |= shape::FRAGMENT;
                }
                if fragment & 0xfff8 != 0 {
                    bits |= shape::LATER_FRAGMENT;
                }
                fragment_id = extension.id;
                8
            }
            AUTHENTICATION => (u32::from(extension.len) + 2) * 4,
            _ => (u32::from(extension.len) + 1) * 8,
        };
        next = extension.next;
        if bits & shape::LATER_FRAGMENT != 0 {
            ended = true;
            break;
        }
    }
    if !ended && matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION) {
        return Err(DropReason::InvalidIpv6Extension);
    }
    *out = Network {
        src: header.src,
        dst: header.dst,
        fragment_id,
        l4,
        proto: next,
        shape: bits,
        ttl: header.hop_limit,
        tos: header.version_class_flow[0] << 4 | header.version_class_flow[1] >> 4,
    };
    Ok(())
}

#[inline(always)]
fn transport<P: Bytes + ?Sized>(packet: &P, out: &mut Parsed) -> Result<(), DropReason> {
    match out.tuple.proto {
        proto::TCP => {
            let tcp: wire::Tcp = packet.load(out.l4).ok_or(DropReason::CtInvalidHeader)?;
            if tcp.data_offset >> 4 < 5 {
                return Err(DropReason::CtInvalidHeader);
            }
            out.tuple.sport = tcp.sport;
            out.tuple.dport = tcp.dport;
            out.tcp_flags = tcp.flags;
        }
        proto::UDP | proto::SCTP => {
            let udp: wire::Udp = packet.load(out.l4).ok_or(DropReason::CtInvalidHeader)?;
            out.tuple.sport = udp.sport;
            out.tuple.dport = udp.dport;
        }
        proto::ICMP | proto::ICMPV6 => {
            let icmp: wire::Icmp = packet.load(out.l4).ok_or(DropReason::CtInvalidHeader)?;
            out.icmp_type = icmp.kind;
            out.icmp_code = icmp.code;
            if is_echo(out.tuple.proto, icmp.kind) {
                out.tuple.sport = icmp.id;
                out.tuple.dport = icmp.id;
            } else if is_error(out.tuple.proto, icmp.kind) {
                out.shape |= shape::ICMP_ERROR;
            } else if is_of_the_link(out.tuple.proto, icmp.kind) {
                out.shape |= shape::LINK_LOCAL;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Echo request or reply.
#[inline(always)]
pub const fn is_echo(protocol: u8, kind: u8) -> bool {
    match protocol {
        proto::ICMP => kind == 8 || kind == 0,
        _ => kind == 128 || kind == 129,
    }
}

/// Destination unreachable, packet too big, time exceeded, parameter problem, source quench, redirect.
#[inline(always)]
pub const fn is_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        proto::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        _ => matches!(kind, 1..=4),
    }
}

/// Neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710, 3810).
#[inline(always)]
pub const fn is_of_the_link(protocol: u8, kind: u8) -> bool {
    protocol == proto::ICMPV6 && matches!(kind, 130..=137 | 143)
}
