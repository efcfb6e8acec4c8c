//! from_uplink: tcx ingress of the uplink. What other nodes and the world send.
//!
//! Packets for a pod of this node are followed and handed over by redirect_peer. All else is the node's own business and goes to
//! its stack untouched, malformed packets included.

use crate::{
    config::ready,
    deliver::to_local_pod,
    emit::{NEXT, Outcome, finish, pass},
    scene::{Scene, endpoint},
    skb::Skb,
    track,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason, ct::CtVerdict, endpoint::EndpointValue, metrics::Direction, reason::ObservationPoint,
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
    let Some(mut scene) = Scene::new(skb, Direction::Ingress, ObservationPoint::FromNetwork) else {
        return NEXT;
    };
    let Ok(Kind::Ip) = scene.parse() else { return pass(&scene) };
    let Some(pod) = endpoint(&scene.parsed.tuple.dst) else { return pass(&scene) };
    if way(&scene.parsed, Some(pod)) != Way::Pod {
        return pass(&scene);
    }
    let outcome = match judge(&mut scene, pod) {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::Drop(reason),
    };
    finish(&mut scene, outcome)
}

#[inline(always)]
fn judge(scene: &mut Scene, pod: &EndpointValue) -> Result<Outcome, DropReason> {
    scene.endpoint_id = pod.id;
    scene.dst_identity = pod.identity;
    track::fragment(scene)?;
    track::track(scene);
    // Asked once per connection: nobody outside has an address of this node's pods.
    if scene.ct == CtVerdict::New && endpoint(&scene.parsed.tuple.src).is_some() {
        return Err(DropReason::InvalidSourceIp);
    }
    Ok(to_local_pod(scene, pod))
}
