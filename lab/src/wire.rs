//! The fabric: a bridge in a namespace of its own, and a cable from it to every node and outside host.
//!
//! ```text
//! pleo-LAB-fabric            pleo-LAB-NODE
//!   br0 --- p0 ============== ens5
//!     \---- p1 ============== ens5
//! ```
//!
//! Because the bridge has its own namespace, labs with the same addresses stand side by side, and the machine's own
//! network is not touched.

use std::fs;
use std::net::IpAddr;

use anyhow::Context;
use ipnet::IpNet;
use pleopod_sys_link::{End, Kind, LinkChange, Netlink, Route, Target, VethSpec};
use pleopod_sys_netns::Netns;

use crate::layout::Layout;
use crate::topology::Topology;

/// The bridge's name inside the fabric's namespace.
pub const BRIDGE: &str = "br0";
/// Protocol of the routes a lab sets (`ip route` prints `proto static`): those of an administrator, never an agent's.
const STATIC: u8 = 4;

/// One host on the wire: a node or an outside host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Name of the fabric's end of its cable.
    pub port: String,
    /// Its address on the wire.
    pub address: IpNet,
    /// More addresses, on its loopback.
    pub more: Vec<IpAddr>,
    /// Routes: destination and next hop.
    pub routes: Vec<(IpNet, IpAddr)>,
}

/// Every host of a topology, nodes first, with the cable each has.
#[must_use]
pub fn hosts(topology: &Topology) -> Vec<Host> {
    let prefix = topology.fabric.cidr.prefix_len();
    let on_wire = |address: IpAddr| IpNet::new(address, prefix).unwrap_or_else(|_| IpNet::from(address));
    let everywhere = |via: IpAddr| {
        let any = if via.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0_u16; 8]) };
        IpNet::new(any, 0).map(|any| (any, via)).ok()
    };
    let gateway = topology.gateway().map(|host| host.address);
    let nodes = topology.nodes.iter().map(|node| Host {
        name: node.name.clone(),
        port: String::new(),
        address: on_wire(node.address),
        more: Vec::new(),
        routes: gateway.and_then(everywhere).into_iter().collect(),
    });
    let outside = topology.outside.iter().map(|host| {
        let pods = topology.nodes.iter().filter_map(|node| Some((node.pod_cidr?, node.address)));
        let others = topology.outside.iter().filter(|other| other.name != host.name && !other.gateway);
        let worlds =
            others.flat_map(|other| other.addresses.iter().map(|more| (IpNet::from(*more), other.address)));
        let mut routes: Vec<_> = if host.pod_routes { pods.collect() } else { Vec::new() };
        routes.extend(worlds.filter(|_| host.gateway));
        routes.extend(gateway.filter(|_| !host.gateway).and_then(everywhere));
        Host {
            name: host.name.clone(),
            port: String::new(),
            address: on_wire(host.address),
            more: host.addresses.clone(),
            routes,
        }
    });
    let mut all: Vec<Host> = nodes.chain(outside).collect();
    for (index, host) in all.iter_mut().enumerate() {
        host.port = format!("p{index}");
    }
    all
}

/// Brings up the loopback of a namespace.
///
/// # Errors
/// What netlink says.
pub fn loopback_up(netns: &Netns) -> anyhow::Result<()> {
    Ok(netns.run(|| Netlink::open()?.set_up(Target::Name("lo")))??)
}

/// Makes the fabric; one that is there is used.
///
/// # Errors
/// What making the namespace or the bridge says.
pub fn make_fabric(layout: &Layout, mtu: u32) -> anyhow::Result<()> {
    let netns = namespace(&layout.fabric_netns())?;
    loopback_up(&netns)?;
    let mut netlink = netns.run(Netlink::open)??;
    if netlink.link(Target::Name(BRIDGE))?.is_none() {
        netlink.create_link(BRIDGE, Kind::Bridge).context("making the bridge")?;
    }
    let change = LinkChange { up: Some(true), mtu: Some(mtu), ..LinkChange::default() };
    netlink.change_link(Target::Name(BRIDGE), &change).context("bringing up the bridge")?;
    Ok(())
}

/// Makes a host's namespace, its cable, addresses and routes; what is there already stays.
///
/// # Errors
/// What the kernel says, with what was being made.
pub fn plug(layout: &Layout, host: &Host, uplink: &str, mtu: u32) -> anyhow::Result<()> {
    let fabric = Netns::open_named(&layout.fabric_netns())?;
    let netns = namespace(&layout.netns(&host.name))?;
    netns.run(sysctls)?.context("setting sysctls")?;
    loopback_up(&netns)?;
    let mut bridge_side = fabric.run(Netlink::open)??;
    let mut host_side = netns.run(Netlink::open)??;
    if host_side.link(Target::Name(uplink))?.is_none() {
        use std::os::fd::AsFd;
        let cable = VethSpec {
            near: End { name: &host.port, mac: None, netns: None },
            far: End { name: uplink, mac: None, netns: Some(netns.as_fd()) },
            mtu,
            alias: &host.name,
        };
        bridge_side.create_veth(&cable)?;
    }
    let bridge = bridge_side.link(Target::Name(BRIDGE))?.context("the fabric has no bridge")?;
    let join = LinkChange { up: Some(true), controller: Some(bridge.index), ..LinkChange::default() };
    bridge_side.change_link(Target::Name(&host.port), &join)?;
    host_side.set_up(Target::Name(uplink))?;
    let link = host_side.link(Target::Name(uplink))?.context("the cable vanished")?;
    let local = host_side.link(Target::Name("lo"))?.context("no loopback")?;
    host_side.add_address(link.index, host.address)?;
    for more in &host.more {
        host_side.add_address(local.index, IpNet::from(*more))?;
    }
    for (destination, gateway) in &host.routes {
        let route = Route { protocol: STATIC, ..Route::via(*destination, *gateway) };
        host_side.replace_route(&route)?;
    }
    Ok(())
}

/// Gives a host one more address, on its loopback.
///
/// # Errors
/// What netlink says.
pub fn add_address(netns: &Netns, address: IpAddr) -> anyhow::Result<()> {
    let mut netlink = netns.run(Netlink::open)??;
    let local = netlink.link(Target::Name("lo"))?.context("no loopback")?;
    Ok(netlink.add_address(local.index, IpNet::from(address))?)
}

/// Takes a host's cable down or up at the fabric's end; the host sees its carrier go.
///
/// # Errors
/// When there is no such cable.
pub fn set_cable(layout: &Layout, port: &str, up: bool) -> anyhow::Result<()> {
    let fabric = Netns::open_named(&layout.fabric_netns())?;
    let mut netlink = fabric.run(Netlink::open)??;
    let change = LinkChange { up: Some(up), ..LinkChange::default() };
    netlink.change_link(Target::Name(port), &change)?;
    Ok(())
}

/// Whether a host's cable carries.
///
/// # Errors
/// When the fabric can't be asked.
pub fn cable_up(layout: &Layout, port: &str) -> anyhow::Result<bool> {
    let fabric = Netns::open_named(&layout.fabric_netns())?;
    let mut netlink = fabric.run(Netlink::open)??;
    Ok(netlink.link(Target::Name(port))?.is_some_and(|link| link.up))
}

fn namespace(name: &str) -> anyhow::Result<Netns> {
    if pleopod_sys_netns::exists(name) {
        return Ok(Netns::open_named(name)?);
    }
    Ok(pleopod_sys_netns::create(name)?)
}

/// Every host of a lab forwards, as Kubernetes asks of nodes and a router does.
fn sysctls() -> std::io::Result<()> {
    for (name, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
        match fs::write(format!("/proc/sys/net/{name}"), value) {
            Err(error) if name.starts_with("ipv6") && error.kind() == std::io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_lead_out_and_the_outside_leads_back() {
        let mut topology = Topology::built_in(2).expect("topology");
        topology.outside[0].pod_routes = true;
        let shown: Vec<String> = hosts(&topology)
            .iter()
            .map(|host| format!("{} {} {} {:?}", host.name, host.port, host.address, host.routes))
            .collect();
        assert_eq!(
            shown,
            [
                "k8s-s p0 192.168.10.10/24 [(0.0.0.0/0, 192.168.10.1)]",
                "k8s-w1 p1 192.168.10.101/24 [(0.0.0.0/0, 192.168.10.1)]",
                "outside p2 192.168.10.1/24 [(172.16.0.0/24, 192.168.10.10), (172.16.1.0/24, 192.168.10.101)]",
            ]
        );
    }
}
