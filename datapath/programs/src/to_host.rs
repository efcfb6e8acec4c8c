//! to_host: tcx ingress of `pleo_host` and `pleo_net`. What reaches the node over the pair; nothing does in native routing but the
//! chatter of the link itself.

use crate::{
    begin::begin,
    emit::{NEXT, finish},
};
use aya_ebpf::{macros::classifier, programs::TcContext};
use pleopod_abi::{ForwardReason, metrics::Direction, reason::ObservationPoint};

#[classifier]
pub fn to_host(ctx: TcContext) -> i32 {
    let (_, scene) = match begin(&ctx, Direction::Ingress, ObservationPoint::ToHost) {
        Ok(begun) => begun,
        Err(ret) => return ret,
    };
    let ret = scene.forward(ForwardReason::ToHost, NEXT);
    finish(scene, ret)
}
