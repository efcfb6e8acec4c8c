//! The way into the programs at a pod's door and at the pair `pleo_host`/`pleo_net`.

use crate::{
    config::ready,
    emit::{NEXT, finish, pass},
    scene::Scene,
    skb::Skb,
};
use aya_ebpf::programs::TcContext;
use pleopod_abi::{metrics::Direction, reason::ObservationPoint};
use pleopod_datapath_logic::{parse::Kind, spoof};

/// The packet at hand, read. What belongs to the link or is malformed has left already: the error is the program's return value.
#[inline(always)]
pub fn begin(
    ctx: &TcContext,
    direction: Direction,
    point: ObservationPoint,
) -> Result<(Skb, &'static mut Scene), i32> {
    if !ready() {
        return Err(NEXT);
    }
    let skb = Skb::new(ctx);
    let scene = Scene::new(skb, direction, point).ok_or(NEXT)?;
    match scene.parse(skb) {
        Ok(Kind::Ip) => {}
        Ok(Kind::Arp) => return Err(pass(scene)),
        Err(reason) => {
            let ret = scene.drop(reason);
            return Err(finish(scene, ret));
        }
    }
    if spoof::is_link_chatter(&scene.parsed) || spoof::is_multicast(&scene.parsed.tuple.dst) {
        return Err(pass(scene));
    }
    Ok((skb, scene))
}
