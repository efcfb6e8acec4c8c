//! Reference paths: the same number of cables and namespaces as a lab has, with nothing of ours at work.
//!
//! ```text
//! R0   end ══ end                                           one cable
//! near end ══ node ══ end                                   two pods of one node
//! far  end ══ node ══ fabric(br0) ══ node ══ end            two pods of two nodes
//! ```

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use ipnet::IpNet;
use pleopod_sys_bpf::reference::{self, Helper};
use pleopod_sys_link::{End, Kind, LinkChange, Netlink, Route, Target, VethSpec};
use pleopod_sys_netns::Guard;

use crate::ends::{Place, Server};

/// MTU of every cable, as the lab's.
const MTU: u32 = 9001;
/// Where the far end answers.
const PORT: u16 = 7000;
/// The far end's address.
const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 2));
/// The near end's address.
const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 1));
/// What pods call their router where the kernel forwards.
const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 1, 1));

/// How packets get across a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// One BPF helper call.
    Redirect,
    /// The kernel's own forwarding.
    Forwarding,
}

/// A path with an end that answers; gone when dropped.
#[derive(Debug)]
pub struct Path {
    near: Guard,
    _server: Server,
    _rest: Vec<Guard>,
    _links: Vec<OwnedFd>,
}

/// One side of a cable.
struct Port<'a> {
    netns: &'a Guard,
    name: &'a str,
    mac: [u8; 6],
}

// === impl Path ===

impl Path {
    /// Two namespaces and one cable.
    pub fn direct(cpu: usize) -> anyhow::Result<Self> {
        let (near, far) = (Guard::new("near")?, Guard::new("far")?);
        let (a, b) = (port(&near, "eth0", 1), port(&far, "eth0", 2));
        cable(&a, &b)?;
        own(&a, IpNet::new(NEAR, 24)?)?;
        own(&b, IpNet::new(FAR, 24)?)?;
        Self::serving(near, far, Vec::new(), Vec::new(), cpu)
    }

    /// Two pods of one node.
    pub fn same_node(crossing: Crossing, cpu: usize) -> anyhow::Result<Self> {
        let (near, far, node) = (Guard::new("near")?, Guard::new("far")?, Guard::new("node")?);
        let (a, b) = (port(&near, "eth0", 1), port(&far, "eth0", 2));
        let (host_a, host_b) = (port(&node, "lxca", 3), port(&node, "lxcb", 4));
        cable(&host_a, &a)?;
        cable(&host_b, &b)?;
        let mut links = Vec::new();
        match crossing {
            Crossing::Redirect => {
                neighbours(&a, &b)?;
                links.push(host_a.attach(Helper::RedirectPeer, host_b.index()?)?);
                links.push(host_b.attach(Helper::RedirectPeer, host_a.index()?)?);
            }
            Crossing::Forwarding => {
                pod(&a, NEAR, &host_a)?;
                pod(&b, FAR, &host_b)?;
                forward(&node)?;
            }
        }
        Self::serving(near, far, vec![node], links, cpu)
    }

    /// Two pods of two nodes, whose cables meet at a bridge as in a lab.
    pub fn across(crossing: Crossing, cpu: usize) -> anyhow::Result<Self> {
        let (near, far) = (Guard::new("near")?, Guard::new("far")?);
        let (node_a, node_b, fabric) = (Guard::new("node-a")?, Guard::new("node-b")?, Guard::new("fabric")?);
        let (a, b) = (port(&near, "eth0", 1), port(&far, "eth0", 2));
        let (host_a, host_b) = (port(&node_a, "lxca", 3), port(&node_b, "lxcb", 4));
        let (up_a, up_b) = (port(&node_a, "ens5", 5), port(&node_b, "ens5", 6));
        let (wire_a, wire_b) = (port(&fabric, "p0", 7), port(&fabric, "p1", 8));
        cable(&host_a, &a)?;
        cable(&host_b, &b)?;
        cable(&wire_a, &up_a)?;
        cable(&wire_b, &up_b)?;
        bridge(&fabric, &[&wire_a, &wire_b])?;
        let mut links = Vec::new();
        match crossing {
            Crossing::Redirect => {
                neighbours(&a, &b)?;
                for (host, up) in [(&host_a, &up_a), (&host_b, &up_b)] {
                    links.push(host.attach(Helper::Redirect, up.index()?)?);
                    links.push(up.attach(Helper::RedirectPeer, host.index()?)?);
                }
            }
            Crossing::Forwarding => {
                pod(&a, NEAR, &host_a)?;
                pod(&b, FAR, &host_b)?;
                let (net_a, net_b): (IpNet, IpNet) = ("10.8.0.1/24".parse()?, "10.8.0.2/24".parse()?);
                own(&up_a, net_a)?;
                own(&up_b, net_b)?;
                up_a.netlink()?.replace_route(&Route::via(IpNet::from(FAR), net_b.addr()))?;
                up_b.netlink()?.replace_route(&Route::via(IpNet::from(NEAR), net_a.addr()))?;
                forward(&node_a)?;
                forward(&node_b)?;
            }
        }
        Self::serving(near, far, vec![node_a, node_b, fabric], links, cpu)
    }

    fn serving(
        near: Guard,
        far: Guard,
        mut rest: Vec<Guard>,
        links: Vec<OwnedFd>,
        cpu: usize,
    ) -> anyhow::Result<Self> {
        let server = Place::in_netns(far.path()).serve(SocketAddr::new(FAR, PORT), cpu)?;
        rest.push(far);
        Ok(Self { near, _server: server, _rest: rest, _links: links })
    }

    /// Where to ask from.
    pub fn near(&self) -> Place {
        Place::in_netns(self.near.path())
    }

    /// Whom to ask.
    pub fn far(&self) -> SocketAddr {
        SocketAddr::new(FAR, PORT)
    }
}

fn port<'a>(netns: &'a Guard, name: &'a str, number: u8) -> Port<'a> {
    Port { netns, name, mac: [0x02, 0, 0, 0, 0, number] }
}

// === impl Port ===

impl Port<'_> {
    fn netlink(&self) -> anyhow::Result<Netlink> {
        Ok(self.netns.run(Netlink::open)??)
    }

    fn index(&self) -> anyhow::Result<u32> {
        let link = self.netlink()?.link(Target::Name(self.name))?;
        Ok(link.with_context(|| format!("{} is gone", self.name))?.index)
    }

    /// A reference program at what comes in here.
    fn attach(&self, helper: Helper, to: u32) -> anyhow::Result<OwnedFd> {
        let program = reference::redirect(helper, to)?;
        let index = self.index()?;
        Ok(self.netns.run(|| reference::attach(program.as_fd(), index))??)
    }
}

fn cable(near: &Port<'_>, far: &Port<'_>) -> anyhow::Result<()> {
    near.netlink()?.create_veth(&VethSpec {
        near: End { name: near.name, mac: Some(near.mac), netns: None },
        far: End {
            name: far.name,
            mac: Some(far.mac),
            netns: Some(std::fs::File::open(far.netns.path())?.as_fd()),
        },
        mtu: MTU,
        alias: "",
    })?;
    near.netlink()?.set_up(Target::Name(near.name))?;
    Ok(far.netlink()?.set_up(Target::Name(far.name))?)
}

fn own(port: &Port<'_>, net: IpNet) -> anyhow::Result<()> {
    Ok(port.netlink()?.add_address(port.index()?, net)?)
}

/// Both ends on one subnet, each with the other's MAC: nobody on the way needs to touch a header.
fn neighbours(a: &Port<'_>, b: &Port<'_>) -> anyhow::Result<()> {
    own(a, IpNet::new(NEAR, 24)?)?;
    own(b, IpNet::new(FAR, 24)?)?;
    a.netlink()?.replace_neighbour(a.index()?, FAR, b.mac)?;
    Ok(b.netlink()?.replace_neighbour(b.index()?, NEAR, a.mac)?)
}

/// A pod with a route to everywhere, and its node's route to it.
fn pod(pod: &Port<'_>, address: IpAddr, host: &Port<'_>) -> anyhow::Result<()> {
    own(pod, IpNet::from(address))?;
    let (mut inside, mut outside) = (pod.netlink()?, host.netlink()?);
    inside.replace_neighbour(pod.index()?, ROUTER, host.mac)?;
    inside.replace_route(&Route::on_link(IpNet::from(ROUTER), pod.index()?))?;
    let any = IpNet::new(IpAddr::from([0, 0, 0, 0]), 0)?;
    inside.replace_route(&Route { ifindex: Some(pod.index()?), ..Route::via(any, ROUTER) })?;
    outside.replace_neighbour(host.index()?, address, pod.mac)?;
    Ok(outside.replace_route(&Route::on_link(IpNet::from(address), host.index()?))?)
}

fn forward(node: &Guard) -> anyhow::Result<()> {
    node.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?.context("net.ipv4.ip_forward")
}

fn bridge(fabric: &Guard, ports: &[&Port<'_>]) -> anyhow::Result<()> {
    let mut netlink = fabric.run(Netlink::open)??;
    netlink.create_link("br0", Kind::Bridge)?;
    let up = LinkChange { up: Some(true), mtu: Some(MTU), ..LinkChange::default() };
    netlink.change_link(Target::Name("br0"), &up)?;
    let index = netlink.link(Target::Name("br0"))?.context("br0 is gone")?.index;
    for port in ports {
        let join = LinkChange { controller: Some(index), ..LinkChange::default() };
        netlink.change_link(Target::Name(port.name), &join)?;
    }
    Ok(())
}
