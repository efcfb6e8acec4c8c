//! Services by packet: what sockets can't serve. Clients outside ask a Service by the address of a node, a load balancer or
//! another one that leads here; the packet gets the address of a backend, and the answer that of the Service.
//!
//! Two entries of `pleo_ct` for a connection: one in zone `SERVICE`, from the client to the Service, which remembers the backend; and
//! the plain one, from the client to the backend, which remembers the Service for the answers. If the client's address is not kept, the
//! node's comes in its place as for masqueraded pods (`nat`), after the first and before the second translation is undone.

// Keys stay where they are: passed by value each would be copied onto the 512 bytes of stack.
#![allow(clippy::needless_borrows_for_generic_args)]

use crate::{
    config::has,
    lb::{Chance, backend, choose, choose_sticky, frontend, may_ask},
    maps,
    nat::{self, End},
    scene::{Scene, endpoint, forget},
    skb::Skb,
    track::timeouts,
};
use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_get_prandom_u32};
use pleopod_abi::{
    Addr16, DropReason,
    config::config_flags,
    ct::{CtKey, CtState, CtValue, ct_flags, zone},
    endpoint::endpoint_flags,
    lb::{LbAffinityKey, LbBackend, LbFrontendValue, balancing, frontend_flags},
    proto,
    time::beats,
};
use pleopod_datapath_logic::{
    conntrack::{self, Seen},
    parse::shape,
    service::{address_hash, connection_hash, front},
    wire::tcp,
};

const BPF_ANY: u64 = 0;

/// What became of a packet here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No Service's.
    None,
    /// It has a backend's address, and the client's own.
    Backend,
    /// It has a backend's address, and the node's in place of the client's.
    FromNode,
}

/// Gives a packet from outside that asks a Service the address of a backend.
#[inline(always)]
pub fn enter(skb: Skb, scene: &mut Scene) -> Result<Outcome, DropReason> {
    if !has(config_flags::SERVICE_PACKETS) || scene.parsed.shape & shape::ICMP_ERROR != 0 {
        return Ok(Outcome::None);
    }
    let tuple = &scene.parsed.tuple;
    if tuple.proto != proto::TCP && tuple.proto != proto::UDP {
        return Ok(Outcome::None);
    }
    let Some(frontend) = frontend(tuple.dst, tuple.dport, tuple.proto) else { return Ok(Outcome::None) };
    if frontend.flags & frontend_flags::OUTSIDE_REFUSED != 0 {
        return Ok(Outcome::None);
    }
    let found = find(scene, frontend);
    forget();
    if found == DENIED {
        return Err(DropReason::LbSourceRange);
    }
    let chosen = backend(scene.service.backend);
    let (true, Some(chosen)) = (found != NOBODY, chosen) else {
        return Err(DropReason::ServiceBackendNotFound);
    };
    if found == NEW && !claim(scene, frontend, chosen) {
        return Err(DropReason::CtInsertionFailed);
    }
    let known = &scene.service.entry;
    if found == KNOWN && (known.flags & ct_flags::FIN_FORWARD != 0 || known.state == CtState::Closed as u8) {
        close(scene, chosen);
        forget();
    }
    let (addr, port) = (chosen.addr, chosen.port);
    nat::rewrite(skb, scene, End::Destination, addr, port, true)?;
    if scene.service.entry.flags & ct_flags::FROM_NODE == 0 {
        return Ok(Outcome::Backend);
    }
    if nat::outward(skb, scene)? { Ok(Outcome::FromNode) } else { Ok(Outcome::Backend) }
}

/// Whether the backend is on the node's own network: its answers are seen at the uplink only if they go to the client.
#[inline(always)]
fn is_node(addr: &Addr16) -> bool {
    endpoint(addr).is_some_and(|owner| owner.flags & endpoint_flags::HOST != 0)
}

const NOBODY: u32 = 0;
const KNOWN: u32 = 1;
const NEW: u32 = 2;
const DENIED: u32 = 3;

/// Looks up or chooses the backend of the packet's connection: its number is in `scene.service` then, and for a new one the entry
/// that is to remember it. Keys and entries stay in `scene`, off the 512 bytes of stack.
#[inline(never)]
fn find(scene: &mut Scene, frontend: &'static LbFrontendValue) -> u32 {
    let (key, source_is_a) = scene.parsed.tuple.key();
    scene.service.front = CtKey { zone: zone::SERVICE, ..key };
    let seen = seen(scene, source_is_a);
    forget();
    if let Some(entry) = maps::pleo_ct.get_ptr_mut(&scene.service.front) {
        // SAFETY: memory of the map, live until the program ends; fields are plain numbers.
        let entry = unsafe { &mut *entry };
        if front(entry, &seen, &timeouts()) && entry.service_id == frontend.service_id {
            scene.service.backend = entry.backend;
            scene.service.entry.flags = entry.flags;
            scene.service.entry.state = entry.state;
            if backend(entry.backend).is_some() {
                return KNOWN;
            }
        }
    }
    if !may_ask(frontend, &scene.parsed.tuple.src) {
        return DENIED;
    }
    let Some(chosen) = pick(scene, frontend) else { return NOBODY };
    scene.service.backend = chosen.backend_id;
    NEW
}

#[inline(always)]
fn seen(scene: &Scene, source_is_a: bool) -> Seen {
    Seen {
        proto: scene.parsed.tuple.proto,
        tcp_flags: scene.parsed.tcp_flags,
        source_is_a,
        beat: beats(scene.now),
    }
}

/// A backend for a new connection from outside.
#[inline(always)]
fn pick(scene: &Scene, frontend: &'static LbFrontendValue) -> Option<&'static LbBackend> {
    let tuple = &scene.parsed.tuple;
    let connection = if frontend.balancing == balancing::MAGLEV {
        connection_hash(tuple)
    } else {
        // SAFETY: no arguments.
        unsafe { bpf_get_prandom_u32() }
    };
    let chance = Chance { connection, client: || address_hash(&tuple.src), steady: false };
    if frontend.affinity_timeout == 0 {
        return choose(frontend, &frontend.outside, chance);
    }
    let beat = beats(scene.now);
    let key = LbAffinityKey { client: tuple.src, service_id: frontend.service_id };
    choose_sticky(frontend, true, &key, beat, chance)
}

/// Makes the two entries of a new connection. `false`: the client has a connection to the same backend from the same port by
/// another address, and the answers could not be told apart.
#[inline(never)]
fn claim(scene: &mut Scene, frontend: &'static LbFrontendValue, chosen: &'static LbBackend) -> bool {
    let mut tuple = scene.parsed.tuple;
    tuple.dst = chosen.addr;
    tuple.dport = chosen.port;
    let (key, source_is_a) = tuple.key();
    scene.service.back = key;
    let seen = seen(scene, source_is_a);
    forget();
    if let Some(entry) = maps::pleo_ct.get_ptr(&scene.service.back) {
        // SAFETY: as in `find`.
        let entry = unsafe { &*entry };
        let opens = seen.proto != proto::TCP || seen.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
        let yields = opens && conntrack::is_over(entry, seen.proto);
        if entry.service_id != frontend.service_id && entry.expires > seen.beat && !yields {
            return false;
        }
    }
    scene.service.entry = conntrack::open(&seen, 0, &timeouts());
    scene.service.entry.service_id = frontend.service_id;
    forget();
    let _ = maps::pleo_ct.insert(&scene.service.back, &scene.service.entry, BPF_ANY);
    // Which side of the key is the client differs between the two.
    let front_source_is_a = scene.parsed.tuple.key().1;
    let mark = ct_flags::OPENED_BY_A;
    scene.service.entry.flags &= !mark;
    if front_source_is_a {
        scene.service.entry.flags |= mark;
    }
    // For as long as the connection lives, whatever becomes of the policy.
    if frontend.flags & frontend_flags::OUTSIDE_LOCAL == 0 && !is_node(&chosen.addr) {
        scene.service.entry.flags |= ct_flags::FROM_NODE;
    }
    scene.service.entry.backend = scene.service.backend;
    forget();
    let _ = maps::pleo_ct.insert(&scene.service.front, &scene.service.entry, BPF_ANY);
    true
}

/// Tells the entry that sees the answers too that the client closes, and ends both if the backend has closed as well.
#[inline(never)]
fn close(scene: &mut Scene, chosen: &'static LbBackend) {
    let mut tuple = scene.parsed.tuple;
    tuple.dst = chosen.addr;
    tuple.dport = chosen.port;
    let (key, source_is_a) = tuple.key();
    scene.service.back = key;
    let seen = seen(scene, source_is_a);
    forget();
    let Some(entry) = maps::pleo_ct.get_ptr_mut(&scene.service.back) else { return };
    // SAFETY: as in `find`.
    let entry = unsafe { &mut *entry };
    if entry.service_id == 0 || entry.expires <= seen.beat {
        return;
    }
    conntrack::step(entry, &seen, 0, &timeouts());
    if entry.state == CtState::Closed as u8 {
        forget_backend(scene);
    }
}

/// Ends the entry at `scene.service.front`: its connection is over.
#[inline(always)]
fn forget_backend(scene: &Scene) {
    forget();
    if let Some(front) = maps::pleo_ct.get_ptr_mut(&scene.service.front) {
        // SAFETY: as in `find`.
        let front = unsafe { &mut *front };
        front.state = CtState::Closed as u8;
        front.expires = beats(scene.now).wrapping_add(timeouts().tcp_close);
    }
}

/// Lets an answer to the node's address act on the entry of the node and the backend, whose key is in `scene.service.front`.
#[inline(never)]
pub fn answered(scene: &mut Scene, source_is_a: bool) {
    let seen = seen(scene, source_is_a);
    forget();
    let Some(entry) = maps::pleo_ct.get_ptr_mut(&scene.service.front) else { return };
    // SAFETY: as in `find`.
    let entry = unsafe { &mut *entry };
    if entry.expires > seen.beat {
        conntrack::step(entry, &seen, 0, &timeouts());
    }
}

/// Gives the answer of a backend the address that its client asked for. `false`: the packet answers no Service's client.
#[inline(always)]
pub fn leave(skb: Skb, scene: &mut Scene) -> Result<bool, DropReason> {
    if !has(config_flags::SERVICE_PACKETS) || scene.parsed.shape & shape::ICMP_ERROR != 0 {
        return Ok(false);
    }
    let number = leave_call(skb.raw, scene);
    forget();
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DropReason::WriteError),
    }
}

#[inline(never)]
fn leave_call(raw: *mut __sk_buff, scene: &mut Scene) -> u32 {
    let (key, source_is_a) = scene.parsed.tuple.key();
    scene.service.back = key;
    let seen = seen(scene, source_is_a);
    forget();
    let Some(entry) = maps::pleo_ct.get_ptr_mut(&scene.service.back) else { return 0 };
    // SAFETY: as in `find`.
    let entry = unsafe { &mut *entry };
    if entry.service_id == 0 || !answers(entry, &seen) {
        return 0;
    }
    let step = conntrack::step(entry, &seen, 0, &timeouts());
    scene.ct = step.verdict as u8;
    scene.way = step.way as u8;
    let (service_id, over) = (entry.service_id, entry.state == CtState::Closed as u8);
    let Some(address) = maps::pleo_lb_addr.get(service_id) else { return 2 };
    let (addr, port) = (address.addr, address.port);
    if nat::rewrite(Skb { raw }, scene, End::Source, addr, port, true).is_err() {
        return 2;
    }
    if over {
        let (key, _) = scene.parsed.tuple.key();
        scene.service.front = CtKey { zone: zone::SERVICE, ..key };
        forget_backend(scene);
    }
    1
}

/// Whether a packet is on the way back, of a connection that lives.
#[inline(always)]
fn answers(entry: &CtValue, seen: &Seen) -> bool {
    entry.expires > seen.beat && !conntrack::is_forward(entry, seen.source_is_a)
}
