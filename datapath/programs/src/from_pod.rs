//! from_pod: tcx ingress of the host side of a pod's veth. What the pod sends.
//!
//! Checks that the pod sends from its own addresses and into no VLAN, follows fragments and the connection, then: a pod of this node gets the
//! packet by redirect_peer; the node's own addresses, and what only a stack answers (TTL ran out, too big, no route), go to
//! the stack; the rest leaves by the uplink. Each forwarding takes one from the TTL: a node is a router.

use crate::{
    config::{config, has, ready},
    deliver::{next_hop, to_local_pod, to_network, to_stack},
    emit::{NEXT, finish, pass},
    nat,
    scene::{Scene, endpoint},
    service,
    skb::Skb,
    track,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason,
    config::config_flags,
    endpoint::{EndpointValue, endpoint_flags},
    maps::call,
    metrics::Direction,
    reason::ObservationPoint,
};
use pleopod_datapath_logic::{
    parse::Kind,
    route::{Way, way},
    spoof,
};

/// Index of the direction of answers, see [`Scene::way`].
const REPLY: u8 = 1;

#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    if !ready() {
        return NEXT;
    }
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::new(skb, Direction::Egress, ObservationPoint::FromEndpoint) else {
        return NEXT;
    };
    match scene.parse(skb) {
        Ok(Kind::Ip) => {}
        Ok(Kind::Arp) => return pass(scene),
        Err(reason) => {
            let ret = scene.drop(reason);
            return finish(scene, ret);
        }
    }
    let own = endpoint(&scene.parsed.tuple.src);
    if spoof::is_own_chatter(&scene.parsed, own, scene.ifindex, scene.ethernet.src) {
        return pass(scene);
    }
    let ret = match judge(skb, scene, own) {
        Ok(ret) => ret,
        Err(reason) => scene.drop(reason),
    };
    finish(scene, ret)
}

#[inline(always)]
fn judge(skb: Skb, scene: &mut Scene, own: Option<&EndpointValue>) -> Result<i32, DropReason> {
    if skb.vlan().is_some() {
        return Err(DropReason::VlanFiltered);
    }
    if has(config_flags::ANTI_SPOOF) {
        spoof::check(own, scene.ifindex, scene.ethernet.src)?;
    }
    if let Some(own) = own {
        scene.src_identity = own.identity;
        scene.endpoint_id = own.id;
    }
    track::fragment(scene)?;
    track::track(skb, scene, track::Origin::Pod)?;
    let owner = endpoint(&scene.parsed.tuple.dst);
    if may_answer_a_client(scene, owner) {
        skb.go_on(call::POD_ANSWER);
    }
    match (way(&scene.parsed, owner), owner) {
        (Way::Pod, Some(pod)) => Ok(to_local_pod(skb, scene, pod)),
        (Way::Out, _) => out(skb, scene),
        _ => {
            note_host(scene, owner);
            Ok(to_stack(scene))
        }
    }
}

/// Whether the pod may be a backend that answers a client outside: who came with its own address is known; who has the node's in its
/// place comes from a port that the node gives out.
#[inline(always)]
fn may_answer_a_client(scene: &Scene, owner: Option<&EndpointValue>) -> bool {
    if !has(config_flags::SERVICE_PACKETS) {
        return false;
    }
    match owner {
        Some(node) if node.flags & endpoint_flags::HOST != 0 => {
            let port = scene.parsed.tuple.dport.get();
            port >= config!(nat_port_min) && port <= config!(nat_port_max)
        }
        _ => scene.service_id != 0 && scene.way == REPLY,
    }
}

/// pod_answer: from_pod goes on here with what may be the answer of a backend.
#[classifier]
pub fn pod_answer(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::resume() else { return NEXT };
    let ret = match answer(skb, scene) {
        Ok(ret) => ret,
        Err(reason) => scene.drop(reason),
    };
    finish(scene, ret)
}

#[inline(always)]
fn answer(skb: Skb, scene: &mut Scene) -> Result<i32, DropReason> {
    let owner = endpoint(&scene.parsed.tuple.dst);
    if owner.is_some_and(|owner| owner.flags & endpoint_flags::HOST != 0) && !nat::inward(skb, scene)? {
        note_host(scene, owner);
        return Ok(to_stack(scene));
    }
    if !service::leave(skb, scene)? {
        return Err(DropReason::Unroutable);
    }
    if scene.parsed.ttl <= 1 {
        return Ok(to_stack(scene));
    }
    out(skb, scene)
}

#[inline(always)]
fn out(skb: Skb, scene: &mut Scene) -> Result<i32, DropReason> {
    let Some(mut hop) = next_hop(skb, scene)? else { return Ok(to_stack(scene)) };
    if hop.native {
        skb.mark_done();
    }
    Ok(to_network(skb, scene, &mut hop))
}

#[inline(always)]
fn note_host(scene: &mut Scene, owner: Option<&EndpointValue>) {
    if let Some(owner) = owner
        && owner.flags & endpoint_flags::HOST != 0
    {
        scene.dst_identity = owner.identity;
    }
}
