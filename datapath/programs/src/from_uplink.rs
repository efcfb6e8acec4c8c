//! from_uplink: tcx ingress of the uplink. What other nodes and the world send.
//!
//! Answers to masqueraded packets get the pod's address back. Packets for a pod of this node are followed and handed over by redirect_peer. All else is the node's own business and goes to
//! its stack untouched, malformed packets included.

use crate::{
    config::{has, ready},
    deliver::to_local_pod,
    emit::{self, NEXT, finish, pass},
    nat,
    scene::{Scene, endpoint},
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
    let Ok(Kind::Ip) = scene.parse(skb) else { return pass(scene) };
    let Some(mut pod) = endpoint(&scene.parsed.tuple.dst) else { return pass(scene) };
    if has(config_flags::MASQUERADE) && pod.flags & endpoint_flags::HOST != 0 {
        if track::fragment(scene).is_err() {
            return pass(scene);
        }
        match nat::inward(skb, scene) {
            Ok(false) => return pass(scene),
            Ok(true) => emit::count(ForwardReason::Unmasqueraded as u8, Direction::Ingress, scene.len),
            Err(reason) => {
                let ret = scene.drop(reason);
                return finish(scene, ret);
            }
        }
        let Some(owner) = endpoint(&scene.parsed.tuple.dst) else {
            let ret = scene.drop(DropReason::Unroutable);
            return finish(scene, ret);
        };
        pod = owner;
    }
    if way(&scene.parsed, Some(pod)) != Way::Pod {
        return pass(scene);
    }
    let ret = match judge(skb, scene, pod) {
        Ok(ret) => ret,
        Err(reason) => scene.drop(reason),
    };
    finish(scene, ret)
}

#[inline(always)]
fn judge(skb: Skb, scene: &mut Scene, pod: &EndpointValue) -> Result<i32, DropReason> {
    scene.endpoint_id = pod.id;
    scene.dst_identity = pod.identity;
    track::fragment(scene)?;
    track::track(skb, scene, true)?;
    Ok(to_local_pod(skb, scene, pod))
}
