//! Masquerading: pods reach the world with the node's address, and the answers find their way back.
//!
//! Two entries per connection in `pleo_nat`: `OUT` from the pod's tuple to the node's port, `IN` from the answer's tuple to the
//! pod. `IN` is claimed first and without overwriting, so a port is never given twice for the same destination.

use crate::{
    config::config,
    maps,
    scene::{Scene, forget, node},
    skb::Skb,
};
use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_get_prandom_u32, bpf_l3_csum_replace, bpf_l4_csum_replace},
};
use pleopod_abi::{
    Addr16, Be16, DropReason,
    nat::{NatKey, NatValue},
    proto,
    time::beats,
};
use pleopod_datapath_logic::{
    checksum::address_difference,
    nat::{ATTEMPTS, answer_key, candidate, in_key, is_icmp, out_key, supported},
    parse::{self, shape},
    tuple::Tuple,
    wire::ETHERNET_LEN,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
const BPF_F_PSEUDO_HDR: u64 = 0x10;
const BPF_F_MARK_MANGLED_0: u64 = 0x20;
const BPF_F_IPV6: u64 = 0x80;

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// Gives a pod's packet the node's address. `Ok(false)`: nothing to translate.
#[inline(always)]
pub fn outward(skb: Skb, scene: &mut Scene) -> Result<bool, DropReason> {
    answered(outward_call(skb.raw, scene))
}

#[inline(never)]
fn outward_call(raw: *mut __sk_buff, scene: &mut Scene) -> u32 {
    answer(outward_inner(Skb { raw }, scene))
}

#[inline(always)]
fn outward_inner(skb: Skb, scene: &mut Scene) -> Result<bool, DropReason> {
    let v6 = scene.parsed.shape & shape::V6 != 0;
    let own = match node() {
        Some(node) if v6 => node.addr6,
        Some(node) => node.addr4,
        None => return Ok(false),
    };
    if own.is_unspecified() {
        return Ok(false);
    }
    if scene.parsed.shape & shape::ICMP_ERROR != 0 {
        // The pod answers a packet that was translated on its way in: the quotation must show what its sender sent.
        if !read_quoted(skb, scene) {
            return Ok(false);
        }
        let Some(mapped) = find(&out_key(&scene.quoted.tuple.reversed()), scene.now) else {
            return Ok(false);
        };
        rewrite_quoted(skb, scene, End::Destination, mapped.addr, mapped.port)?;
        rewrite(skb, scene, End::Source, mapped.addr, Be16::ZERO, false)?;
        return Ok(true);
    }
    if !supported(scene.parsed.tuple.proto) {
        return Err(DropReason::NatUnsupportedProtocol);
    }
    let mapped = claim(&scene.parsed.tuple, own, scene.now).ok_or(DropReason::NoNatMapping)?;
    rewrite(skb, scene, End::Source, mapped.addr, mapped.port, true)?;
    Ok(true)
}

/// Gives a packet that answers a translated one the pod's address. `Ok(false)`: it is not one.
#[inline(always)]
pub fn inward(skb: Skb, scene: &mut Scene) -> Result<bool, DropReason> {
    answered(inward_call(skb.raw, scene))
}

#[inline(never)]
fn inward_call(raw: *mut __sk_buff, scene: &mut Scene) -> u32 {
    answer(inward_inner(Skb { raw }, scene))
}

#[inline(always)]
fn inward_inner(skb: Skb, scene: &mut Scene) -> Result<bool, DropReason> {
    if scene.parsed.shape & shape::ICMP_ERROR != 0 {
        if !read_quoted(skb, scene) {
            return Ok(false);
        }
        let Some(mapped) = find(&in_key(&scene.quoted.tuple.reversed()), scene.now) else { return Ok(false) };
        rewrite_quoted(skb, scene, End::Source, mapped.addr, mapped.port)?;
        rewrite(skb, scene, End::Destination, mapped.addr, Be16::ZERO, false)?;
        return Ok(true);
    }
    let port = scene.parsed.tuple.dport.get();
    if !supported(scene.parsed.tuple.proto) || port < config!(nat_port_min) || port > config!(nat_port_max) {
        return Ok(false);
    }
    let Some(mapped) = find(&in_key(&scene.parsed.tuple), scene.now) else { return Ok(false) };
    rewrite(skb, scene, End::Destination, mapped.addr, mapped.port, true)?;
    Ok(true)
}

/// A result as a number: what a BPF function can return in its one register. The functions are called and not put in line so that
/// their many paths end at the call.
#[inline(always)]
fn answer(result: Result<bool, DropReason>) -> u32 {
    match result {
        Ok(yes) => u32::from(yes),
        Err(reason) => reason as u32,
    }
}

/// The inverse of [`answer`].
#[inline(always)]
fn answered(number: u32) -> Result<bool, DropReason> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        n if n == DropReason::NoNatMapping as u32 => Err(DropReason::NoNatMapping),
        n if n == DropReason::NatUnsupportedProtocol as u32 => Err(DropReason::NatUnsupportedProtocol),
        _ => Err(DropReason::WriteError),
    }
}

/// Reads what an ICMP error quotes.
#[inline(always)]
fn read_quoted(skb: Skb, scene: &mut Scene) -> bool {
    let known = parse::quoted(&skb, &scene.parsed, &mut scene.quoted).is_some();
    forget();
    known
}

/// A live entry, its life extended.
#[inline(always)]
fn find(key: &NatKey, now: u64) -> Option<NatValue> {
    let beat = beats(now);
    let entry = maps::pleo_nat.get_ptr_mut(key)?;
    // SAFETY: memory of the map, live until the program ends; fields are plain numbers.
    let entry = unsafe { &mut *entry };
    if entry.expires <= beat {
        return None;
    }
    let expires = beat.wrapping_add(life(key.proto));
    if entry.expires != expires {
        entry.expires = expires;
    }
    Some(*entry)
}

/// The translation of a pod's connection, made if there is none.
#[inline(always)]
fn claim(tuple: &Tuple, own: Addr16, now: u64) -> Option<NatValue> {
    let key = out_key(tuple);
    let beat = beats(now);
    let expires = beat.wrapping_add(life(key.proto));
    let back = NatValue { addr: tuple.src, port: tuple.sport, _pad: 0, expires };
    if let Some(entry) = maps::pleo_nat.get_ptr_mut(key) {
        // SAFETY: as in `find`.
        let entry = unsafe { &mut *entry };
        if entry.expires > beat && entry.addr == own {
            if entry.expires != expires {
                // Once a beat: the way back lives as long as the way out, and is there again if it was evicted.
                entry.expires = expires;
                let answer = answer_key(&key, own, entry.port);
                let _ = maps::pleo_nat.insert(answer, back, BPF_ANY);
            }
            return Some(*entry);
        }
    }
    // SAFETY: no arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let port = candidate(tuple.sport, random, attempt, config!(nat_port_min), config!(nat_port_max));
        if take(&answer_key(&key, own, port), &back, beat) {
            let out = NatValue { addr: own, port, _pad: 0, expires };
            return maps::pleo_nat.insert(key, out, BPF_ANY).ok().map(|()| out);
        }
        attempt += 1;
    }
    None
}

/// Claims the way back for a pod, unless another connection that still lives has it.
#[inline(always)]
fn take(answer: &NatKey, back: &NatValue, beat: u32) -> bool {
    if let Some(entry) = maps::pleo_nat.get_ptr(answer) {
        // SAFETY: as in `find`, read only.
        let entry = unsafe { &*entry };
        let ours = entry.addr == back.addr && entry.port == back.port;
        if entry.expires > beat && !ours {
            return false;
        }
        return maps::pleo_nat.insert(answer, back, BPF_ANY).is_ok();
    }
    maps::pleo_nat.insert(answer, back, BPF_NOEXIST).is_ok()
}

/// Beats that a translation lives without a packet.
#[inline(always)]
fn life(protocol: u8) -> u32 {
    match protocol {
        proto::TCP => config!(ct.tcp_established),
        proto::UDP => config!(ct.replied),
        _ => config!(ct.icmp),
    }
}

/// Writes a new address, and a new port if `with_port`, into the packet's own headers, and into what is known of it.
#[inline(always)]
fn rewrite(
    skb: Skb,
    scene: &mut Scene,
    end: End,
    addr: Addr16,
    port: Be16,
    with_port: bool,
) -> Result<(), DropReason> {
    let parsed = &mut scene.parsed;
    let v6 = parsed.shape & shape::V6 != 0;
    let old = if end == End::Source { parsed.tuple.src } else { parsed.tuple.dst };
    let old_port = if end == End::Source { parsed.tuple.sport } else { parsed.tuple.dport };
    let difference = address_difference(old, addr);
    let mut failed = !set_address(&skb, ETHERNET_LEN, v6, end, &addr, difference);
    let protocol = parsed.tuple.proto;
    if parsed.shape & shape::LATER_FRAGMENT == 0 {
        let (checksum, flags) = match protocol {
            proto::TCP => (16, 0),
            proto::UDP => (6, BPF_F_MARK_MANGLED_0),
            _ => (2, 0),
        };
        let checksum = parsed.l4 + checksum;
        // ICMP for IPv4 is the only one whose checksum leaves the addresses out.
        if protocol != proto::ICMP {
            let family = if v6 { BPF_F_IPV6 } else { 0 };
            failed |= !l4(&skb, checksum, 0, difference, flags | family | BPF_F_PSEUDO_HDR);
        }
        if with_port && port != old_port {
            failed |= !l4(&skb, checksum, old_port.raw().into(), port.raw().into(), flags | 2);
            let at = if is_icmp(protocol) {
                4
            } else if end == End::Source {
                0
            } else {
                2
            };
            failed |= skb.store(parsed.l4 + at, &port, 0).is_err();
        }
    }
    if failed {
        return Err(DropReason::WriteError);
    }
    if end == End::Source {
        parsed.tuple.src = addr;
    } else {
        parsed.tuple.dst = addr;
    }
    if with_port {
        if end == End::Source || is_icmp(protocol) {
            parsed.tuple.sport = port;
        }
        if end == End::Destination || is_icmp(protocol) {
            parsed.tuple.dport = port;
        }
    }
    Ok(())
}

/// Writes a new address and port into the packet that an ICMP error quotes. The quoted transport checksum stays as it is:
/// nobody can check it, as the quotation may be cut off.
#[inline(always)]
fn rewrite_quoted(skb: Skb, scene: &Scene, end: End, addr: Addr16, port: Be16) -> Result<(), DropReason> {
    let v6 = scene.parsed.shape & shape::V6 != 0;
    let checksum = scene.parsed.l4 + 2;
    let (old, old_port) = if end == End::Source {
        (scene.quoted.tuple.src, scene.quoted.tuple.sport)
    } else {
        (scene.quoted.tuple.dst, scene.quoted.tuple.dport)
    };
    let difference = address_difference(old, addr);
    let mut failed = !set_address(&skb, parse::quoted_at(&scene.parsed), v6, end, &addr, difference);
    if v6 {
        // An IPv4 header's own checksum makes up for the change of the address; IPv6 has none.
        failed |= !l4(&skb, checksum, 0, difference, BPF_F_IPV6);
    }
    if port != old_port {
        let at = if is_icmp(scene.quoted.tuple.proto) {
            4
        } else if end == End::Source {
            0
        } else {
            2
        };
        failed |= skb.store(scene.quoted.l4 + at, &port, 0).is_err();
        failed |= !l4(&skb, checksum, old_port.raw().into(), port.raw().into(), 2);
    }
    if failed { Err(DropReason::WriteError) } else { Ok(()) }
}

/// Writes an address into the IP header at `at`, with the header checksum.
#[inline(always)]
fn set_address(skb: &Skb, at: u32, v6: bool, end: End, addr: &Addr16, difference: u32) -> bool {
    if v6 {
        let offset = if end == End::Source { 8 } else { 24 };
        return skb.store(at + offset, addr, 0).is_ok();
    }
    let offset = if end == End::Source { 12 } else { 16 };
    // SAFETY: the helper checks the offset against the packet.
    let ret = unsafe { bpf_l3_csum_replace(skb.raw, at + 10, 0, difference.into(), 0) };
    ret == 0 && skb.store(at + offset, &addr.v4_word(), 0).is_ok()
}

/// Updates a transport checksum; knows about checksums that hardware or the receiver will complete.
#[inline(always)]
fn l4(skb: &Skb, at: u32, old: u32, new: u32, flags: u64) -> bool {
    // SAFETY: the helper checks the offset against the packet.
    let replace =
        |flags: u64| unsafe { bpf_l4_csum_replace(skb.raw, at, old.into(), new.into(), flags) == 0 };
    // Kernels before 6.16 do not know the flag and refuse it; there the sum over an IPv6 packet that a card computed goes stale,
    // and the receiver computes it again.
    replace(flags) || (flags & BPF_F_IPV6 != 0 && replace(flags & !BPF_F_IPV6))
}
