//! to_uplink: tcx egress of the uplink. What leaves the node: packets that from_pod has already judged (marked), packets of pods
//! to the world (masqueraded) or that took the slow way, and the node's own, of which those to pods are followed.

use crate::{
    config::ready,
    emit::{NEXT, finish, pass},
    nat,
    scene::{Scene, endpoint, pod_identity},
    service,
    skb::Skb,
    track,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason, ForwardReason, endpoint::endpoint_flags, identity, metrics::Direction,
    reason::ObservationPoint,
};
use pleopod_datapath_logic::{parse::Kind, spoof};

#[classifier]
pub fn to_uplink(ctx: TcContext) -> i32 {
    if !ready() {
        return NEXT;
    }
    let skb = Skb::new(&ctx);
    if skb.take_done() {
        return NEXT;
    }
    let Some(scene) = Scene::new(skb, Direction::Egress, ObservationPoint::ToNetwork) else {
        return NEXT;
    };
    let Ok(Kind::Ip) = scene.parse(skb) else { return pass(scene) };
    if spoof::is_link_chatter(&scene.parsed) || spoof::is_multicast(&scene.parsed.tuple.dst) {
        return pass(scene);
    }
    let ret = match judge(skb, scene) {
        Ok(Some(ret)) => ret,
        Ok(None) => return pass(scene),
        Err(reason) => scene.drop(reason),
    };
    finish(scene, ret)
}

#[inline(always)]
fn judge(skb: Skb, scene: &mut Scene) -> Result<Option<i32>, DropReason> {
    let owner = endpoint(&scene.parsed.tuple.src);
    match owner {
        // from_pod has followed and reported it.
        Some(pod) if pod.flags & endpoint_flags::HOST == 0 => return masquerade(skb, scene),
        // A backend on the node's own network may answer a client of a Service.
        Some(_) if track::fragment(scene).is_ok() && service::leave(skb, scene)? => {
            scene.src_identity = identity::HOST;
            return Ok(Some(scene.forward(ForwardReason::ToNetwork, NEXT)));
        }
        _ => {}
    }
    let Some(peer) = pod_identity(&scene.parsed.tuple.dst) else { return Ok(None) };
    if skb.is_own() {
        scene.src_identity = identity::HOST;
    }
    scene.dst_identity = peer;
    track::fragment(scene)?;
    track::track(skb, scene, track::Origin::Stack)?;
    Ok(Some(scene.forward(ForwardReason::ToNetwork, NEXT)))
}

/// A pod's packet gets the node's address if it is for the world, and does not answer somebody who reached the pod by its own.
#[inline(always)]
fn masquerade(skb: Skb, scene: &mut Scene) -> Result<Option<i32>, DropReason> {
    if nat::keeps_source(&scene.parsed.tuple.dst) {
        return Ok(None);
    }
    track::fragment(scene)?;
    if track::is_reply(scene) || !nat::outward(skb, scene)? {
        return Ok(None);
    }
    Ok(Some(scene.forward(ForwardReason::Masqueraded, NEXT)))
}
