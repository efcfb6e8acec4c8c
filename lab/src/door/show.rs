//! What there is.

use pleopod_lab::layout::{DEFAULT_LAB, Layout};
use pleopod_lab::process::Owned;
use pleopod_lab::wire;

use super::{running, topology_of};

pub fn list() -> anyhow::Result<()> {
    println!("{:<20} {:<8} {:<6} STATE DIRECTORY", "NAME", "DAEMON", "NODES");
    for lab in Layout::new(DEFAULT_LAB).labs() {
        let layout = Layout::new(&lab);
        let nodes =
            topology_of(&layout).map_or_else(|_| "?".to_owned(), |found| found.nodes.len().to_string());
        println!("{lab:<20} {:<8} {nodes:<6} {}", alive(&layout.daemon_record()), layout.state().display());
    }
    Ok(())
}

pub fn status(name: Option<&str>) -> anyhow::Result<()> {
    let layout = running(name)?;
    let topology = topology_of(&layout)?;
    println!("Lab:        {}", layout.lab);
    println!("Daemon:     {}", alive(&layout.daemon_record()));
    println!("Kubeconfig: {}", layout.kubeconfig().display());
    println!("State:      {} (objects of the API server: in memory)", layout.state().display());
    println!();
    println!("{:<16} {:<8} {:<18} {:<6} {:<8} NETNS", "HOST", "ROLE", "ADDRESS", "CABLE", "AGENT");
    for host in wire::hosts(&topology) {
        let node = topology.nodes.iter().find(|node| node.name == host.name);
        let cable = match wire::cable_up(&layout, &host.port) {
            Ok(true) => "up",
            Ok(false) => "cut",
            Err(_) => "gone",
        };
        let agent = node.map_or("-", |node| alive(&layout.node(&node.name).agent_record()));
        let role = if node.is_some() { "node" } else { "outside" };
        let (name, address, netns) = (&host.name, host.address.to_string(), layout.netns(&host.name));
        println!("{name:<16} {role:<8} {address:<18} {cable:<6} {agent:<8} {netns}");
    }
    Ok(())
}

fn alive(record: &std::path::Path) -> &'static str {
    match Owned::read(record) {
        Some(process) if process.alive() => "running",
        Some(_) => "dead",
        None => "none",
    }
}
