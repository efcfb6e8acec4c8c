//! The whole room behind one handle: bytes in, answers out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use pleopod_api::agent::{FlowStats, MonitorEvent};
use pleopod_api::observer::observer_server::ObserverServer;
use prometheus_client::registry::Registry;
use tokio_stream::Stream;

use crate::clock::{self, Clock};
use crate::decode::{self, decode};
use crate::enrich::enrich;
use crate::flow::Origin;
use crate::hubble::Hubble;
use crate::lookup::Lookup;
use crate::metrics::Metrics;
use crate::monitor::{Monitor, UnknownType};
use crate::ring::{Entry, Lost, Ring};

/// How the room is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the node.
    pub node: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Version shown to clients.
    pub version: String,
    /// How many events are kept.
    pub capacity: usize,
}

/// Sees, keeps, counts and serves the node's events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Eyes(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) origin: Origin,
    pub(crate) version: String,
    /// Monotonic nanoseconds of the start.
    pub(crate) started: u64,
    pub(crate) ring: Ring,
    pub(crate) metrics: Arc<Metrics>,
    lookup: ArcSwap<Lookup>,
    clock: Clock,
    monitor: Monitor,
    /// Events seen, for the rate: (monotonic second, seen until then).
    seconds: Mutex<VecDeque<(u64, u64)>>,
    /// Events decoded since the start.
    pub(crate) seen: AtomicU64,
    /// The kernel's count of lost events at the last look.
    kernel_lost: Mutex<Option<u64>>,
}

/// Seconds that the rate is measured over.
const WINDOW: u64 = 60;

// === impl Eyes ===

impl Eyes {
    /// A room that has seen nothing.
    pub fn new(config: Config) -> Self {
        let started = clock::monotonic();
        Self(Arc::new(Inner {
            // Different for each start on each node, as far as the clock is.
            origin: Origin {
                node: config.node,
                cluster: config.cluster,
                boot: clock::realtime().unsigned_abs(),
            },
            version: config.version,
            started,
            ring: Ring::new(config.capacity),
            metrics: Arc::new(Metrics::new()),
            lookup: ArcSwap::default(),
            clock: Clock::new(),
            monitor: Monitor::new(),
            seconds: Mutex::new(VecDeque::from([(started / 1_000_000_000, 0)])),
            seen: AtomicU64::new(0),
            kernel_lost: Mutex::new(None),
        }))
    }

    /// Names events from now on with this snapshot.
    pub fn update(&self, lookup: Lookup) {
        self.0.lookup.store(Arc::new(lookup));
    }

    /// Takes in one record of the kernel's ring. A bad one is counted and left out.
    pub fn ingest(&self, bytes: &[u8]) -> Result<(), decode::Error> {
        self.take(bytes, &self.0.lookup.load())
    }

    fn take(&self, bytes: &[u8], lookup: &Lookup) -> Result<(), decode::Error> {
        let inner = &*self.0;
        let record = decode(bytes).inspect_err(|_| {
            inner.metrics.undecodable.fetch_add(1, Ordering::Relaxed);
        })?;
        let ktime = match &record {
            decode::Record::Flow(packet) => packet.raw.header.time_ns,
            decode::Record::Sock(call) => call.raw.header.time_ns,
        };
        let time = inner.clock.wall(ktime);
        // Counted before anybody is told: who was told of an event finds it in the counts.
        inner.seen.fetch_add(1, Ordering::Relaxed);
        let event = enrich(&record, time, lookup);
        inner.metrics.count(&event);
        inner.monitor.tell(&record, time);
        inner.ring.push(Entry::Event(event));
        Ok(())
    }

    /// Tells followers of what was taken in. To be called after each batch.
    pub fn publish(&self) {
        self.0.ring.publish();
        self.0.tick();
    }

    /// Says how many events the kernel has lost in all. What is new since the last call appears among the flows.
    pub fn lost_in_kernel(&self, total: u64) {
        let mut last = self.0.kernel_lost.lock().unwrap_or_else(PoisonError::into_inner);
        // Counters outlive the agent: what was lost before its start is not news, a smaller number is a new map.
        let count = match last.replace(total) {
            Some(before) => total.checked_sub(before).unwrap_or(total),
            None => 0,
        };
        drop(last);
        if count > 0 {
            self.0.metrics.lost_in_kernel.fetch_add(count, Ordering::Relaxed);
            self.0.ring.push(Entry::Lost(Lost { time: clock::realtime(), count }));
            self.publish();
        }
    }

    /// Takes in a batch: `read` hands every record to its argument and says how many there were. One snapshot names
    /// the whole batch, and followers hear of it at its end.
    pub(crate) fn drain(&self, read: impl FnOnce(&mut dyn FnMut(&[u8])) -> usize) -> usize {
        let lookup = self.0.lookup.load_full();
        let count = read(&mut |bytes| {
            // Counted where it happens; the next record may be good.
            let _ = self.take(bytes, &lookup);
        });
        self.publish();
        count
    }

    /// Hubble's observer service.
    pub fn observer(&self) -> ObserverServer<Hubble> {
        ObserverServer::new(Hubble::new(Arc::clone(&self.0)))
    }

    /// Events in words from now on, of these types (`drop`, `trace`, `sock`; none for all).
    pub fn monitor(
        &self,
        types: Vec<String>,
    ) -> Result<impl Stream<Item = MonitorEvent> + Send + use<>, UnknownType> {
        self.0.monitor.watch(types)
    }

    /// Counts for `status`.
    pub fn stats(&self) -> FlowStats {
        let inner = &*self.0;
        let saturate = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        FlowStats {
            seen: inner.seen.load(Ordering::Relaxed),
            lost_in_kernel: inner.metrics.lost_in_kernel.load(Ordering::Relaxed),
            lost_in_agent: inner.metrics.undecodable.load(Ordering::Relaxed),
            ring_capacity: saturate(inner.ring.capacity()),
            ring_used: saturate(inner.ring.len()),
            per_second: inner.rate(),
        }
    }

    /// Adds the counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        Metrics::register(&self.0.metrics, registry);
    }
}

#[cfg(test)]
impl Eyes {
    pub(crate) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.0)
    }
}

// === impl Inner ===

impl Inner {
    /// Remembers, once a second, how many events there were.
    fn tick(&self) {
        let now = clock::monotonic() / 1_000_000_000;
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds.back().is_none_or(|(last, _)| *last < now) {
            seconds.push_back((now, self.seen.load(Ordering::Relaxed)));
            forget(&mut seconds, now);
        }
    }

    /// Events a second over the last minute, or since the start if that is shorter.
    pub(crate) fn rate(&self) -> f64 {
        let now = clock::monotonic() / 1_000_000_000;
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut seconds, now);
        let Some((since, before)) = seconds.front().copied() else { return 0.0 };
        let events = self.seen.load(Ordering::Relaxed).saturating_sub(before);
        events as f64 / now.saturating_sub(since).clamp(1, WINDOW) as f64
    }
}

/// Drops what is older than the window, but for the newest such point: it is where the window starts.
fn forget(seconds: &mut VecDeque<(u64, u64)>, now: u64) {
    while seconds.len() > 1 && seconds.get(1).is_some_and(|(second, _)| now.saturating_sub(*second) >= WINDOW)
    {
        seconds.pop_front();
    }
}
