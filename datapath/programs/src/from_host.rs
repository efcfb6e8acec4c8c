//! from_host: tcx egress of `pleo_host`. The route of the node's pod prefix points there, so what arrives is for pod addresses
//! without a route of their own: a pod whose route is not in yet, or an address that no pod has.

use crate::{
    begin::begin,
    emit::{NEXT, finish},
    scene::{Scene, endpoint},
    skb::Skb,
};
use aya_ebpf::{helpers::generated::bpf_redirect, macros::classifier, programs::TcContext};
use pleopod_abi::{
    DropReason, ForwardReason, endpoint::endpoint_flags, metrics::Direction, reason::ObservationPoint,
};

#[classifier]
pub fn from_host(ctx: TcContext) -> i32 {
    let (skb, scene) = match begin(&ctx, Direction::Ingress, ObservationPoint::FromHost) {
        Ok(begun) => begun,
        Err(ret) => return ret,
    };
    let ret = judge(skb, scene);
    finish(scene, ret)
}

#[inline(always)]
fn judge(skb: Skb, scene: &mut Scene) -> i32 {
    match endpoint(&scene.parsed.tuple.dst) {
        Some(pod) if pod.flags & endpoint_flags::HOST == 0 => {
            if skb.set_macs(pod.mac, pod.node_mac).is_err() {
                return scene.drop(DropReason::WriteError);
            }
            // to_pod follows the connection and reports.
            // SAFETY: numbers only.
            let ret = unsafe { bpf_redirect(pod.ifindex, 0) };
            scene.redirected(ForwardReason::ToEndpoint, ret)
        }
        Some(_) => scene.forward(ForwardReason::Passed, NEXT),
        None => scene.drop(DropReason::Unroutable),
    }
}
