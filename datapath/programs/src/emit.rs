//! The way out of every program: counts, reports, and turns the outcome into what tcx wants to hear.

use crate::{
    config::{config, has},
    maps,
    scene::{Scene, forget, identity_of},
};
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use pleopod_abi::{
    DropReason, ForwardReason,
    config::config_flags,
    ct::CtVerdict,
    event::{EVENT_VERSION, EventHeader, FlowEvent, flow_flags, kind},
    identity,
    metrics::{Direction, counter, metric_index},
    reason::Verdict,
    time::ticks,
};
use pleopod_datapath_logic::{
    allowance::{COST, COST_EACH, bucket_of, pay},
    parse::shape,
};

/// Let the next program, and in the end the stack, have the packet.
pub const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i64 = 7;
const NEW: u8 = CtVerdict::New as u8;
const ESTABLISHED: u8 = CtVerdict::Established as u8;
const REPLY: u8 = CtVerdict::Reply as u8;

/// Counts and reports what became of the packet; the result is the program's return value.
#[inline(always)]
pub fn finish(scene: &mut Scene, ret: i32) -> i32 {
    forget();
    let (reason, direction) = (scene.reason, scene.direction);
    count_raw(u32::from(reason) << 2 | u32::from(direction), scene.len);
    if has(config_flags::FLOW_EVENTS) && scene.packets | u32::from(scene.dropped) != 0 && may_tell(scene) {
        report(scene);
    }
    ret
}

/// Whether the source may cause one more event: a flood must not push what others do out of the ring. What is not told is counted.
///
/// A source is an address; for drops the interface, because they are often for an address that is not the sender's.
#[inline(always)]
fn may_tell(scene: &mut Scene) -> bool {
    let error = scene.parsed.shape & shape::ICMP_ERROR != 0;
    let cost = if scene.dropped != 0 || error { COST_EACH } else { COST };
    if has(config_flags::EVENT_PER_PACKET) && cost == COST {
        return true;
    }
    let source = if scene.dropped != 0 { scene.ifindex } else { scene.parsed.tuple.src.words()[3] };
    let tick = ticks(scene.now);
    let bucket = &mut scene.allowance[bucket_of(source)];
    let enough = pay(bucket, tick, cost, config!(event_rate), config!(event_burst));
    if !enough {
        count_raw(u32::from(counter::FLOW_EVENT_LOST) << 2 | u32::from(scene.direction), 0);
    }
    enough
}

/// Ends a program that deals with some packets and passes the others on as they are.
#[inline(always)]
pub fn end(scene: &mut Scene, outcome: Result<Option<i32>, DropReason>) -> i32 {
    match outcome {
        Ok(Some(ret)) => finish(scene, ret),
        Ok(None) => pass(scene),
        Err(reason) => {
            let ret = scene.drop(reason);
            finish(scene, ret)
        }
    }
}

// === impl Scene ===

impl Scene {
    /// The packet goes on its way. `ret` is what a redirect helper said, or [`NEXT`].
    #[inline(always)]
    pub fn forward(&mut self, how: ForwardReason, ret: i32) -> i32 {
        self.reason = how as u8;
        ret
    }

    /// The packet is gone.
    #[inline(always)]
    pub fn drop(&mut self, reason: DropReason) -> i32 {
        self.reason = reason as u8;
        self.dropped = 1;
        DROP
    }

    /// After a redirect helper: anything but "redirect" means that the kernel would not.
    #[inline(always)]
    pub fn redirected(&mut self, how: ForwardReason, ret: i64) -> i32 {
        if ret == REDIRECT { self.forward(how, ret as i32) } else { self.drop(DropReason::Unroutable) }
    }
}

/// A packet that is not looked at any further (ARP, link chatter, what no pod has to do with).
#[inline(always)]
pub fn pass(scene: &Scene) -> i32 {
    count_raw((ForwardReason::Passed as u32) << 2 | u32::from(scene.direction), scene.len);
    NEXT
}

/// Adds to the per-CPU counters.
#[inline(always)]
pub fn count(reason: u8, direction: Direction, bytes: u32) {
    count_raw(metric_index(reason, direction), bytes);
}

#[inline(always)]
fn count_raw(index: u32, bytes: u32) {
    if let Some(value) = maps::pleo_metrics.get_ptr_mut(index) {
        // SAFETY: the slot of this CPU; a program that interrupts this one may make it lose a count, nothing worse.
        unsafe {
            (*value).packets += 1;
            (*value).bytes += u64::from(bytes);
        }
    }
}

/// Writes a flow event. Never waits: with no room in the ring the event is counted as lost.
#[inline(never)]
fn report(scene: &Scene) -> i32 {
    let parsed = &scene.parsed;
    let (verdict, packets) = if scene.dropped == 0 {
        (Verdict::Forwarded as u8, scene.packets)
    } else {
        (Verdict::Dropped as u8, 1)
    };
    let known = !parsed.tuple.src.is_unspecified() || !parsed.tuple.dst.is_unspecified();
    let src_identity = match scene.src_identity {
        identity::UNKNOWN if known => identity_of(&parsed.tuple.src),
        found => found,
    };
    let dst_identity = match scene.dst_identity {
        identity::UNKNOWN if known => identity_of(&parsed.tuple.dst),
        found => found,
    };
    let mut flags = flow_flags::HAS_ADDRESSES * u16::from(known);
    flags |= flow_flags::REPLY_KNOWN * u16::from(matches!(scene.ct, NEW | ESTABLISHED | REPLY));
    flags |= flow_flags::REPLY * u16::from(scene.ct == REPLY);
    flags |= flow_flags::FRAGMENT * u16::from(parsed.shape & shape::FRAGMENT != 0);
    flags |= flow_flags::ICMP_ERROR * u16::from(parsed.shape & shape::ICMP_ERROR != 0);
    forget();
    let Some(mut entry) = maps::pleo_events.reserve_untyped::<FlowEvent>(0) else {
        count_raw(u32::from(counter::FLOW_EVENT_LOST) << 2 | u32::from(scene.direction), 0);
        return 0;
    };
    let event = entry.as_mut_ptr();
    // Field by field into the ring: built on the stack it would not fit beside the frames of the callers.
    // SAFETY: reserved memory of the right size and alignment; every field is written.
    unsafe {
        (*event).header = EventHeader {
            kind: kind::FLOW,
            version: EVENT_VERSION,
            len: size_of::<FlowEvent>() as u16,
            cpu: bpf_get_smp_processor_id(),
            time_ns: bpf_ktime_get_ns(),
        };
        (*event).point = scene.point;
        (*event).verdict = verdict;
        (*event).reason = scene.reason;
        (*event).ct = scene.ct;
        (*event).direction = scene.direction;
        (*event).proto = parsed.tuple.proto;
        (*event).tcp_flags = parsed.tcp_flags;
        (*event).icmp_type = parsed.icmp_type;
        (*event).icmp_code = parsed.icmp_code;
        (*event)._pad = 0;
        (*event).flags = flags;
        (*event).src_identity = src_identity;
        (*event).dst_identity = dst_identity;
        (*event).endpoint_id = scene.endpoint_id;
        (*event).ether_type = scene.ethernet.ether_type.get();
        (*event).ifindex = scene.ifindex;
        (*event).packets = packets;
        (*event).len = scene.len;
        (*event).src = parsed.tuple.src;
        (*event).dst = parsed.tuple.dst;
        (*event).sport = parsed.tuple.sport;
        (*event).dport = parsed.tuple.dport;
        (*event).src_mac = scene.ethernet.src;
        (*event).dst_mac = scene.ethernet.dst;
        (*event)._pad2 = 0;
    }
    entry.submit(0);
    0
}

/// Interval between events of one direction, in ticks; 0 reports every packet.
#[inline(always)]
pub fn interval() -> u32 {
    if has(config_flags::EVENT_PER_PACKET) { 0 } else { config!(event_interval) }
}
