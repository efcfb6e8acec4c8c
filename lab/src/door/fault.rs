//! Breaking things.

use std::process::Command;

use anyhow::{Context, bail};
use pleopod_lab::daemon::{self, Ask};
use pleopod_lab::layout::Layout;
use pleopod_lab::wire;
use pleopod_sys_netns::Netns;

use super::args::{Cable, Fault};
use super::{running, topology_of};

pub async fn run(name: Option<&str>, fault: Fault) -> anyhow::Result<()> {
    let layout = running(name)?;
    match fault {
        Fault::Agent { node, act } => tell(&layout, &Ask::Agent { node, act }).await,
        Fault::Api { act } => tell(&layout, &Ask::Api(act)).await,
        Fault::Link { host, act } => wire::set_cable(&layout, &port(&layout, &host)?, act == Cable::Heal),
        Fault::Delay { host, milliseconds } => {
            netem(&layout, &host, milliseconds != 0, &["delay", &format!("{milliseconds}ms")])
        }
        Fault::Drop { host, percent } => {
            netem(&layout, &host, percent != 0, &["loss", &format!("{percent}%")])
        }
    }
}

async fn tell(layout: &Layout, ask: &Ask) -> anyhow::Result<()> {
    daemon::ask(&layout.socket(), ask, |_| ()).await
}

fn port(layout: &Layout, host: &str) -> anyhow::Result<String> {
    let hosts = wire::hosts(&topology_of(layout)?);
    let found = hosts.iter().find(|known| known.name == host).map(|known| known.port.clone());
    found.with_context(|| {
        let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        format!("no host {host} in lab {}; there is {}", layout.lab, known.join(", "))
    })
}

/// Asks the kernel for a lossy or slow cable, on the way to the host. Not every kernel has it.
fn netem(layout: &Layout, host: &str, on: bool, how: &[&str]) -> anyhow::Result<()> {
    let port = port(layout, host)?;
    let fabric = Netns::open_named(&layout.fabric_netns())?;
    let verb = if on { "replace" } else { "del" };
    let mut tc = Command::new("tc");
    tc.args(["qdisc", verb, "dev", &port, "root"]);
    if on {
        tc.arg("netem").args(how);
    }
    let out = fabric.run(|| tc.output())?.context("running tc")?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("qdisc kind is unknown") || said.contains("Specified qdisc") {
        bail!(
            "this kernel has no netem (sch_netem), so a cable can't be slow or lossy; `fault link {host} cut` works"
        );
    }
    bail!("tc: {}", said.trim())
}
