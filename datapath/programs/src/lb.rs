//! From a Service's address to a backend: the lookups that sockets and packets share.

use crate::maps;
use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::generated::bpf_loop};
use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_xadd},
};
use pleopod_abi::{
    Addr16, Be16,
    lb::{
        LbAffinityKey, LbAffinityValue, LbBackend, LbFrontendKey, LbFrontendValue, LbRegion, LbSource,
        backend_index, balancing, frontend_flags,
    },
};
use pleopod_datapath_logic::service::pick;

const BPF_ANY: u64 = 0;

/// What a choice may depend on.
pub struct Chance<C: FnOnce() -> u32> {
    /// A number that is another for each connection.
    pub connection: u32,
    /// One that is the same for all connections of a client. Asked for only if it counts.
    pub client: C,
    /// Whether the choice must be the same when it is made again for the same numbers.
    pub steady: bool,
}

/// The Service port at an address.
#[inline(always)]
pub fn frontend(addr: Addr16, port: Be16, protocol: u8) -> Option<&'static LbFrontendValue> {
    let key = LbFrontendKey { addr, port, proto: protocol, _pad: 0 };
    // SAFETY: entries are freed after an RCU grace period; a program run lies within one.
    unsafe { maps::pleo_lb_fe.get(key) }
}

/// Whether an address is a Service's, which no packet may be sent to.
#[inline(always)]
pub fn is_service(addr: &Addr16) -> bool {
    // SAFETY: as in `frontend`.
    unsafe { maps::pleo_lb_fe.get(LbFrontendKey::any_port(*addr)) }.is_some()
}

/// Whether a client may ask.
#[inline(always)]
pub fn may_ask(frontend: &LbFrontendValue, client: &Addr16) -> bool {
    if frontend.flags & frontend_flags::SOURCE_RANGES == 0 {
        return true;
    }
    let source = LbSource { service_id: frontend.service_id, addr: *client };
    maps::pleo_lb_src.get(&Key::new(160, source)).is_some()
}

/// A backend for a new connection. `None`: there is none.
#[inline(always)]
pub fn choose<C: FnOnce() -> u32>(
    frontend: &LbFrontendValue,
    region: &LbRegion,
    chance: Chance<C>,
) -> Option<&'static LbBackend> {
    place(frontend, region, chance).and_then(|place| at(region, place))
}

/// The same where clients stay with their backend: that of the last connection, or another that is remembered for the next.
#[inline(always)]
pub fn choose_sticky<C: FnOnce() -> u32>(
    frontend: &'static LbFrontendValue,
    outside: bool,
    key: &LbAffinityKey,
    beat: u32,
    chance: Chance<C>,
) -> Option<&'static LbBackend> {
    let known = stays(frontend, key, outside, beat);
    if known != 0 {
        return backend(known);
    }
    let region = if outside { &frontend.outside } else { &frontend.inside };
    let place = place(frontend, region, chance)?;
    let chosen = at(region, place)?;
    stay(key, chosen.backend_id, place, beat);
    Some(chosen)
}

/// The place of a backend in the region, for a new connection.
#[inline(always)]
fn place<C: FnOnce() -> u32>(
    frontend: &LbFrontendValue,
    region: &LbRegion,
    chance: Chance<C>,
) -> Option<u32> {
    let len = region.len;
    match frontend.balancing {
        balancing::ROUND_ROBIN if !chance.steady => {
            turn(frontend.service_id).checked_rem(u64::from(len)).map(|place| place as u32)
        }
        balancing::SOURCE_HASH => pick((chance.client)(), len),
        _ => pick(chance.connection, len),
    }
}

/// The backend at a place of a region.
#[inline(always)]
fn at(region: &LbRegion, place: u32) -> Option<&'static LbBackend> {
    backend(*maps::pleo_lb_table.get(region.at.wrapping_add(place))?)
}

/// The backend that a client stays with, if its last connection is not too long ago and the backend may still be chosen.
#[inline(never)]
fn stays(frontend: &'static LbFrontendValue, key: &LbAffinityKey, outside: bool, beat: u32) -> u32 {
    let region = if outside { &frontend.outside } else { &frontend.inside };
    let Some(known) = maps::pleo_lb_aff.get_ptr_mut(key) else { return 0 };
    // SAFETY: memory of the map, live until the program ends; fields are plain numbers.
    let known = unsafe { &mut *known };
    if beat.wrapping_sub(known.last) > frontend.affinity_timeout {
        return 0;
    }
    let id = known.backend_id;
    let there = known.place < region.len
        && maps::pleo_lb_table.get(region.at.wrapping_add(known.place)).is_some_and(|at| *at == id);
    if !there {
        let mut search = Search { at: region.at, id, found: u32::MAX };
        let each: extern "C" fn(u32, *mut Search) -> i64 = look;
        let turns = if region.len < LOOKS { region.len } else { LOOKS };
        // SAFETY: the callback is what the helper wants, and its context outlives the call.
        unsafe { bpf_loop(turns, each as *mut c_void, (&raw mut search).cast(), 0) };
        if search.found == u32::MAX {
            return 0;
        }
        known.place = search.found;
    }
    known.last = beat;
    id
}

/// Places that are looked at for a backend that moved. Longer tables are Maglev's, where each backend has many.
const LOOKS: u32 = 4096;

struct Search {
    at: u32,
    id: u32,
    found: u32,
}

extern "C" fn look(place: u32, search: *mut Search) -> i64 {
    // SAFETY: what `stays` gave to the helper.
    let search = unsafe { &mut *search };
    match maps::pleo_lb_table.get(search.at.wrapping_add(place)) {
        Some(id) if *id == search.id => {
            search.found = place;
            1
        }
        _ => 0,
    }
}

/// Notes whom a client is to stay with.
#[inline(always)]
fn stay(key: &LbAffinityKey, backend_id: u32, place: u32, beat: u32) {
    let value = LbAffinityValue { backend_id, place, last: beat };
    // A full map forgets whoever was silent for longest.
    let _ = maps::pleo_lb_aff.insert(key, value, BPF_ANY);
}

/// The backend of a number. `None` if it is gone.
#[inline(always)]
pub fn backend(id: u32) -> Option<&'static LbBackend> {
    let found = maps::pleo_lb_be.get(backend_index(id))?;
    (found.backend_id == id && found.proto != 0).then_some(found)
}

/// Counts the connections of a Service port.
#[inline(always)]
fn turn(service_id: u32) -> u64 {
    match maps::pleo_lb_turn.get_ptr_mut(service_id) {
        // SAFETY: an aligned number in memory of the map, only ever written like this.
        Some(turn) => unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(turn, 1) },
        None => 0,
    }
}
