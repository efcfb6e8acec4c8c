//! The way out of every program: counts, reports, and turns the outcome into what tcx wants to hear.

use crate::{
    config::{config, has},
    maps,
    scene::{Scene, identity_of},
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
};
use pleopod_datapath_logic::parse::shape;

/// Let the next program, and in the end the stack, have the packet.
pub const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i64 = 7;

/// What became of a packet.
pub enum Outcome {
    /// On its way. The number is the return value of a redirect helper, or [`NEXT`].
    Forward(ForwardReason, i64),
    /// Gone.
    Drop(DropReason),
}

/// Counts and reports the outcome; the result is the program's return value.
#[inline(always)]
pub fn finish(scene: &mut Scene, outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Forward(how, ret) => {
            count(how as u8, scene.direction, scene.len);
            if scene.packets != 0 && has(config_flags::FLOW_EVENTS) {
                report(scene, Verdict::Forwarded as u8, how as u8);
            }
            ret as i32
        }
        Outcome::Drop(reason) => {
            count(reason as u8, scene.direction, scene.len);
            if has(config_flags::FLOW_EVENTS) {
                scene.packets = 1;
                report(scene, Verdict::Dropped as u8, reason as u8);
            }
            DROP
        }
    }
}

/// A packet that is not looked at any further (ARP, link chatter, what no pod has to do with).
#[inline(always)]
pub fn pass(scene: &Scene) -> i32 {
    count(ForwardReason::Passed as u8, scene.direction, scene.len);
    NEXT
}

/// Outcome of a redirect helper: anything but "redirect" means that the kernel would not.
#[inline(always)]
pub fn redirected(how: ForwardReason, ret: i64) -> Outcome {
    if ret == REDIRECT { Outcome::Forward(how, ret) } else { Outcome::Drop(DropReason::Unroutable) }
}

/// Adds to the per-CPU counters.
#[inline(always)]
pub fn count(reason: u8, direction: Direction, bytes: u32) {
    if let Some(value) = maps::pleo_metrics.get_ptr_mut(metric_index(reason, direction)) {
        // SAFETY: the slot of this CPU; a program that interrupts this one may make it lose a count, nothing worse.
        unsafe {
            (*value).packets += 1;
            (*value).bytes += u64::from(bytes);
        }
    }
}

/// Writes a flow event. Never waits: with no room in the ring the event is counted as lost.
#[inline(never)]
fn report(scene: &Scene, verdict: u8, reason: u8) -> i32 {
    let parsed = &scene.parsed;
    let known = !parsed.tuple.src.is_unspecified() || !parsed.tuple.dst.is_unspecified();
    let src_identity = match scene.src_identity {
        identity::UNKNOWN if known => identity_of(&parsed.tuple.src),
        found => found,
    };
    let dst_identity = match scene.dst_identity {
        identity::UNKNOWN if known => identity_of(&parsed.tuple.dst),
        found => found,
    };
    let mut flags = 0;
    if known {
        flags |= flow_flags::HAS_ADDRESSES;
    }
    match scene.ct {
        CtVerdict::Untracked | CtVerdict::Related => {}
        CtVerdict::Reply => flags |= flow_flags::REPLY_KNOWN | flow_flags::REPLY,
        CtVerdict::New | CtVerdict::Established => flags |= flow_flags::REPLY_KNOWN,
    }
    if parsed.shape & shape::FRAGMENT != 0 {
        flags |= flow_flags::FRAGMENT;
    }
    if parsed.shape & shape::ICMP_ERROR != 0 {
        flags |= flow_flags::ICMP_ERROR;
    }
    let Some(mut entry) = maps::pleo_events.reserve_untyped::<FlowEvent>(0) else {
        count(counter::FLOW_EVENT_LOST, scene.direction, 0);
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
        (*event).point = scene.point as u8;
        (*event).verdict = verdict;
        (*event).reason = reason;
        (*event).ct = scene.ct as u8;
        (*event).direction = scene.direction as u8;
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
        (*event).packets = scene.packets;
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
