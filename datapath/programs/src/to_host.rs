//! to_host: tcx ingress of `pleo_host` and `pleo_net`. What reaches the node over the pair; nothing does in native routing but the
//! chatter of the link itself.

use crate::{
    config::ready,
    emit::{NEXT, finish, pass},
    scene::Scene,
    skb::Skb,
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{ForwardReason, metrics::Direction, reason::ObservationPoint};
use pleopod_datapath_logic::{parse::Kind, spoof};

#[classifier]
pub fn to_host(ctx: TcContext) -> i32 {
    if !ready() {
        return NEXT;
    }
    let skb = Skb::new(&ctx);
    let Some(scene) = Scene::new(skb, Direction::Ingress, ObservationPoint::ToHost) else {
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
    let ret = scene.forward(ForwardReason::ToHost, NEXT);
    finish(scene, ret)
}
