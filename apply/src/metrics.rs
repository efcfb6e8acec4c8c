//! The programs' own counters.

use pleopod_abi::metrics::{Direction, MetricValue, counter, metric_of_index};
use pleopod_abi::{DropReason, ForwardReason};
use pleopod_sys_bpf::Loaded;
use zerocopy::FromBytes;

use crate::Error;

/// One counter, summed over all CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What kind of reason it counts.
    pub kind: MetricKind,
    /// Number of the reason.
    pub reason: u8,
    /// Name of the reason.
    pub name: &'static str,
    /// Which way, seen from the endpoint or the node.
    pub direction: Direction,
    /// Packets, or events for [`MetricKind::Counter`].
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKind {
    /// Packets that went on.
    Forward,
    /// Packets that were dropped.
    Drop,
    /// Something lost or odd.
    Counter,
}

/// Every counter of `pleo_metrics` that is not zero, by reason and direction.
pub fn read(loaded: &Loaded) -> Result<Vec<Metric>, Error> {
    let mut metrics = Vec::new();
    let each = |key: &[u8], values: &[u8]| {
        let Ok(index) = u32::read_from_bytes(key) else { return };
        let Some((reason, direction)) = metric_of_index(index) else { return };
        let Some((kind, name)) = name(reason) else { return };
        let (mut packets, mut bytes) = (0, 0);
        for value in values.chunks_exact(size_of::<MetricValue>()) {
            if let Ok(value) = MetricValue::read_from_bytes(value) {
                packets += value.packets;
                bytes += value.bytes;
            }
        }
        if packets != 0 {
            metrics.push((index, Metric { kind, reason, name, direction, packets, bytes }));
        }
    };
    loaded.map("pleo_metrics")?.each(each).map_err(|source| Error::Map { map: "pleo_metrics", source })?;
    metrics.sort_by_key(|(index, _)| *index);
    Ok(metrics.into_iter().map(|(_, metric)| metric).collect())
}

fn name(reason: u8) -> Option<(MetricKind, &'static str)> {
    if let Some(drop) = DropReason::from_u8(reason) {
        return Some((MetricKind::Drop, drop.name()));
    }
    if let Some(forward) = ForwardReason::from_u8(reason) {
        return Some((MetricKind::Forward, forward.name()));
    }
    counter::ALL.iter().find(|(number, _)| *number == reason).map(|(_, name)| (MetricKind::Counter, *name))
}

// === impl MetricKind ===

impl MetricKind {
    /// `forward`, `drop` or `counter`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Drop => "drop",
            Self::Counter => "counter",
        }
    }
}
