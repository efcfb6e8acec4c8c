//! Fragments and connections.

use crate::{
    config::{config, has},
    emit,
    lb::is_service,
    maps,
    scene::{Scene, endpoint, forget, identity_of},
    skb::Skb,
};
use pleopod_abi::{
    DropReason,
    config::{CtTimeouts, config_flags},
    ct::CtVerdict,
    frag::{FragKey, FragValue},
    identity,
    metrics::{Direction, counter},
    time::{beats, ticks},
};
use pleopod_datapath_logic::{
    conntrack::{self, Seen},
    parse::{self, shape},
    report,
};

const BPF_ANY: u64 = 0;

/// Gives later fragments the ports of the first one. To be called before [`track`].
#[inline(always)]
pub fn fragment(scene: &mut Scene) -> Result<(), DropReason> {
    if scene.parsed.shape & shape::FRAGMENT == 0 {
        return Ok(());
    }
    fragment_ports(scene)
}

#[inline(always)]
fn fragment_ports(scene: &mut Scene) -> Result<(), DropReason> {
    let tuple = &mut scene.parsed.tuple;
    let key = FragKey {
        src: tuple.src,
        dst: tuple.dst,
        id: scene.parsed.fragment_id,
        proto: if scene.parsed.shape & shape::V6 == 0 { tuple.proto } else { parse::FRAGMENT },
        _pad: [0; 3],
    };
    let beat = beats(scene.now);
    if scene.parsed.shape & shape::LATER_FRAGMENT == 0 {
        let expires = beat.wrapping_add(config!(ct.fragment));
        let value =
            FragValue { sport: tuple.sport, dport: tuple.dport, expires, proto: tuple.proto, _pad: [0; 3] };
        // A full map only costs the later fragments of this datagram.
        let _ = maps::pleo_frag.insert(key, value, BPF_ANY);
        return Ok(());
    }
    // SAFETY: read at once; an entry that is evicted meanwhile keeps its memory until the program ends.
    match unsafe { maps::pleo_frag.get(key) } {
        Some(found) if found.expires > beat => {
            tuple.sport = found.sport;
            tuple.dport = found.dport;
            tuple.proto = found.proto;
            Ok(())
        }
        _ => Err(DropReason::FragmentNotFound),
    }
}

/// Where a packet comes from.
#[derive(Clone, Copy)]
pub enum Origin {
    /// A pod of this node.
    Pod,
    /// The node's stack.
    Stack,
    /// The uplink.
    Outside,
}

/// Finds or makes the entry of the packet's connection and decides whether an event is due.
///
/// # Errors
/// Nobody outside has an address of this node: no packet from there may say so. The answer is kept in the connection's entry, so
/// that it is looked up once for each. And no connection is opened to a Service's own address: sockets ask for a backend.
#[inline(always)]
pub fn track(skb: Skb, scene: &mut Scene, from: Origin) -> Result<(), DropReason> {
    let outside = matches!(from, Origin::Outside);
    if !has(config_flags::CONNTRACK) {
        if outside {
            comes_from_outside(scene)?;
        }
        if has(config_flags::EVENT_PER_PACKET) {
            scene.packets = 1;
        }
        return Ok(());
    }
    if scene.parsed.shape & shape::ICMP_ERROR != 0 {
        if outside {
            comes_from_outside(scene)?;
        }
        related(skb, scene);
        return Ok(());
    }
    let now = scene.now;
    let (key, source_is_a) = scene.parsed.tuple.key();
    let seen = Seen {
        proto: scene.parsed.tuple.proto,
        tcp_flags: scene.parsed.tcp_flags,
        source_is_a,
        beat: beats(now),
    };
    let timeouts = timeouts();
    if let Some(entry) = maps::pleo_ct.get_ptr_mut(key) {
        // SAFETY: memory of the map, live until the program ends. Another CPU may write the same entry: fields are plain
        // numbers, a lost update costs an event or a beat of lifetime.
        let entry = unsafe { &mut *entry };
        let mark = conntrack::outside_mark(source_is_a);
        if outside != (entry.flags & mark != 0) {
            if outside {
                comes_from_outside(scene)?;
            }
            // Not outside any more: a pod has got the address meanwhile.
            entry.flags ^= mark;
        }
        let step = conntrack::step(entry, &seen, scene.src_identity, &timeouts);
        scene.ct = step.verdict as u8;
        scene.way = step.way as u8;
        scene.service_id = entry.service_id;
        forget();
        if let Some(due) =
            report::note(entry, scene.way.into(), seen.proto, seen.tcp_flags, ticks(now), emit::interval())
        {
            scene.packets = due.packets;
        }
        return Ok(());
    }
    if outside {
        comes_from_outside(scene)?;
    }
    if matches!(from, Origin::Pod) && is_service(&scene.parsed.tuple.dst) {
        return Err(DropReason::IsClusterIp);
    }
    if scene.src_identity == identity::UNKNOWN {
        scene.src_identity = identity_of(&scene.parsed.tuple.src);
    }
    let mut entry = conntrack::open(&seen, scene.src_identity, &timeouts);
    if outside {
        entry.flags |= conntrack::outside_mark(source_is_a);
    }
    report::note(&mut entry, 0, seen.proto, seen.tcp_flags, ticks(now), 0);
    scene.ct = CtVerdict::New as u8;
    scene.packets = 1;
    if maps::pleo_ct.insert(key, entry, BPF_ANY).is_err() {
        emit::count(counter::CT_INSERT_FAILED, Direction::Unknown, scene.len);
    }
    Ok(())
}

/// # Errors
/// The source is an address of this node.
#[inline(always)]
pub fn comes_from_outside(scene: &Scene) -> Result<(), DropReason> {
    match endpoint(&scene.parsed.tuple.src) {
        Some(_) => Err(DropReason::InvalidSourceIp),
        None => Ok(()),
    }
}

/// An ICMP error belongs to the connection of the packet it quotes; it makes no entry of its own.
#[inline(always)]
fn related(skb: Skb, scene: &mut Scene) {
    scene.packets = 1;
    let known = parse::quoted(&skb, &scene.parsed, &mut scene.quoted).is_some();
    forget();
    if known {
        let (key, _) = scene.quoted.tuple.key();
        if maps::pleo_ct.get_ptr(key).is_some() {
            scene.ct = CtVerdict::Related as u8;
        }
    }
}

/// Whether the packet answers a connection that its destination opened. Changes nothing.
#[inline(always)]
pub fn is_reply(scene: &Scene) -> bool {
    let (key, source_is_a) = scene.parsed.tuple.key();
    match maps::pleo_ct.get_ptr(key) {
        // SAFETY: as in `track`, read only.
        Some(entry) => unsafe {
            ((*entry).flags & pleopod_abi::ct::ct_flags::OPENED_BY_A != 0) != source_is_a
        },
        None => false,
    }
}

/// A copy, because a reference would let the compiler read the values of the source.
#[inline(always)]
pub fn timeouts() -> CtTimeouts {
    config!(ct)
}
