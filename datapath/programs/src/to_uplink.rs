//! to_uplink: tcx egress of the uplink. What leaves the node: packets that from_pod has already judged (marked), packets of pods
//! that took the slow way, and the node's own, of which those to and from pods of the cluster are followed.

use crate::{
    config::ready,
    emit::{NEXT, Outcome, finish, pass},
    scene::{Scene, endpoint, identity_of},
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
    let Some(mut scene) = Scene::new(skb, Direction::Egress, ObservationPoint::ToNetwork) else {
        return NEXT;
    };
    let Ok(Kind::Ip) = scene.parse() else { return pass(&scene) };
    if spoof::is_link_chatter(&scene.parsed) || spoof::is_multicast(&scene.parsed.tuple.dst) {
        return pass(&scene);
    }
    let outcome = match judge(&mut scene) {
        Ok(Some(outcome)) => outcome,
        Ok(None) => return pass(&scene),
        Err(reason) => Outcome::Drop(reason),
    };
    finish(&mut scene, outcome)
}

#[inline(always)]
fn judge(scene: &mut Scene) -> Result<Option<Outcome>, DropReason> {
    let owner = endpoint(&scene.parsed.tuple.src);
    match owner {
        // A pod's packet on the slow way: from_pod has followed it.
        Some(pod) if pod.flags & endpoint_flags::HOST == 0 => return Ok(None),
        _ => {}
    }
    let peer = identity_of(&scene.parsed.tuple.dst);
    if peer < identity::FIRST_LABELS && peer != identity::HEALTH {
        return Ok(None);
    }
    scene.src_identity = identity::HOST;
    scene.dst_identity = peer;
    track::fragment(scene)?;
    track::track(scene);
    Ok(Some(Outcome::Forward(ForwardReason::ToNetwork, i64::from(NEXT))))
}
