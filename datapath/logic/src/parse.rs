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

const MAX_EXTENSIONS: usize = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// Number of the IPv6 fragment header (RFC 8200 section 4.5).
pub const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Reads an IP packet whose Ethernet header says `ether_type`. `out` is always written: after an error it holds what could be
/// read.
///
/// # Errors
/// The reason for which the packet is to be dropped.
#[inline(always)]
pub fn parse<P: Bytes + ?Sized>(packet: &P, ether_type: u16, out: &mut Parsed) -> Result<Kind, DropReason> {
    match ether_type {
        wire::ETHERTYPE_IPV4 => ipv4(packet, wire::ETHERNET_LEN, out, Limits::Whole)?,
        wire::ETHERTYPE_IPV6 => ipv6(packet, wire::ETHERNET_LEN, out, Limits::Whole)?,
        other => {
            *out = Parsed::default();
            return if other == wire::ETHERTYPE_ARP { Ok(Kind::Arp) } else { Err(DropReason::UnsupportedL3) };
        }
    }
    packet.forget();
    if out.shape & shape::LATER_FRAGMENT == 0 {
        transport(packet, out)?;
    }
    Ok(Kind::Ip)
}

/// Offset of the packet that an ICMP error quotes.
#[inline(always)]
pub const fn quoted_at(outer: &Parsed) -> u32 {
    outer.l4 + size_of::<wire::Icmp>() as u32
}

/// Reads the packet inside an ICMP error: `out.tuple` is its five-tuple in the direction in which it was sent. `None` when it is
/// cut off before its ports, or is itself a later fragment.
#[inline(always)]
pub fn quoted<P: Bytes + ?Sized>(packet: &P, outer: &Parsed, out: &mut Parsed) -> Option<()> {
    if outer.shape & shape::V6 == 0 {
        ipv4(packet, quoted_at(outer), out, Limits::Quoted).ok()?;
    } else {
        ipv6(packet, quoted_at(outer), out, Limits::Quoted).ok()?;
    }
    packet.forget();
    if out.shape & shape::LATER_FRAGMENT != 0 {
        return None;
    }
    match out.tuple.proto {
        proto::TCP | proto::UDP | proto::SCTP => {
            let [sport, dport] = packet.load::<[Be16; 2]>(out.l4)?;
            out.tuple.sport = sport;
            out.tuple.dport = dport;
        }
        proto::ICMP | proto::ICMPV6 => {
            let icmp = packet.load::<wire::Icmp>(out.l4)?;
            if is_echo(out.tuple.proto, icmp.kind) {
                out.tuple.sport = icmp.id;
                out.tuple.dport = icmp.id;
            }
        }
        _ => {}
    }
    Some(())
}

/// Whether the lengths of the header must fit the packet, or the packet is a quotation that ends early.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    Whole,
    Quoted,
}

#[inline(always)]
fn ipv4<P: Bytes + ?Sized>(packet: &P, at: u32, out: &mut Parsed, limits: Limits) -> Result<(), DropReason> {
    let Some(header) = packet.load::<wire::Ipv4>(at) else {
        *out = Parsed::default();
        return Err(DropReason::InvalidPacket);
    };
    let header_len = u32::from(header.version_ihl & 0x0f) * 4;
    *out = Parsed {
        tuple: Tuple {
            src: Addr16::from_v4_word(header.src),
            dst: Addr16::from_v4_word(header.dst),
            sport: Be16::ZERO,
            dport: Be16::ZERO,
            proto: header.proto,
        },
        fragment_id: u32::from(header.id.raw()),
        l4: at + header_len,
        shape: ipv4_shape(header.fragment.get()),
        ttl: header.ttl,
        tos: header.tos,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
    };
    if header.version_ihl >> 4 != 4 || header_len < 20 {
        return Err(DropReason::InvalidPacket);
    }
    if limits == Limits::Whole {
        let total = u32::from(header.total_len.get());
        let there = packet.len().saturating_sub(at);
        // Segments joined beyond 64 KiB say zero ("BIG TCP").
        let joined = total == 0 && there > 0xffff;
        if !joined && (total < header_len || total > there) {
            return Err(DropReason::InvalidPacket);
        }
    }
    Ok(())
}

/// Offset 0 without "more fragments" is a whole packet.
#[inline(always)]
const fn ipv4_shape(fragment: u16) -> u8 {
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
    bits
}

#[inline(always)]
fn ipv6<P: Bytes + ?Sized>(packet: &P, at: u32, out: &mut Parsed, limits: Limits) -> Result<(), DropReason> {
    let Some(header) = packet.load::<wire::Ipv6>(at) else {
        *out = Parsed::default();
        return Err(DropReason::InvalidPacket);
    };
    *out = Parsed {
        tuple: Tuple {
            src: header.src,
            dst: header.dst,
            sport: Be16::ZERO,
            dport: Be16::ZERO,
            proto: header.next,
        },
        fragment_id: 0,
        l4: at + size_of::<wire::Ipv6>() as u32,
        shape: shape::V6,
        ttl: header.hop_limit,
        tos: header.version_class_flow[0] << 4 | header.version_class_flow[1] >> 4,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
    };
    if header.version_class_flow[0] >> 4 != 6 {
        return Err(DropReason::InvalidPacket);
    }
    if limits == Limits::Whole && out.l4 + u32::from(header.payload_len.get()) > packet.len() {
        return Err(DropReason::InvalidPacket);
    }
    for _ in 0..MAX_EXTENSIONS {
        packet.forget();
        if !is_extension(out.tuple.proto) || out.shape & shape::LATER_FRAGMENT != 0 {
            return Ok(());
        }
        extension(packet, out)?;
    }
    packet.forget();
    if is_extension(out.tuple.proto) && out.shape & shape::LATER_FRAGMENT == 0 {
        return Err(DropReason::InvalidIpv6Extension);
    }
    Ok(())
}

const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// Steps over one extension header.
#[inline(always)]
fn extension<P: Bytes + ?Sized>(packet: &P, out: &mut Parsed) -> Result<(), DropReason> {
    let header: wire::Ipv6Extension = packet.load(out.l4).ok_or(DropReason::InvalidIpv6Extension)?;
    let units = u32::from(header.len);
    if out.tuple.proto == FRAGMENT {
        let fragment = header.fragment.get();
        // An "atomic" fragment (offset 0, no more) is a whole packet (RFC 6946).
        if fragment & 0xfff9 != 0 {
            out.shape |= shape::FRAGMENT;
        }
        if fragment & 0xfff8 != 0 {
            out.shape |= shape::LATER_FRAGMENT;
        }
        out.fragment_id = header.id;
        out.l4 += 8;
    } else if out.tuple.proto == AUTHENTICATION {
        out.l4 += (units + 2) * 4;
    } else {
        out.l4 += (units + 1) * 8;
    }
    out.tuple.proto = header.next;
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
        // The last extension header may claim more than there is.
        _ if out.l4 > packet.len() => return Err(DropReason::InvalidPacket),
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
