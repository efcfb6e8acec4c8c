//! to_pod: tcx egress of the host side of a pod's veth. What the node's stack delivers to the pod: packets of the node itself, and
//! those that took the slow way. What comes by redirect_peer does not pass here.

use crate::{
    config::ready,
    emit::{NEXT, finish, pass},
    scene::{Scene, endpoint},
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
pub fn to_pod(ctx: TcContext) -> i32 {
    if !ready() {
        return NEXT;
    }
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::new(skb, Direction::Ingress, ObservationPoint::ToEndpoint) else {
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
    if spoof::is_link_chatter(&scene.parsed) || spoof::is_multicast(&scene.parsed.tuple.dst) {
        return pass(scene);
    }
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
    track::track(skb, scene, false)?;
    Ok(scene.forward(ForwardReason::ToEndpoint, NEXT))
}
