//! All that is known about the packet at hand, gathered on the way and told by `emit` at the end.

use crate::{maps, skb::Skb};
use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::generated::bpf_ktime_get_coarse_ns};
use pleopod_abi::{
    Addr16, DropReason,
    ct::CtVerdict,
    endpoint::{EndpointKey, EndpointValue},
    identity,
    ipcache::IpcacheKey,
    metrics::Direction,
    node::NodeValue,
    reason::ObservationPoint,
};
use pleopod_datapath_logic::{
    parse::{self, Kind, Parsed},
    wire::{Bytes as _, Ethernet},
};

/// The packet at hand.
pub struct Scene {
    pub skb: Skb,
    pub parsed: Parsed,
    pub ethernet: Ethernet,
    pub len: u32,
    pub ifindex: u32,
    /// 0 while not known; `emit` looks it up if an event is due.
    pub src_identity: u32,
    pub dst_identity: u32,
    /// Packets that the due event stands for; 0 when none is due.
    pub packets: u32,
    pub endpoint_id: u16,
    pub ct: CtVerdict,
    pub direction: Direction,
    pub point: ObservationPoint,
}

impl Scene {
    /// Loads the Ethernet header; the rest is for [`Self::parse`].
    #[inline(always)]
    pub fn new(skb: Skb, direction: Direction, point: ObservationPoint) -> Option<Self> {
        let ethernet = skb.ethernet()?;
        Some(Self {
            skb,
            parsed: Parsed::default(),
            ethernet,
            len: skb.len(),
            ifindex: skb.ifindex(),
            src_identity: identity::UNKNOWN,
            dst_identity: identity::UNKNOWN,
            packets: 0,
            endpoint_id: 0,
            ct: CtVerdict::Untracked,
            direction,
            point,
        })
    }

    #[inline(always)]
    pub fn parse(&mut self) -> Result<Kind, DropReason> {
        let skb = self.skb;
        parse::parse(&skb, self.ethernet.ether_type.get(), &mut self.parsed)
    }
}

/// The local endpoint that owns an address.
#[inline(always)]
pub fn endpoint(addr: &Addr16) -> Option<&'static EndpointValue> {
    // SAFETY: entries are only written by the agent, and freed after an RCU grace period; a program run lies within one.
    unsafe { maps::pleo_endpoints.get(EndpointKey { addr: *addr }) }
}

/// Who an address is: single addresses first, then prefixes.
#[inline(never)]
pub fn identity_of(addr: &Addr16) -> u32 {
    // SAFETY: as in `endpoint`.
    if let Some(found) = unsafe { maps::pleo_ipcache.get(IpcacheKey { addr: *addr }) } {
        return found.identity;
    }
    match maps::pleo_ipc_lpm.get(&Key::new(128, *addr)) {
        Some(found) => found.identity,
        None => identity::WORLD,
    }
}

/// The facts about the node; all zero before the agent has written them.
#[inline(always)]
pub fn node() -> Option<&'static NodeValue> {
    maps::pleo_node.get(0)
}

/// CLOCK_MONOTONIC in nanoseconds, as of the last timer tick: a few ns to read, up to 4 ms behind.
#[inline(always)]
pub fn coarse_now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}
