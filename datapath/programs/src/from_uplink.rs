//! from_uplink: tcx ingress of the uplink. What other nodes and the world send.
//!
//! Answers to masqueraded packets get the pod's address back. Packets for a pod of this node are followed and handed over by
//! redirect_peer. All else is the node's own business and goes to its stack untouched, malformed packets included; what pods
//! of the cluster send to the node is followed on the way.

use crate::{
    config::{has, ready},
    deliver::to_local_pod,
    emit::{self, NEXT, finish, pass},
    nat,
    scene::{Scene, endpoint, pod_identity},
    skb::Skb,
    track,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason, ForwardReason,
    config::config_flags,
    endpoint::{EndpointValue, endpoint_flags},
    metrics::Direction,
    reason::ObservationPoint,
};
use pleopod_datapath_logic::{
    parse::Kind,
    route::{Way, way},
    spoof,
};

#[classifier]
pub fn from_uplink(ctx: TcContext) -> i32 {
    if !ready() {
        return NEXT;
    }
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::new(skb, Direction::Ingress, ObservationPoint::FromNetwork) else {
        return NEXT;
    };
    // Of another network than the uplink's own: the stack knows whether the node is on it.
    if skb.vlan().is_some() {
        return pass(scene);
    }
    let Ok(Kind::Ip) = scene.parse(skb) else { return pass(scene) };
    let target = match endpoint(&scene.parsed.tuple.dst) {
        Some(owner) if owner.flags & endpoint_flags::HOST != 0 => to_node(skb, scene, owner),
        owner => Ok(owner),
    };
    let ret = match target {
        Ok(Some(target)) if is_ours(scene, target) => judge(skb, scene, target),
        Ok(_) if claims_a_pod(scene) => Err(DropReason::InvalidSourceIp),
        Ok(_) => return pass(scene),
        Err(reason) => Err(reason),
    };
    let ret = match ret {
        Ok(ret) => ret,
        Err(reason) => scene.drop(reason),
    };
    finish(scene, ret)
}

/// Whether this program deals with the packet: it goes to the node (which [`to_node`] has decided) or may be forwarded to a pod.
#[inline(always)]
fn is_ours(scene: &Scene, target: &EndpointValue) -> bool {
    target.flags & endpoint_flags::HOST != 0 || way(&scene.parsed, Some(target)) == Way::Pod
}

/// Whether a packet that the stack shall have says that it comes from a pod of this node: it would answer it, or forward it. For
/// the node's own addresses the stack sees to that itself.
#[inline(always)]
fn claims_a_pod(scene: &Scene) -> bool {
    let from = endpoint(&scene.parsed.tuple.src);
    from.is_some_and(|e| e.flags & endpoint_flags::HOST == 0) && !spoof::is_link_chatter(&scene.parsed)
}

#[inline(always)]
fn judge(skb: Skb, scene: &mut Scene, target: &EndpointValue) -> Result<i32, DropReason> {
    let node = target.flags & endpoint_flags::HOST != 0;
    scene.endpoint_id = target.id;
    scene.dst_identity = target.identity;
    track::fragment(scene)?;
    track::track(skb, scene, track::Origin::Outside)?;
    if node {
        scene.point = ObservationPoint::ToHost as u8;
        return Ok(scene.forward(ForwardReason::ToHost, NEXT));
    }
    Ok(to_local_pod(skb, scene, target))
}

/// A packet to the node's own address. The result is who gets it in the end: a pod, if it answers a masqueraded packet; the node,
/// if a pod of the cluster sent it; nobody that this program cares for otherwise.
#[inline(always)]
fn to_node(
    skb: Skb,
    scene: &mut Scene,
    node: &'static EndpointValue,
) -> Result<Option<&'static EndpointValue>, DropReason> {
    if has(config_flags::MASQUERADE) {
        if track::fragment(scene).is_err() {
            return Ok(None);
        }
        if nat::inward(skb, scene)? {
            emit::count(ForwardReason::Unmasqueraded as u8, Direction::Ingress, scene.len);
            return endpoint(&scene.parsed.tuple.dst).map(Some).ok_or(DropReason::Unroutable);
        }
    }
    let Some(peer) = pod_identity(&scene.parsed.tuple.src) else { return Ok(None) };
    scene.src_identity = peer;
    Ok(Some(node))
}
