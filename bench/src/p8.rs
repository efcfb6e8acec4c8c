//! P8: how long a pod takes to be connected and disconnected, through the CNI binary and the node's agent. Goals: ADD p50 at most
//! 4 ms and p99 15 ms; 20 at once 60 ms, 100 at once 0.8 s; DEL at most 3 ms.
//!
//! Every attachment is another sandbox of one pod that the agent knows. The namespace is the runtime's work and made before. The
//! floor is what the kernel asks of anybody: a namespace and a veth pair, set up.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pleopod_sys_link::{End, Netlink, Target, VethSpec};
use pleopod_sys_netns::Guard;
use serde_json::Value;

use crate::lab::{Bins, Lab};
use crate::latency::Samples;
use crate::load::Load;
use crate::rounds::{Spread, Turns};

/// Prints the times.
pub fn run(bins: &Bins, turns: &Turns) -> anyhow::Result<()> {
    let lab = Lab::up(bins)?;
    let uid = lab.pod("many", "n1")?.uid;
    let plugin = Plugin::of(&lab, bins, &uid)?;
    println!("\nP8 CNI (goal: ADD p50 <= 4 ms, p99 <= 15 ms; DEL <= 3 ms)");
    let load = Load::now();
    one_by_one(&plugin, turns.rounds * 20)?;
    println!("  {}", load.since());
    for (count, rounds, goal) in [(20, turns.rounds, "60 ms"), (100, turns.rounds.div_ceil(3), "800 ms")] {
        let load = Load::now();
        at_once(&plugin, count, rounds, goal)?;
        println!("  {}", load.since());
    }
    Ok(())
}

fn one_by_one(plugin: &Plugin, times: usize) -> anyhow::Result<()> {
    let node = Guard::new("floor")?;
    let mut samples: [Samples; 5] = Default::default();
    for n in 0..=times {
        let floor = floor(&node, n)?;
        let sandbox = Sandbox::new(n)?;
        let start = Instant::now();
        plugin.call("VERSION", &sandbox)?;
        let version = start.elapsed();
        let start = Instant::now();
        plugin.call("STATUS", &sandbox)?;
        let status = start.elapsed();
        let start = Instant::now();
        plugin.call("ADD", &sandbox)?;
        let added = start.elapsed();
        let start = Instant::now();
        plugin.call("DEL", &sandbox)?;
        let deleted = start.elapsed();
        // The first turn warms the caches.
        if n > 0 {
            for (samples, took) in samples.iter_mut().zip([floor, version, status, added, deleted]) {
                samples.push(took);
            }
        }
    }
    let [floor, version, status, added, deleted] = samples.map(Samples::summary);
    let floor = floor.context("no sample")?;
    for (name, summary) in [
        ("floor: netns + veth, up", Some(floor.clone())),
        ("VERSION: the process", version),
        ("STATUS: and a call", status),
        ("ADD", added),
        ("DEL", deleted),
    ] {
        let s = summary.context("no sample")?;
        println!(
            "  {name:<24} p50 {:>6.2} ms  p90 {:>6.2} ms  p99 {:>6.2} ms  max {:>6.2} ms  {:.2} x floor, {} times",
            s.p50 / 1e6,
            s.p90 / 1e6,
            s.p99 / 1e6,
            s.max / 1e6,
            s.p50 / floor.p50,
            s.count
        );
    }
    Ok(())
}

fn at_once(plugin: &Plugin, count: usize, rounds: usize, goal: &str) -> anyhow::Result<()> {
    let (mut floors, mut adds, mut dels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let node = Guard::new("floor")?;
        floors.push(together(&(0..count).collect::<Vec<_>>(), |n| floor(&node, *n).map(drop))?);
        let sandboxes = (0..count).map(Sandbox::new).collect::<anyhow::Result<Vec<_>>>()?;
        adds.push(together(&sandboxes, |sandbox| plugin.call("ADD", sandbox))?);
        dels.push(together(&sandboxes, |sandbox| plugin.call("DEL", sandbox))?);
    }
    let ms = |times: Vec<Duration>| Spread::of(times.into_iter().map(|t| t.as_secs_f64() * 1e3));
    let (floor, add, del) = (ms(floors), ms(adds), ms(dels));
    println!(
        "  {count} at once: floor {:.0} ms, ADD {:.0} ms ({:.0} to {:.0}; {:.2} x floor, goal <= {goal}), DEL {:.0} ms ({:.0} to {:.0}); {rounds} rounds",
        floor.median,
        add.median,
        add.low,
        add.high,
        add.median / floor.median,
        del.median,
        del.low,
        del.high
    );
    Ok(())
}

/// Does `f` to all at the same time; the time until the last is done.
fn together<T: Sync>(all: &[T], f: impl Fn(&T) -> anyhow::Result<()> + Sync) -> anyhow::Result<Duration> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(|| f(one))).collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })?;
    Ok(start.elapsed())
}

/// A namespace and a veth pair into it from `node`, both ends up. What goes away with them is not timed.
fn floor(node: &Guard, n: usize) -> anyhow::Result<Duration> {
    use std::os::fd::AsFd as _;
    let start = Instant::now();
    let sandbox = Guard::new("floor")?;
    let name = format!("lxc{n}");
    let mut netlink = node.run(Netlink::open)??;
    netlink.create_veth(&VethSpec {
        near: End { name: &name, mac: None, netns: None },
        far: End { name: "eth0", mac: None, netns: Some(std::fs::File::open(sandbox.path())?.as_fd()) },
        mtu: 9001,
        alias: "",
    })?;
    netlink.set_up(Target::Name(&name))?;
    sandbox.run(Netlink::open)??.set_up(Target::Name("eth0"))?;
    Ok(start.elapsed())
}

/// A namespace to be attached.
struct Sandbox {
    netns: Guard,
    id: String,
}

/// The plugin as a runtime of the node calls it.
struct Plugin {
    program: PathBuf,
    config: String,
    args: String,
}

// === impl Sandbox ===

impl Sandbox {
    fn new(n: usize) -> anyhow::Result<Self> {
        let netns = Guard::new(&format!("pod{n}"))?;
        let id = format!("bench-{}", netns.name());
        Ok(Self { netns, id })
    }
}

// === impl Plugin ===

impl Plugin {
    fn of(lab: &Lab, bins: &Bins, uid: &str) -> anyhow::Result<Self> {
        let list = lab.node("n1").cni().join("05-pleopod.conflist");
        let list: Value = serde_json::from_slice(&std::fs::read(list)?)?;
        let mut config = list["plugins"][0].clone();
        let fields = config.as_object_mut().context("a conflist without plugins")?;
        for key in ["name", "cniVersion"] {
            fields.insert(key.to_owned(), list[key].clone());
        }
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=many;K8S_POD_UID={uid}");
        Ok(Self { program: bins.path("pleopod-cni"), config: config.to_string(), args })
    }

    fn call(&self, verb: &str, sandbox: &Sandbox) -> anyhow::Result<()> {
        let mut child = Command::new(&self.program)
            .env_clear()
            .envs([("CNI_COMMAND", verb), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/opt/cni/bin")])
            .envs([("CNI_CONTAINERID", sandbox.id.as_str()), ("CNI_ARGS", self.args.as_str())])
            .env("CNI_NETNS", sandbox.netns.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("no standard input")?.write_all(self.config.as_bytes())?;
        let out = child.wait_with_output()?;
        if !out.status.success() {
            bail!("{verb}: {}", String::from_utf8_lossy(&out.stdout).trim());
        }
        Ok(())
    }
}
