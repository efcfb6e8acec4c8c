//! to_pod: tcx egress of the host side of a pod's veth. What the node's stack delivers to the pod: packets of the node itself, and
//! those that took the slow way. What comes by redirect_peer does not pass here.

use crate::{
    begin::begin,
    emit::{NEXT, finish},
    scene::{Scene, endpoint},
    skb::Skb,
    track,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason, ForwardReason, endpoint::endpoint_flags, identity, metrics::Direction,
    reason::ObservationPoint,
};

#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    let (skb, scene) = match begin(&ctx, Direction::Ingress, ObservationPoint::ToEndpoint) {
        Ok(begun) => begun,
        Err(ret) => return ret,
    };
    let ret = match judge(skb, scene) {
        Ok(ret) => ret,
        Err(reason) => scene.drop(reason),
    };
    finish(scene, ret)
}

#[inline(always)]
fn judge(skb: Skb, scene: &mut Scene) -> Result<i32, DropReason> {
    if let Some(pod) = endpoint(&scene.parsed.tuple.dst) {
        scene.dst_identity = pod.identity;
        scene.endpoint_id = pod.id;
    }
    if let Some(sender) = endpoint(&scene.parsed.tuple.src) {
        scene.src_identity =
            if sender.flags & endpoint_flags::HOST != 0 { identity::HOST } else { sender.identity };
    }
    track::fragment(scene)?;
    track::track(skb, scene, track::Origin::Stack)?;
    Ok(scene.forward(ForwardReason::ToEndpoint, NEXT))
}
