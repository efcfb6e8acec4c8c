//! from_uplink: tcx ingress of the uplink. What other nodes and the world send.
//!
//! Packets for a pod of this node are followed and handed over by redirect_peer. The others go on in `uplink_service`: those to
//! Services and to the node's own addresses. All else is the node's own business and goes to its stack untouched, malformed packets
//! included.

use crate::{
    config::ready,
    deliver::to_local_pod,
    emit::{NEXT, end, pass},
    scene::{Scene, endpoint},
    skb::Skb,
    track,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason,
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
    let ret = match endpoint(&scene.parsed.tuple.dst) {
        Some(pod) if pod.flags & endpoint_flags::HOST == 0 && way(&scene.parsed, Some(pod)) == Way::Pod => {
            to_pod(skb, scene, pod)
        }
        Some(pod) if pod.flags & endpoint_flags::HOST == 0 => stay(scene),
        _ => {
            skb.go_on(call::UPLINK_SERVICE);
            // Only if there is no such program, which is only while it is being loaded.
            stay(scene)
        }
    };
    end(scene, ret)
}

#[inline(always)]
fn to_pod(skb: Skb, scene: &mut Scene, pod: &EndpointValue) -> Result<Option<i32>, DropReason> {
    scene.endpoint_id = pod.id;
    scene.dst_identity = pod.identity;
    track::fragment(scene)?;
    track::track(skb, scene, track::Origin::Outside)?;
    Ok(Some(to_local_pod(skb, scene, pod)))
}

/// A packet that the stack shall have, unless it says that it comes from a pod of this node: it would answer it, or forward it. For
/// the node's own addresses the stack sees to that itself.
#[inline(always)]
pub fn stay(scene: &Scene) -> Result<Option<i32>, DropReason> {
    let from = endpoint(&scene.parsed.tuple.src);
    let claims_a_pod =
        from.is_some_and(|e| e.flags & endpoint_flags::HOST == 0) && !spoof::is_link_chatter(&scene.parsed);
    if claims_a_pod { Err(DropReason::InvalidSourceIp) } else { Ok(None) }
}
