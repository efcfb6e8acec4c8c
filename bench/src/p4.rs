//! P4: a connection to a Service's address beside one to the pod's own, with few, 10,000 and 100,000 Services. Goals: at most
//! 1.01 x; the connect() hook at most 300 ns; nothing per packet.
//!
//! The many Services are planned by `plan` and written by `apply` into the maps of the node's agent, which is stopped
//! meanwhile. The one that is measured comes through the API.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pleopod_apply::Error;
use pleopod_apply::balance::maglev;
use pleopod_plan::Services;
use pleopod_sys_bpf::Map;
use serde_json::Value;

use crate::exchange::Mode;
use crate::lab::{Bins, Lab, Pod, service};
use crate::rounds::{Side, Turns};
use crate::synthetic;

/// Whether the kernel times BPF programs.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Prints the comparisons.
pub fn run(bins: &Bins, turns: &Turns) -> anyhow::Result<()> {
    let lab = Lab::up(bins)?;
    let (client, server) = (lab.pod("client", "n1")?, lab.pod("server", "n1")?);
    lab.apply(&[service("measured", "server", 7000)])?;
    let pod = SocketAddr::new(server.address, 7000);
    let cluster = lab.cluster_ip("measured", 80)?;
    let _server = server.place.serve(pod, turns.cpu)?;
    wait_for(&client, cluster, turns)?;
    lab.run(&["fault", "agent", "n1", "stop"], "")?;
    for count in [0, 10_000, 100_000] {
        load(&lab.pins("n1"), count)?;
        compare(&client, pod, cluster, count, turns)?;
        let link = lab.pins("n1").join("links/sock_connect4");
        let per = |to| hook(&client, to, &link, turns);
        println!(
            "  connect() hook: {:.0} ns to the pod's address, {:.0} ns to the ClusterIP (goal <= 300 ns; the kernel's own count, \
             its timing included)",
            per(pod)?,
            per(cluster)?
        );
    }
    lab.run(&["fault", "agent", "n1", "start"], "")?;
    Ok(())
}

fn compare(
    client: &Pod,
    pod: SocketAddr,
    cluster: SocketAddr,
    count: u32,
    turns: &Turns,
) -> anyhow::Result<()> {
    let many = if count == 0 { "few".to_owned() } else { count.to_string() };
    for (mode, what) in [
        (Mode::Crr, "connect/request/response (goal <= 1.01 x pod)"),
        (Mode::Rr, "request/response on an open connection (nothing per packet: 1.00 x pod)"),
    ] {
        if mode == Mode::Rr && count == 10_000 {
            continue;
        }
        let sides = vec![
            Side::new("pod's own address", || client.place.ask(pod, mode, turns)),
            Side::new("ClusterIP", || client.place.ask(cluster, mode, turns)),
        ];
        turns.run(sides)?.print(&format!("P4 with {many} Services, {what}"), &[0]);
    }
    Ok(())
}

/// Loads synthetic Services into the maps of a node.
fn load(pins: &Path, count: u32) -> anyhow::Result<()> {
    let open = |name: &'static str| {
        Map::open(&pins.join("maps").join(name)).map_err(|source| Error::Map { map: name, source })
    };
    let mut kernel = pleopod_apply::kernel::services(&open, maglev::size(1021))?;
    kernel.load()?;
    let mut services = Services::default();
    services.rebuild(&synthetic::services(count), &synthetic::node());
    let keys = services.frontends().keys().copied().collect();
    kernel.converge_some(services.frontends(), &keys);
    let errors = kernel.frontends().errors().len() + kernel.backends().errors().len();
    if errors > 0 {
        bail!("{errors} rows of {count} Services could not be written");
    }
    Ok(())
}

/// The agent has heard of the Service and its backend.
fn wait_for(client: &Pod, to: SocketAddr, turns: &Turns) -> anyhow::Result<()> {
    let short = Turns { span: Duration::from_millis(10), ..*turns };
    let mut last = None;
    for _ in 0..50 {
        match client.place.ask(to, Mode::Crr, &short) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no try was made"))).context("the Service does not answer")
}

/// Mean time of a program's runs while a client connects to `to`, nanoseconds.
fn hook(client: &Pod, to: SocketAddr, link: &Path, turns: &Turns) -> anyhow::Result<f64> {
    let before = fs::read_to_string(STATS)?;
    fs::write(STATS, "1")?;
    let measure = || -> anyhow::Result<f64> {
        let start = run_time(link)?;
        client.place.ask(to, Mode::Crr, &Turns { span: Duration::from_secs(1), ..*turns })?;
        let end = run_time(link)?;
        Ok((end.0 - start.0) as f64 / (end.1 - start.1).max(1) as f64)
    };
    let measured = measure();
    fs::write(STATS, before)?;
    measured
}

/// Time spent in the program of a pinned link, and how often it ran, as bpftool tells.
fn run_time(link: &Path) -> anyhow::Result<(u64, u64)> {
    let ask = |args: &[&str]| -> anyhow::Result<Value> {
        let out = Command::new("bpftool").arg("-j").args(args).output().context("bpftool")?;
        serde_json::from_slice(&out.stdout).with_context(|| format!("bpftool {}", args.join(" ")))
    };
    let shown = ask(&["link", "show", "pinned", &link.display().to_string()])?;
    let program =
        shown.get("prog_id").or_else(|| shown.pointer("/0/prog_id")).context("a link without a program")?;
    let shown = ask(&["prog", "show", "id", &program.to_string()])?;
    let number = |key: &str| shown.get(key).and_then(Value::as_u64).unwrap_or(0);
    Ok((number("run_time_ns"), number("run_cnt")))
}
