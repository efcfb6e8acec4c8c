//! Counters of flows, for Prometheus. Plain atomic numbers: counting must cost nothing beside the event itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pleopod_abi::proto;
use pleopod_abi::reason::{DropReason, ObservationPoint, XlatePoint};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::event::{Event, Kind};

/// Counters of one node's flows.
#[derive(Debug)]
pub struct Metrics {
    /// Traced packets by observation point.
    traced: Numbers<128>,
    /// Socket calls by translation point and whether they were translated.
    sock: Numbers<16>,
    /// Drops by reason and protocol class.
    dropped: [Numbers<256>; PROTOCOLS.len()],
    /// TCP packets by flag bit.
    flags: Numbers<8>,
    pub(crate) undecodable: AtomicU64,
    pub(crate) lost_in_kernel: AtomicU64,
    pub(crate) lost_in_reading: AtomicU64,
    pub(crate) followers: AtomicU64,
}

#[derive(Debug)]
struct Numbers<const N: usize>([AtomicU64; N]);

const PROTOCOLS: [&str; 6] = ["TCP", "UDP", "ICMPv4", "ICMPv6", "SCTP", "Unknown flow"];
const FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

// === impl Numbers ===

impl<const N: usize> Numbers<N> {
    fn new() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }

    fn add(&self, at: usize) {
        if let Some(number) = self.0.get(at) {
            number.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn get(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |number| number.load(Ordering::Relaxed))
    }
}

// === impl Metrics ===

impl Metrics {
    /// All zero.
    pub fn new() -> Self {
        Self {
            traced: Numbers::new(),
            sock: Numbers::new(),
            dropped: std::array::from_fn(|_| Numbers::new()),
            flags: Numbers::new(),
            undecodable: AtomicU64::new(0),
            lost_in_kernel: AtomicU64::new(0),
            lost_in_reading: AtomicU64::new(0),
            followers: AtomicU64::new(0),
        }
    }

    /// Counts an event.
    pub fn count(&self, event: &Event) {
        match &event.kind {
            Kind::Packet(packet) => {
                match packet.dropped {
                    Some(reason) => self.dropped[protocol(event.protocol)].add(reason as usize),
                    None => self.traced.add(packet.point as usize),
                }
                if event.protocol == proto::TCP {
                    // Only what opens and ends connections; the rest is in every packet.
                    for bit in [0, 1, 2] {
                        if packet.tcp_flags & (1 << bit) != 0 {
                            self.flags.add(bit);
                        }
                    }
                }
            }
            Kind::Sock(sock) => self.sock.add(sock.point as usize * 2 + usize::from(sock.translated)),
        }
    }

    /// Adds these counters to a registry.
    pub fn register(metrics: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(metrics)));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn protocol(number: u8) -> usize {
    match number {
        proto::TCP => 0,
        proto::UDP => 1,
        proto::ICMP => 2,
        proto::ICMPV6 => 3,
        proto::SCTP => 4,
        _ => 5,
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family =
            encoder.encode_descriptor("hubble_flows_processed", "Flows seen on this node", None, kind)?;
        for point in ObservationPoint::ALL {
            let value = self.traced.get(*point as usize);
            let labels = [("type", "Trace"), ("subtype", point.name()), ("verdict", "FORWARDED")];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        for point in XlatePoint::ALL {
            for (at, verdict) in [(0, "TRACED"), (1, "TRANSLATED")] {
                let value = self.sock.get(*point as usize * 2 + at);
                let labels = [("type", "TraceSock"), ("subtype", point.name()), ("verdict", verdict)];
                ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
            }
        }

        let mut family =
            encoder.encode_descriptor("hubble_drop", "Dropped packets that were reported", None, kind)?;
        for reason in DropReason::ALL {
            for (at, protocol) in PROTOCOLS.iter().enumerate() {
                let value = self.dropped[at].get(*reason as usize);
                if value > 0 {
                    let labels = [("reason", reason.name()), ("protocol", *protocol)];
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }

        let mut family = encoder.encode_descriptor("hubble_tcp_flags", "TCP packets by flag", None, kind)?;
        for (at, flag) in FLAGS.iter().enumerate().take(3) {
            ConstCounter::new(self.flags.get(at)).encode(family.encode_family(&[("flag", *flag)])?)?;
        }

        let mut family =
            encoder.encode_descriptor("hubble_lost_events", "Events that were lost", None, kind)?;
        for (source, number) in [
            ("perf_event_ring_buffer", &self.lost_in_kernel),
            ("hubble_ring_buffer", &self.lost_in_reading),
            ("undecodable", &self.undecodable),
        ] {
            let value = number.load(Ordering::Relaxed);
            ConstCounter::new(value).encode(family.encode_family(&[("source", source)])?)?;
        }

        let followers = ConstGauge::new(self.followers.load(Ordering::Relaxed));
        let metric = encoder.encode_descriptor(
            "hubble_followers",
            "Clients that follow flows",
            None,
            followers.metric_type(),
        )?;
        followers.encode(metric)
    }
}
