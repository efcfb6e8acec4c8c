//! Masquerading: pods reach the world with the node's address, and the answers find their way back.
//!
//! Two entries per connection in `pleo_nat`: `OUT` from the pod's tuple to the node's port, `IN` from the answer's tuple to the
//! pod. `IN` is claimed first and without overwriting, so a port is never given twice for the same destination. The two live and
//! end together. When all ports that are tried are taken, of the connections that may be over the one that was silent for longest
//! gives its port up.
// Keys stay where they are: passed by value each would be copied onto the 512 bytes of stack.
#![allow(clippy::needless_borrows_for_generic_args)]

use crate::{
    config::{config, has},
    maps,
    scene::{Scene, Search, forget, identity_of, node},
    skb::Skb,
    track::timeouts,
};
use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_get_prandom_u32, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_loop},
};
use core::ffi::c_void;
use pleopod_abi::{
    Addr16, Be16, DropReason,
    config::config_flags,
    identity,
    ipcache::{IpcacheKey, ipcache_flags},
    nat::{NatKey, NatValue, nat_dir},
    proto,
    time::beats,
};
use pleopod_datapath_logic::{
    checksum::address_difference,
    nat::{
        ATTEMPTS, answer_key, candidate, connection, flags_after, in_key, is_icmp, life, out_key, supported,
        yields,
    },
    parse::{self, Parsed, shape},
    route::in_prefix,
    wire::ETHERNET_LEN,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
const BPF_F_PSEUDO_HDR: u64 = 0x10;
const BPF_F_MARK_MANGLED_0: u64 = 0x20;
const BPF_F_IPV6: u64 = 0x80;

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// Whether a pod reaches `addr` with its own address: masquerading is off, the configuration says so, or it is a pod or a node.
#[inline(always)]
pub fn keeps_source(addr: &Addr16) -> bool {
    !has(config_flags::MASQUERADE) || is_native(addr) || !is_outside(addr)
}

/// Whether pods talk to `addr` with their own addresses, as far as the configuration says.
#[inline(always)]
fn is_native(addr: &Addr16) -> bool {
    if addr.is_v4() {
        let net = config!(native4);
        in_prefix(addr, &net, config!(native4_prefixlen))
    } else {
        let net = config!(native6);
        in_prefix(addr, &net, config!(native6_prefixlen))
    }
}

/// Whether an address is no pod's and no node's: the world, or an API server beyond the cluster.
#[inline(never)]
fn is_outside(addr: &Addr16) -> bool {
    // SAFETY: entries are freed after an RCU grace period; a program run lies within one.
    match unsafe { maps::pleo_ipcache.get(IpcacheKey { addr: *addr }) } {
        Some(found) => found.identity == identity::WORLD || found.flags & ipcache_flags::OUTSIDE != 0,
        None => identity_of(addr) == identity::WORLD,
    }
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
        let Some(mapped) = live(&out_key(&scene.quoted.tuple.reversed()), scene.now) else {
            return Ok(false);
        };
        rewrite_quoted(skb, scene, End::Destination, mapped.addr, mapped.port)?;
        rewrite(skb, scene, End::Source, mapped.addr, Be16::ZERO, false)?;
        return Ok(true);
    }
    if !supported(scene.parsed.tuple.proto) {
        return Err(DropReason::NatUnsupportedProtocol);
    }
    let mapped = claim(scene, own).ok_or(DropReason::NoNatMapping)?;
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
        let Some(mapped) = live(&in_key(&scene.quoted.tuple.reversed()), scene.now) else { return Ok(false) };
        rewrite_quoted(skb, scene, End::Source, mapped.addr, mapped.port)?;
        rewrite(skb, scene, End::Destination, mapped.addr, Be16::ZERO, false)?;
        return Ok(true);
    }
    let port = scene.parsed.tuple.dport.get();
    if !supported(scene.parsed.tuple.proto) || port < config!(nat_port_min) || port > config!(nat_port_max) {
        return Ok(false);
    }
    let Some(mapped) = answered_by(&scene.parsed, scene.now) else { return Ok(false) };
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

/// An entry whose life has not run out.
#[inline(always)]
fn live(key: &NatKey, now: u64) -> Option<NatValue> {
    let entry = maps::pleo_nat.get_ptr(key)?;
    // SAFETY: memory of the map, live until the program ends; fields are plain numbers.
    let entry = unsafe { &*entry };
    if entry.expires > beats(now) { Some(*entry) } else { None }
}

/// The pod whose connection a packet from the world belongs to.
#[inline(always)]
fn answered_by(parsed: &Parsed, now: u64) -> Option<NatValue> {
    let beat = beats(now);
    let key = in_key(&parsed.tuple);
    let entry = maps::pleo_nat.get_ptr_mut(key)?;
    // SAFETY: as in `live`.
    let entry = unsafe { &mut *entry };
    if entry.expires <= beat {
        return None;
    }
    if goes_on(entry, nat_dir::IN, parsed, beat) {
        let way_out = out_key(&connection(&key, entry));
        let out = NatValue { addr: key.dst, port: key.dport, flags: entry.flags, expires: entry.expires };
        match maps::pleo_nat.get_ptr_mut(way_out) {
            // SAFETY: as in `live`.
            Some(known) => unsafe {
                // Else the pod has another port by now.
                if (*known).addr == out.addr && (*known).port == out.port {
                    (*known).flags = out.flags;
                    (*known).expires = out.expires;
                }
            },
            None => {
                let _ = maps::pleo_nat.insert(way_out, out, BPF_NOEXIST);
            }
        }
    }
    Some(*entry)
}

/// Lets a packet act on an entry. Whether that changed it, which for mere life is once a beat.
#[inline(always)]
fn goes_on(entry: &mut NatValue, dir: u8, parsed: &Parsed, beat: u32) -> bool {
    let protocol = parsed.tuple.proto;
    let flags = flags_after(entry.flags, dir, protocol, parsed.tcp_flags);
    let expires = beat.wrapping_add(life(protocol, flags, &timeouts()));
    if flags == entry.flags && expires == entry.expires {
        return false;
    }
    entry.flags = flags;
    entry.expires = expires;
    true
}

/// The translation of a pod's connection, made if there is none.
#[inline(always)]
fn claim(scene: &mut Scene, own: Addr16) -> Option<NatValue> {
    let parsed = &scene.parsed;
    let tuple = &parsed.tuple;
    let key = out_key(tuple);
    let beat = beats(scene.now);
    if let Some(entry) = maps::pleo_nat.get_ptr_mut(key) {
        // SAFETY: as in `live`.
        let entry = unsafe { &mut *entry };
        if entry.expires > beat && entry.addr == own {
            if !goes_on(entry, nat_dir::OUT, parsed, beat) {
                return Some(*entry);
            }
            // The way back is there again if it was evicted, unless another connection has it by now.
            let back =
                NatValue { addr: tuple.src, port: tuple.sport, flags: entry.flags, expires: entry.expires };
            if take(&answer_key(&key, own, entry.port), &back, beat).is_taken() {
                return Some(*entry);
            }
        }
    }
    let flags = 0;
    let expires = beat.wrapping_add(life(tuple.proto, flags, &timeouts()));
    let back = NatValue { addr: tuple.src, port: tuple.sport, flags, expires };
    forget();
    let port = free_port(&mut scene.search, &key, &back, own, beat)?;
    let out = NatValue { addr: own, port, flags, expires };
    maps::pleo_nat.insert(key, out, BPF_ANY).ok().map(|()| out)
}

/// A port of the node for the answers to `out`, claimed for `back`.
#[inline(always)]
fn free_port(search: &mut Search, out: &NatKey, back: &NatValue, own: Addr16, beat: u32) -> Option<Be16> {
    *search = Search {
        answer: answer_key(out, own, Be16::ZERO),
        back: *back,
        // SAFETY: no arguments.
        random: unsafe { bpf_get_prandom_u32() },
        beat,
        silent_until: u32::MAX,
        silent: Be16::ZERO,
        found: Be16::ZERO,
    };
    let each: extern "C" fn(u32, *const *mut Search) -> i64 = attempt;
    // The helper takes a pointer to the stack and no other.
    let mut context = &raw mut *search;
    // SAFETY: the callback is what the helper wants, and its context outlives the call.
    unsafe { bpf_loop(ATTEMPTS, each as *mut c_void, (&raw mut context).cast(), 0) };
    forget();
    if search.found != Be16::ZERO {
        return Some(search.found);
    }
    if search.silent_until == u32::MAX {
        return None;
    }
    let port = search.silent;
    search.answer.dport = port;
    if let Some(holder) = maps::pleo_nat.get_ptr(&search.answer) {
        // SAFETY: as in `live`.
        let loser = connection(&search.answer, unsafe { &*holder });
        // Else what the loser still sends would be answered to the winner.
        let _ = maps::pleo_nat.remove(out_key(&loser));
    }
    maps::pleo_nat.insert(&search.answer, &search.back, BPF_ANY).ok().map(|()| port)
}

/// Tries one port. 1 ends the search. A callback, because the verifier would walk a loop's every turn.
extern "C" fn attempt(turn: u32, context: *const *mut Search) -> i64 {
    // SAFETY: what `free_port` gave to the helper.
    let search = unsafe { &mut **context };
    let (min, max) = (config!(nat_port_min), config!(nat_port_max));
    let port = candidate(search.back.port, search.random, turn, min, max);
    search.answer.dport = port;
    match take(&search.answer, &search.back, search.beat) {
        Take::Taken => {
            search.found = port;
            return 1;
        }
        Take::Yields { expires } if expires < search.silent_until => {
            search.silent_until = expires;
            search.silent = port;
        }
        _ => {}
    }
    0
}

/// What came of an attempt to claim a way back.
#[derive(Clone, Copy)]
enum Take {
    /// It is claimed.
    Taken,
    /// Another connection has it, which may do without it. The longer it was silent, the earlier it expires.
    Yields { expires: u32 },
    /// Another connection has it.
    Held,
}

impl Take {
    #[inline(always)]
    fn is_taken(self) -> bool {
        matches!(self, Self::Taken)
    }
}

/// Claims the way back for a pod, unless another connection that still lives has it.
#[inline(always)]
fn take(answer: &NatKey, back: &NatValue, beat: u32) -> Take {
    let mut flags = BPF_NOEXIST;
    if let Some(entry) = maps::pleo_nat.get_ptr(answer) {
        // SAFETY: as in `live`.
        let entry = unsafe { &*entry };
        let ours = entry.addr == back.addr && entry.port == back.port;
        if entry.expires > beat && !ours {
            return if yields(answer.proto, entry.flags) {
                Take::Yields { expires: entry.expires }
            } else {
                Take::Held
            };
        }
        flags = BPF_ANY;
    }
    if maps::pleo_nat.insert(answer, back, flags).is_ok() { Take::Taken } else { Take::Held }
}

/// Writes a new address, and a new port if `with_port`, into the packet's own headers, and into what is known of it.
#[inline(always)]
pub fn rewrite(
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
