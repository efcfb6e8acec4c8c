//! Ways out of the node's programs: into a pod, out of the uplink, to the stack.

use crate::{
    emit::NEXT,
    lb::is_service,
    maps,
    nat::keeps_source,
    scene::{Scene, node},
    skb::Skb,
};
use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH,
        bpf_fib_lookup as FibLookup, bpf_redir_neigh as RedirNeigh,
    },
    helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh, bpf_redirect_peer},
};
use core::mem::MaybeUninit;
use pleopod_abi::{
    AF_INET, AF_INET6, DropReason, ForwardReason,
    endpoint::EndpointValue,
    metrics::Direction,
    reason::ObservationPoint,
    route::{ROUTE_LIFE, ROUTES_LEN, RouteValue, route_flags},
    time::{ticks, ticks_since},
};
use pleopod_datapath_logic::parse::{Parsed, shape};

const EINVAL: i64 = 22;

/// Into a pod of this node. From ingress hooks only: the packet appears at the pod's own interface without passing the queue of
/// the host side.
#[inline(always)]
pub fn to_local_pod(skb: Skb, scene: &mut Scene, pod: &EndpointValue) -> i32 {
    scene.point = ObservationPoint::ToEndpoint as u8;
    scene.direction = Direction::Ingress as u8;
    scene.endpoint_id = pod.id;
    scene.dst_identity = pod.identity;
    if skb.decrement_ttl(&scene.parsed).is_err() || skb.set_macs(pod.mac, pod.node_mac).is_err() {
        return scene.drop(DropReason::WriteError);
    }
    // SAFETY: numbers only.
    let ret = unsafe { bpf_redirect_peer(pod.ifindex, 0) };
    scene.redirected(ForwardReason::ToEndpoint, ret)
}

/// To the node's stack, as the packet is.
#[inline(always)]
pub fn to_stack(scene: &mut Scene) -> i32 {
    scene.point = ObservationPoint::ToStack as u8;
    scene.forward(ForwardReason::ToStack, NEXT)
}

/// Where the routing table sends a packet.
pub struct NextHop {
    /// Whether the packet keeps its source address: nothing is left to do for to_uplink.
    pub native: bool,
    ifindex: u32,
    neighbour: RedirNeigh,
}

/// Where the packet goes next. `None`: only the stack can help (no route, another interface than the uplink, too big).
///
/// # Errors
/// The destination is a Service's address: a connection that was there before the Service, or an ICMP error.
///
/// An answer of the routing table counts for the flow for some ticks: asking it costs half as much as all the rest. So does the
/// answer to whether the destination is reached with the pod's own address, which saves to_uplink from asking for each packet.
#[inline(always)]
pub fn next_hop(skb: Skb, scene: &Scene) -> Result<Option<NextHop>, DropReason> {
    let Some(node) = node() else { return Ok(None) };
    let tick = ticks(scene.now);
    let Some(place) = maps::pleo_routes.get_ptr_mut(place(&scene.parsed)) else { return Ok(None) };
    // SAFETY: this CPU's own entry, used by one program at a time.
    let place = unsafe { &mut *place };
    let known = ticks_since(tick, place.tick) < ROUTE_LIFE && is_of(place, &scene.parsed);
    if known && place.ifindex == node.uplink_ifindex && skb.fits(node.uplink_mtu) {
        let mut neighbour = no_neighbour();
        neighbour.nh_family = u32::from(place.family);
        neighbour.__bindgen_anon_1.ipv6_nh = place.next_hop;
        let native = place.flags & route_flags::NATIVE != 0;
        return Ok(Some(NextHop { native, ifindex: place.ifindex, neighbour }));
    }
    if is_service(&scene.parsed.tuple.dst) {
        return Err(DropReason::IsClusterIp);
    }
    let Some(hop) = ask(skb, scene, node.uplink_ifindex) else { return Ok(None) };
    let tuple = &scene.parsed.tuple;
    *place = RouteValue {
        src: tuple.src,
        dst: tuple.dst,
        sport: tuple.sport,
        dport: tuple.dport,
        proto: tuple.proto,
        tos: scene.parsed.tos,
        family: hop.neighbour.nh_family as u8,
        flags: if hop.native { route_flags::NATIVE } else { 0 },
        // SAFETY: the union was zeroed, then written in part: all of its words are set.
        next_hop: unsafe { hop.neighbour.__bindgen_anon_1.ipv6_nh },
        tick,
        ifindex: hop.ifindex,
    };
    Ok(Some(hop))
}

/// The entry of a flow.
#[inline(always)]
fn place(parsed: &Parsed) -> u32 {
    let (src, dst) = (parsed.tuple.src.words(), parsed.tuple.dst.words());
    let ports = u32::from(parsed.tuple.sport.raw()) << 16 | u32::from(parsed.tuple.dport.raw());
    let mixed = (src[3] ^ dst[3].rotate_left(7) ^ ports.rotate_left(13)).wrapping_mul(0x9e37_79b1);
    (mixed >> 24) & (ROUTES_LEN - 1)
}

#[inline(always)]
fn is_of(place: &RouteValue, parsed: &Parsed) -> bool {
    let tuple = &parsed.tuple;
    place.dst == tuple.dst
        && place.src == tuple.src
        && place.sport == tuple.sport
        && place.dport == tuple.dport
        && place.proto == tuple.proto
        && place.tos == parsed.tos
}

#[inline(always)]
fn no_neighbour() -> RedirNeigh {
    // SAFETY: all zero is a valid value of this C struct.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Asks the routing table.
#[inline(always)]
fn ask(skb: Skb, scene: &Scene, uplink: u32) -> Option<NextHop> {
    let tuple = &scene.parsed.tuple;
    // SAFETY: all zero is a valid value of this C struct.
    let mut params: FibLookup = unsafe { MaybeUninit::zeroed().assume_init() };
    let v6 = scene.parsed.shape & shape::V6 != 0;
    params.l4_protocol = tuple.proto;
    params.sport = tuple.sport.raw();
    params.dport = tuple.dport.raw();
    params.ifindex = scene.ifindex;
    if v6 {
        params.family = AF_INET6;
        params.__bindgen_anon_3.ipv6_src = tuple.src.words();
        params.__bindgen_anon_4.ipv6_dst = tuple.dst.words();
    } else {
        params.family = AF_INET;
        params.__bindgen_anon_2.tos = scene.parsed.tos;
        params.__bindgen_anon_3.ipv4_src = tuple.src.v4_word();
        params.__bindgen_anon_4.ipv4_dst = tuple.dst.v4_word();
    }
    let len = size_of::<FibLookup>() as i32;
    // SAFETY: `params` is valid for its size. With tot_len 0 the kernel compares the packet itself (or its segments) with the
    // MTU of the outgoing interface.
    let mut ret = unsafe { bpf_fib_lookup(skb.raw.cast(), &raw mut params, len, BPF_FIB_LOOKUP_SKIP_NEIGH) };
    if ret == -EINVAL {
        // Before 6.3 the kernel does not know the flag and looks the neighbour up, too.
        // SAFETY: as above; the refused call has changed nothing.
        ret = unsafe { bpf_fib_lookup(skb.raw.cast(), &raw mut params, len, 0) };
    }
    let found = ret == i64::from(BPF_FIB_LKUP_RET_SUCCESS) || ret == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH);
    if !found || params.ifindex != uplink {
        return None;
    }
    let mut neighbour = no_neighbour();
    neighbour.nh_family = u32::from(params.family);
    // SAFETY: both sides of the union are plain words; the kernel has put the next hop there, of the family it names.
    unsafe {
        if params.family == AF_INET {
            neighbour.__bindgen_anon_1.ipv4_nh = params.__bindgen_anon_4.ipv4_dst;
        } else {
            neighbour.__bindgen_anon_1.ipv6_nh = params.__bindgen_anon_4.ipv6_dst;
        }
    }
    Some(NextHop { native: keeps_source(&scene.parsed.tuple.dst), ifindex: params.ifindex, neighbour })
}

/// Out of the uplink. The kernel resolves the neighbour and writes the MACs.
#[inline(always)]
pub fn to_network(skb: Skb, scene: &mut Scene, hop: &mut NextHop) -> i32 {
    scene.point = ObservationPoint::ToNetwork as u8;
    if skb.decrement_ttl(&scene.parsed).is_err() {
        return scene.drop(DropReason::WriteError);
    }
    // SAFETY: the struct is valid for its size.
    let ret =
        unsafe { bpf_redirect_neigh(hop.ifindex, &raw mut hop.neighbour, size_of::<RedirNeigh>() as i32, 0) };
    scene.redirected(ForwardReason::ToNetwork, ret)
}
