//! All that is known about the packet at hand, gathered on the way and told by `emit` at the end.

use crate::{maps, skb::Skb};
use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::generated::bpf_ktime_get_coarse_ns};
use pleopod_abi::{
    Addr16, Be16, DropReason,
    ct::{CtKey, CtValue, CtVerdict},
    endpoint::{EndpointKey, EndpointValue},
    identity,
    ipcache::IpcacheKey,
    maps::SCRATCH_LEN,
    metrics::Direction,
    nat::{NatKey, NatValue},
    node::NodeValue,
    reason::ObservationPoint,
};
use pleopod_datapath_logic::{
    allowance::{BUCKETS, Bucket},
    parse::{self, Kind, Parsed},
    wire::{Bytes as _, Ethernet},
};

/// The packet at hand.
///
/// Lives in a per-CPU map and not on the stack, for two reasons: the stack of a call chain is 512 bytes, and the verifier knows
/// nothing about the contents of a map, so that the paths of the parser become one again behind it (see [`forget`]). For the
/// latter all fields are plain numbers. A tc program runs to its end on its CPU before another one starts there: softirqs are
/// off, and nothing here calls back into the stack.
#[repr(C)]
pub struct Scene {
    pub parsed: Parsed,
    /// The packet that an ICMP error quotes.
    pub quoted: Parsed,
    pub ethernet: Ethernet,
    /// [`ObservationPoint`].
    pub point: u8,
    /// [`Direction`].
    pub direction: u8,
    /// [`CtVerdict`](pleopod_abi::ct::CtVerdict).
    pub ct: u8,
    /// Index into the pairs of the connection's entry.
    pub way: u8,
    /// How or why the packet left: a `ForwardReason` or, if `dropped`, a `DropReason`.
    pub reason: u8,
    pub dropped: u8,
    pub endpoint_id: u16,
    /// CLOCK_MONOTONIC in nanoseconds, see [`coarse_now`].
    pub now: u64,
    pub len: u32,
    pub ifindex: u32,
    /// 0 while not known; `emit` looks it up if an event is due.
    pub src_identity: u32,
    pub dst_identity: u32,
    /// The Service port whose client the packet's connection is of; 0 for none.
    pub service_id: u32,
    /// Packets that the due event stands for; 0 when none is due.
    pub packets: u32,
    /// For masquerading.
    pub search: Search,
    /// For Services.
    pub service: Service,
    /// What sources may still tell. Outlives the packet.
    pub allowance: [Bucket; BUCKETS],
}

/// The search of a port for a masqueraded connection.
#[repr(C)]
pub struct Search {
    /// The way back, with the port that is tried.
    pub answer: NatKey,
    /// Whom the way back is to lead to.
    pub back: NatValue,
    pub random: u32,
    /// Now.
    pub beat: u32,
    /// Of the translations met that may be given up, the end of the one that was silent for longest; the greatest number for none.
    pub silent_until: u32,
    /// Its port.
    pub silent: Be16,
    /// The port that was claimed; 0 for none.
    pub found: Be16,
}

/// The connection of a client to a Service.
#[repr(C)]
pub struct Service {
    /// Key of the entry between the client and the Service.
    pub front: CtKey,
    /// Key of the one between the client and the backend.
    pub back: CtKey,
    /// An entry that is to be written.
    pub entry: CtValue,
    /// Number of the backend.
    pub backend: u32,
    /// Whose the packet is, once it is translated.
    pub follow: u32,
}

const _: () = assert!(size_of::<Scene>() <= SCRATCH_LEN && align_of::<Scene>() <= 8);

impl Scene {
    /// Loads the Ethernet header; the rest is for [`Self::parse`].
    #[inline(always)]
    pub fn new(skb: Skb, direction: Direction, point: ObservationPoint) -> Option<&'static mut Self> {
        let ethernet = skb.ethernet()?;
        let scratch = maps::pleo_scratch.get_ptr_mut(0)?.cast::<Self>();
        // SAFETY: memory of this CPU's own entry, large enough and aligned (checked above), used by one program at a time.
        let scene = unsafe { &mut *scratch };
        // Field by field: `parsed` is written by the parser in any case, `quoted` before it is read.
        scene.ethernet = ethernet;
        scene.point = point as u8;
        scene.direction = direction as u8;
        scene.ct = CtVerdict::Untracked as u8;
        scene.reason = 0;
        scene.dropped = 0;
        scene.endpoint_id = 0;
        scene.now = coarse_now();
        scene.len = skb.len();
        scene.ifindex = skb.ifindex();
        scene.src_identity = identity::UNKNOWN;
        scene.dst_identity = identity::UNKNOWN;
        scene.service_id = 0;
        scene.packets = 0;
        Some(scene)
    }

    /// The scene as the program left it that this one goes on for.
    #[inline(always)]
    pub fn resume() -> Option<&'static mut Self> {
        let scratch = maps::pleo_scratch.get_ptr_mut(0)?.cast::<Self>();
        // SAFETY: as in `new`; every bit pattern is a scene, and what is read now was written by the program before.
        Some(unsafe { &mut *scratch })
    }

    #[inline(always)]
    pub fn parse(&mut self, skb: Skb) -> Result<Kind, DropReason> {
        let kind = parse::parse(&skb, self.ethernet.ether_type.get(), &mut self.parsed);
        forget();
        kind
    }
}

/// Makes the compiler read memory again, and so the verifier forget what it knows of it.
#[inline(always)]
pub fn forget() {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
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

/// The identity of a single address that belongs to a pod of the cluster.
#[inline(always)]
pub fn pod_identity(addr: &Addr16) -> Option<u32> {
    // SAFETY: as in `endpoint`.
    let found = unsafe { maps::pleo_ipcache.get(IpcacheKey { addr: *addr }) }?;
    if found.identity >= identity::FIRST_LABELS || found.identity == identity::HEALTH {
        Some(found.identity)
    } else {
        None
    }
}

/// The facts about the node; all zero before the agent has written them.
#[inline(always)]
pub fn node() -> Option<&'static NodeValue> {
    maps::pleo_node.get(0)
}

/// CLOCK_MONOTONIC in nanoseconds, as of the last timer tick: a few ns to read, up to 4 ms behind.
#[inline(always)]
fn coarse_now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}
