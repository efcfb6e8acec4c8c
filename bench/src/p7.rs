//! P7: how long Services take to be in force. Goals: 10,000 loaded in 10 ms; one change p99 at most 1 ms in the agent; API
//! answer to first new connection p50 at most 10 ms; 100,000 cold at most 1 s.
//!
//! The agent's part is measured without the API: intent in memory, planned and written to maps of the real object in a bpffs of
//! its own. The last is measured through a lab: an EndpointSlice is made, and a pod connects to its Service.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use pleopod_apply::kernel;
use pleopod_plan::Services;
use pleopod_sys_bpf::{LoadOptions, Loaded, mount};
use serde_json::json;

use crate::ends::Place;
use crate::exchange;
use crate::knock::Knocker;
use crate::lab::{Bins, Lab, Pod};
use crate::latency::Samples;
use crate::load::Load;
use crate::rounds::{Spread, Turns};
use crate::synthetic;

/// Changes of one Service that are timed.
const CHANGES: u32 = 2000;

/// Prints the times.
pub fn run(bins: &Bins, turns: &Turns) -> anyhow::Result<()> {
    println!("\nP7 Service programming ({} backends each)", synthetic::BACKENDS);
    // A process of its own, that can ask for a better place in the CPU's queue.
    let mut alone = Place::default().command("cold")?;
    alone.args(["--rounds", &turns.rounds.to_string(), "--cpu", &turns.cpu.to_string()]);
    anyhow::ensure!(alone.status()?.success(), "Services could not be written");
    through_the_api(bins, turns)
}

/// The agent's part, on one CPU.
pub fn in_memory(turns: &Turns) -> anyhow::Result<()> {
    exchange::pin(turns.cpu)?;
    let load = Load::now();
    for count in [10_000, 100_000] {
        cold(count, turns.rounds.clamp(1, 10))?;
    }
    println!("  {}", load.since());
    Ok(())
}

fn cold(count: u32, rounds: usize) -> anyhow::Result<()> {
    let intent = synthetic::services(count);
    let (mut plans, mut writes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let bpffs = std::env::temp_dir().join(format!("pleo-t-{}-bench", std::process::id()));
        mount::ensure_bpffs(&bpffs)?;
        let changes = (round + 1 == rounds).then(|| intent.clone());
        let outcome = walk(&intent, changes, count, &bpffs.join("pleopod"));
        nix::mount::umount2(&bpffs, nix::mount::MntFlags::MNT_DETACH)?;
        std::fs::remove_dir(&bpffs)?;
        let (plan, write) = outcome?;
        plans.push(plan.as_secs_f64() * 1e3);
        writes.push(write.as_secs_f64() * 1e3);
    }
    let all = Spread::of(plans.iter().zip(&writes).map(|(a, b)| a + b));
    let (plan, write) = (Spread::of(plans.into_iter()), Spread::of(writes.into_iter()));
    println!(
        "  {count} Services cold: {:.1} ms ({:.1} to {:.1}): plan {:.1}, maps {:.1}   (goal: 10,000 <= 10 ms, 100,000 <= 1 s)",
        all.median, all.low, all.high, plan.median, write.median
    );
    Ok(())
}

/// Plans and writes everything; then, if there is an intent to change, changes one slice after the other.
fn walk(
    intent: &pleopod_model::intent::Intent,
    changes: Option<pleopod_model::intent::Intent>,
    count: u32,
    pins: &Path,
) -> anyhow::Result<(Duration, Duration)> {
    let max_entries = vec![
        ("pleo_lb_fe", 2 * count + 1024),
        ("pleo_lb_addr", count + 1024),
        ("pleo_lb_turn", count + 1024),
        ("pleo_lb_be", 2 * count + 4096),
        ("pleo_lb_table", 4 * count + 4096),
    ];
    let options = LoadOptions { pins: pins.to_owned(), config: pleopod_abi::Config::STANDARD, max_entries };
    let loaded = Loaded::load(&options)?;
    let mut tables = kernel::tables(&loaded, 1021)?;
    let mut services = Services::default();
    let start = Instant::now();
    services.rebuild(intent, &synthetic::node());
    let planned = start.elapsed();
    tables.converge_services(services.frontends(), None);
    let written = start.elapsed() - planned;
    anyhow::ensure!(tables.failed().is_empty(), "rows could not be written: {:?}", tables.failed().first());
    if let Some(mut intent) = changes {
        let node = synthetic::node();
        let mut samples = Samples::with_capacity(CHANGES as usize);
        for round in 0..CHANGES {
            let n = round * 7919 % count;
            let name = synthetic::slice_name(n);
            intent.endpoint_slices.insert(name.clone(), synthetic::slice(n, round + 1));
            let start = Instant::now();
            let touched = services.update(&intent, &node, &[], &[name]);
            let (rows, _) = tables.converge_services(services.frontends(), Some(&touched));
            samples.push(start.elapsed());
            anyhow::ensure!(rows > 0, "a change that changed nothing");
        }
        let one = samples.summary().context("no change")?;
        println!(
            "  one change among {count}: p50 {:.1} us, p99 {:.1} us, max {:.1} us   (goal p99 <= 1000 us)",
            one.p50 / 1e3,
            one.p99 / 1e3,
            one.max / 1e3
        );
    }
    Ok((planned, written))
}

fn through_the_api(bins: &Bins, turns: &Turns) -> anyhow::Result<()> {
    let lab = Lab::up(bins)?;
    let (client, server) = (lab.pod("client", "n1")?, lab.pod("server", "n1")?);
    let _server = server.place.serve(SocketAddr::new(server.address, 7000), turns.cpu)?;
    lab.apply(&[json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "fresh", "namespace": "default"},
        // No selector: its slice is ours.
        "spec": {"ports": [{"port": 80, "targetPort": 7000}]},
    })])?;
    let to = lab.cluster_ip("fresh", 80)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = Load::now();
    let samples = runtime.block_on(slices(&lab, &client, &server, to, turns.rounds * 10))?;
    let summary = samples.summary().context("no sample")?;
    println!(
        "  API answer (EndpointSlice created) to first connection: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, {} times   (goal p50 <= 10 ms)",
        summary.p50 / 1e6,
        summary.p90 / 1e6,
        summary.p99 / 1e6,
        summary.count
    );
    println!("  {}", load.since());
    Ok(())
}

async fn slices(
    lab: &Lab,
    client: &Pod,
    server: &Pod,
    to: SocketAddr,
    times: usize,
) -> anyhow::Result<Samples> {
    let config = Kubeconfig::read_from(lab.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let api: Api<EndpointSlice> = Api::default_namespaced(Client::try_from(config)?);
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "fresh-1", "labels": {"kubernetes.io/service-name": "fresh"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 7000, "protocol": "TCP"}],
        "endpoints": [{"addresses": [server.address], "conditions": {"ready": true}}],
    }))?;
    let mut knocker = Knocker::start(&client.place)?;
    let mut samples = Samples::with_capacity(times);
    for _ in 0..times {
        api.create(&PostParams::default(), &slice).await?;
        samples.push(knocker.knock(to)?);
        api.delete("fresh-1", &DeleteParams::default()).await?;
        // The agent hears of the end before the next beginning.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(samples)
}
