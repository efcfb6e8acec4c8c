//! Programs that do no work, for benches to compare with: one helper call and the end.

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::Error;
use crate::raw;

/// `BPF_PROG_TYPE_SCHED_CLS`.
const SCHED_CLS: u32 = 3;

/// Which helper a reference program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// `bpf_redirect(ifindex, 0)`.
    Redirect,
    /// `bpf_redirect_peer(ifindex, 0)`.
    RedirectPeer,
    /// `bpf_redirect_neigh(ifindex, NULL, 0, 0)`.
    RedirectNeigh,
}

/// Loads a tcx program that hands every packet to one helper.
pub fn redirect(helper: Helper, ifindex: u32) -> Result<OwnedFd, Error> {
    // r1 = ifindex; r2 = 0; (r3 = 0; r4 = 0;) call helper; exit
    let mov = |reg: u64, imm: u32| 0xb7 | reg << 8 | u64::from(imm) << 32;
    let call = |id: u32| 0x85 | u64::from(id) << 32;
    let exit = 0x95;
    let (name, id) = match helper {
        Helper::Redirect => ("ref_redirect", 23),
        Helper::RedirectPeer => ("ref_peer", 155),
        Helper::RedirectNeigh => ("ref_neigh", 152),
    };
    let insns = [mov(1, ifindex), mov(2, 0), mov(3, 0), mov(4, 0), call(id), exit];
    raw::prog_load(SCHED_CLS, name, &insns).map_err(Error::kernel(format!("loading {name}")))
}

/// `BPF_TCX_INGRESS` (kernel commit e420bed02507, 6.6).
const TCX_INGRESS: u32 = 46;

/// Runs a reference program on what comes in at an interface of this thread's network namespace, as long as the link lives.
pub fn attach(program: BorrowedFd<'_>, ifindex: u32) -> Result<OwnedFd, Error> {
    let target = raw::Target::Interface(ifindex);
    raw::link_create(program, target, TCX_INGRESS).map_err(Error::kernel("attaching a reference program"))
}
