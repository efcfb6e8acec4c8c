//! uplink_service: from_uplink goes on here with packets that are for no pod: of clients of Services, answers to packets that left with
//! the node's address, and what pods of the cluster send to the node.

use crate::{
    config::has,
    deliver::{next_hop, to_local_pod, to_network, to_stack},
    emit::{self, NEXT, end, finish},
    from_uplink::stay,
    nat,
    scene::{Scene, endpoint, forget, pod_identity},
    service::{self, Outcome},
    skb::Skb,
    track,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason, ForwardReason, config::config_flags, endpoint::endpoint_flags, maps::call,
    metrics::Direction, reason::ObservationPoint,
};
use pleopod_datapath_logic::route::{Way, way};

#[classifier]
pub fn uplink_service(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::resume() else { return NEXT };
    let outcome = judge(skb, scene);
    end(scene, outcome)
}

#[inline(always)]
fn judge(skb: Skb, scene: &mut Scene) -> Result<Option<i32>, DropReason> {
    if track::fragment(scene).is_err() {
        return stay(scene);
    }
    match service::enter(skb, scene)? {
        Outcome::None => {
            if has(config_flags::MASQUERADE) || has(config_flags::SERVICE_PACKETS) {
                skb.go_on(call::UPLINK_ANSWER);
            }
            return to_node(skb, scene);
        }
        Outcome::Backend => scene.service.follow = Follow::Outside as u32,
        Outcome::FromNode => scene.service.follow = Follow::Node as u32,
    }
    skb.go_on(call::UPLINK_ONWARD);
    Err(DropReason::Unroutable)
}

/// As whose a packet is followed that has got other addresses.
#[repr(u32)]
enum Follow {
    /// It was already.
    Done = 0,
    /// Somebody's outside.
    Outside = 1,
    /// The node's, whose address it has.
    Node = 2,
}

/// uplink_onward: where a packet goes whose addresses were translated.
#[classifier]
pub fn uplink_onward(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::resume() else { return NEXT };
    let ret = match deliver(skb, scene) {
        Ok(ret) => ret,
        Err(reason) => scene.drop(reason),
    };
    finish(scene, ret)
}

#[inline(always)]
fn deliver(skb: Skb, scene: &mut Scene) -> Result<i32, DropReason> {
    let owner = endpoint(&scene.parsed.tuple.dst);
    if let Some(owner) = owner {
        scene.endpoint_id = owner.id;
        scene.dst_identity = owner.identity;
    }
    let follow = scene.service.follow;
    if follow != Follow::Done as u32 {
        let node = follow == Follow::Node as u32;
        track::track(skb, scene, if node { track::Origin::Stack } else { track::Origin::Outside })?;
    }
    match (way(&scene.parsed, owner), owner) {
        (Way::Pod, Some(pod)) => Ok(to_local_pod(skb, scene, pod)),
        (Way::Out, _) => onward(skb, scene),
        (_, Some(_)) => {
            scene.point = ObservationPoint::ToHost as u8;
            Ok(scene.forward(ForwardReason::ToHost, NEXT))
        }
        _ => Ok(to_stack(scene)),
    }
}

/// Out again by an uplink.
#[inline(always)]
fn onward(skb: Skb, scene: &mut Scene) -> Result<i32, DropReason> {
    scene.direction = Direction::Egress as u8;
    let Some(mut hop) = next_hop(skb, scene)? else { return Ok(to_stack(scene)) };
    skb.mark_done();
    Ok(to_network(skb, scene, &mut hop))
}

/// What the node's own address is the end of: followed if a pod of the cluster sent it.
#[inline(always)]
fn to_node(skb: Skb, scene: &mut Scene) -> Result<Option<i32>, DropReason> {
    let Some(node) = endpoint(&scene.parsed.tuple.dst) else { return stay(scene) };
    let Some(peer) = pod_identity(&scene.parsed.tuple.src) else { return stay(scene) };
    scene.src_identity = peer;
    scene.endpoint_id = node.id;
    scene.dst_identity = node.identity;
    track::track(skb, scene, track::Origin::Outside)?;
    scene.point = ObservationPoint::ToHost as u8;
    Ok(Some(scene.forward(ForwardReason::ToHost, NEXT)))
}

/// uplink_answer: what comes back to the node's address in place of a pod's or of a client's of a Service.
#[classifier]
pub fn uplink_answer(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::resume() else { return NEXT };
    let outcome = answer(skb, scene);
    end(scene, outcome)
}

#[inline(always)]
fn answer(skb: Skb, scene: &mut Scene) -> Result<Option<i32>, DropReason> {
    let node = endpoint(&scene.parsed.tuple.dst).is_some_and(|e| e.flags & endpoint_flags::HOST != 0);
    // Of the packet as it came: who it was that the node's address stands for is not known yet.
    let (key, source_is_a) = scene.parsed.tuple.key();
    scene.service.front = key;
    if !node || !nat::inward(skb, scene)? {
        return to_node(skb, scene);
    }
    emit::count(ForwardReason::Unmasqueraded as u8, Direction::Ingress, scene.len);
    let pod = endpoint(&scene.parsed.tuple.dst).is_some();
    scene.service.follow = if pod { Follow::Outside as u32 } else { Follow::Done as u32 };
    // Else it is of a backend elsewhere, for a client of a Service.
    if !pod {
        service::answered(scene, source_is_a);
        forget();
        if !service::leave(skb, scene)? {
            return Err(DropReason::Unroutable);
        }
    }
    skb.go_on(call::UPLINK_ONWARD);
    Err(DropReason::Unroutable)
}
