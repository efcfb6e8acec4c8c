//! What a node has once: the pair `pleo_host`/`pleo_net` with the router address, and its uplinks.
//!
//! ```text
//!   stack ── pleo_host (router and health addresses, no ARP) ══ pleo_net
//!              │ egress: from_host   ingress: to_host            ingress: to_host
//! ```
//!
//! Every step looks first and changes only what differs, so a restart of the agent disturbs nothing. Call from a thread
//! in the node's network namespace.

use std::net::IpAddr;

use ipnet::IpNet;
use pleopod_sys_link::{End, Link, LinkChange, Netlink, RouteFilter, Target, VethSpec};

use crate::{Error, sysctl};

/// The end that has the router address.
pub const HOST_IFNAME: &str = "pleo_host";
/// Its peer.
pub const NET_IFNAME: &str = "pleo_net";

/// What the base must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSpec {
    /// Addresses of the node that pods talk to: the router's first, then health. Nothing else stays on `pleo_host`.
    pub addresses: Vec<IpAddr>,
    /// MTU of the pair, the uplink's.
    pub mtu: u32,
}

/// The base as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `pleo_host`.
    pub host: Link,
    /// `pleo_net`.
    pub net: Link,
    /// Whether the pair was there before.
    pub restored: bool,
}

/// Makes the pair, its addresses and the node's forwarding as `spec` says.
pub fn prepare(netlink: &mut Netlink, spec: &BaseSpec) -> Result<Base, Error> {
    let restored = pair(netlink, spec.mtu)?;
    for name in [HOST_IFNAME, NET_IFNAME] {
        let change = LinkChange {
            mtu: Some(spec.mtu),
            ipv6_auto_address: Some(false),
            resolve: Some(false),
            up: Some(true),
            ..LinkChange::default()
        };
        settle(netlink, name, &change)?;
        sysctl::set(&format!("net/ipv4/conf/{name}/rp_filter"), "0", false)?;
    }
    let host = link(netlink, HOST_IFNAME)?;
    let net = link(netlink, NET_IFNAME)?;
    addresses(netlink, &host, &spec.addresses)?;
    forwarding(&spec.addresses)?;
    Ok(Base { host, net, restored })
}

/// Removes the pair, and with it every route over it. `false` when there was none.
pub fn remove(netlink: &mut Netlink) -> Result<bool, Error> {
    Ok(netlink.delete_link(Target::Name(HOST_IFNAME))?)
}

/// The links packets to other nodes leave by: those in `wanted`; when it is empty, the link with one of the node's
/// addresses; failing that, the link of the default route.
pub fn uplinks(netlink: &mut Netlink, wanted: &[String], node: &[IpAddr]) -> Result<Vec<Link>, Error> {
    let links = netlink.links()?;
    if !wanted.is_empty() {
        return wanted
            .iter()
            .map(|name| {
                let found = links.iter().find(|link| link.name == *name).cloned();
                found.ok_or_else(|| {
                    let known: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
                    Error::Uplink {
                        why: format!("there is no link {name} (links here: {})", known.join(", ")),
                    }
                })
            })
            .collect();
    }
    let usable = |link: &&Link| !link.loopback && link.name != HOST_IFNAME && link.name != NET_IFNAME;
    let mut indices: Vec<u32> = netlink
        .addresses(None)?
        .iter()
        .filter(|address| node.contains(&address.net.addr()))
        .map(|address| address.ifindex)
        .collect();
    if indices.is_empty() {
        let routes = netlink.routes(RouteFilter::default())?;
        indices =
            routes.iter().filter(|r| r.destination.prefix_len() == 0).filter_map(|r| r.ifindex).collect();
    }
    let found: Vec<Link> =
        links.iter().filter(|link| indices.contains(&link.index)).filter(usable).cloned().collect();
    if found.is_empty() {
        let why = if node.is_empty() {
            "the node has no address yet and no default route".to_owned()
        } else {
            format!("no link has one of the node's addresses {node:?}, and there is no default route")
        };
        return Err(Error::Uplink { why });
    }
    Ok(found)
}

/// `true` when the pair was there.
fn pair(netlink: &mut Netlink, mtu: u32) -> Result<bool, Error> {
    let host = netlink.link(Target::Name(HOST_IFNAME))?;
    let net = netlink.link(Target::Name(NET_IFNAME))?;
    match (&host, &net) {
        (Some(host), Some(net)) if host.peer_index == Some(net.index) => return Ok(true),
        (None, None) => {}
        _ => {
            for link in [host, net].into_iter().flatten() {
                if link.kind != "veth" {
                    let found = format!("there is a link of that name that is a {:?}", link.kind);
                    return Err(Error::Foreign { name: link.name, found });
                }
                // Half a pair, or halves of two: of no use to anyone.
                netlink.delete_link(Target::Index(link.index))?;
            }
        }
    }
    netlink.create_veth(&VethSpec {
        near: End { name: HOST_IFNAME, mac: None, netns: None },
        far: End { name: NET_IFNAME, mac: None, netns: None },
        mtu,
        alias: "",
    })?;
    Ok(false)
}

fn settle(netlink: &mut Netlink, name: &str, change: &LinkChange<'_>) -> Result<(), Error> {
    let now = link(netlink, name)?;
    let same =
        change.mtu == Some(now.mtu) && change.up == Some(now.up) && change.resolve == Some(now.resolves);
    if !same {
        netlink.change_link(Target::Index(now.index), change)?;
    }
    Ok(())
}

fn link(netlink: &mut Netlink, name: &str) -> Result<Link, Error> {
    netlink.link(Target::Name(name))?.ok_or_else(|| Error::Gone { name: name.into() })
}

fn addresses(netlink: &mut Netlink, host: &Link, wanted: &[IpAddr]) -> Result<(), Error> {
    let wanted: Vec<IpNet> = wanted.iter().map(|address| IpNet::from(*address)).collect();
    let present = netlink.addresses(Some(host.index))?;
    for net in &wanted {
        if !present.iter().any(|address| address.net == *net) {
            netlink.add_address(host.index, *net)?;
        }
    }
    for address in present {
        if !wanted.contains(&address.net) {
            netlink.delete_address(host.index, address.net)?;
        }
    }
    Ok(())
}

/// The node is a router for the families its router address has. IPv6 forwarding is left alone without one, because it
/// makes a host deaf to router advertisements.
fn forwarding(addresses: &[IpAddr]) -> Result<(), Error> {
    if addresses.iter().any(IpAddr::is_ipv4) {
        sysctl::set("net/ipv4/ip_forward", "1", false)?;
    }
    if addresses.iter().any(IpAddr::is_ipv6) {
        sysctl::set("net/ipv6/conf/all/forwarding", "1", false)?;
    }
    Ok(())
}
