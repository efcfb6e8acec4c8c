//! `/metrics`: what the agent and its programs count, in OpenMetrics text.

use std::fmt;

use pleopod_apply::metrics::{Metric, MetricKind};
use pleopod_apply::tables::NAMES;
use pleopod_flows::Eyes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::core::{Core, Handle};

/// What one scrape reads from the core.
#[derive(Debug, Default)]
struct Scrape {
    datapath: Vec<Metric>,
    gauges: Vec<(&'static str, &'static str, i64)>,
    rows: Vec<(&'static str, i64)>,
    errors: Vec<(&'static str, i64)>,
}

/// Asks the core at each scrape.
#[derive(Debug)]
struct FromCore {
    core: CoreHandle,
    runtime: tokio::runtime::Handle,
}

struct CoreHandle(Handle);

impl fmt::Debug for CoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CoreHandle")
    }
}

/// A function that gives the text of `/metrics`. It blocks for as long as the core takes to answer.
pub fn endpoint(
    core: Handle,
    eyes: &Eyes,
    runtime: tokio::runtime::Handle,
) -> impl Fn() -> String + Send + Sync + use<> {
    let mut registry = Registry::with_prefix("pleopod");
    eyes.register(&mut registry);
    registry.register_collector(Box::new(FromCore { core: CoreHandle(core), runtime }));
    move || {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

impl Collector for FromCore {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let core = self.core.0.clone();
        let asked = self.runtime.block_on(async {
            let wait = std::time::Duration::from_secs(2);
            tokio::time::timeout(wait, core.inspect(scrape)).await.ok()?.ok()
        });
        let Some(scrape) = asked else { return Ok(()) };
        for (kind, name, help) in [
            (MetricKind::Forward, "forwarded", "Packets that went on, by reason and direction"),
            (MetricKind::Drop, "dropped", "Packets dropped, by reason and direction"),
            (MetricKind::Counter, "datapath_events", "Things lost or odd in the programs"),
        ] {
            let of_kind = || scrape.datapath.iter().filter(|m| m.kind == kind);
            if kind == MetricKind::Counter {
                // What is counted is no packet, and has no size.
                family(&mut encoder, name, help, of_kind(), |m| m.packets)?;
                continue;
            }
            family(&mut encoder, &format!("{name}_packets"), help, of_kind(), |m| m.packets)?;
            family(&mut encoder, &format!("{name}_bytes"), help, of_kind(), |m| m.bytes)?;
        }
        for (name, help, value) in &scrape.gauges {
            let gauge = ConstGauge::new(*value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, rows) in [
            ("map_rows", "Rows of each synced map", &scrape.rows),
            ("map_errors", "Rows of each synced map that could not be written", &scrape.errors),
        ] {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (map, value) in rows {
                ConstGauge::new(*value).encode(family.encode_family(&[("map", *map)])?)?;
            }
        }
        Ok(())
    }
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metrics: impl Iterator<Item = &'a Metric>,
    value: impl Fn(&Metric) -> u64,
) -> fmt::Result {
    let kind = prometheus_client::metrics::MetricType::Counter;
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for metric in metrics {
        let labels = [("reason", metric.name), ("direction", metric.direction.name())];
        ConstCounter::new(value(metric)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn scrape(core: &mut Core) -> Scrape {
    let usage = core.ipam.usage(pleopod_ipam::Family::V4);
    let clamp = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let rows = |name: &'static str| (name, clamp(core.hands.tables().count(name)));
    Scrape {
        datapath: core.hands.metrics(),
        gauges: vec![
            ("endpoints", "Pods of this node that are connected", clamp(core.ipam.leases().count())),
            ("ipam_addresses_used", "IPv4 addresses in use", clamp(usage.used)),
            (
                "ipam_addresses_capacity",
                "IPv4 addresses that can be given",
                i64::try_from(usage.total).unwrap_or(i64::MAX),
            ),
            ("service_frontends", "Service frontends", clamp(core.frontends().count())),
            ("identities", "Identities of the cluster", clamp(core.store.intent().identities.len())),
            ("object_problems", "Objects that ask for something that can't be", clamp(core.problems.len())),
        ],
        rows: NAMES.iter().map(|n| rows(n)).collect(),
        errors: NAMES.iter().map(|n| (*n, clamp(core.hands.tables().errors(n)))).collect(),
    }
}
