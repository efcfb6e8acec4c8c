//! CHECK: is the interface still as ADD left it?

use std::net::IpAddr;

use ipnet::IpNet;
use pleopod_sys_link::{Link, Netlink, RouteFilter, Target};

use super::{PodSpec, routers};
use crate::Error;

/// Everything that is not as `spec` says, each as one clause for people; empty when all is well. Looks only.
pub fn check(netlink: &mut Netlink, spec: &PodSpec<'_>) -> Result<Vec<String>, Error> {
    let mut wrong = Vec::new();
    let mut pod = spec.netns.run(Netlink::open)??;
    let near = netlink.link(Target::Name(spec.host_ifname))?;
    let far = pod.link(Target::Name(spec.ifname))?;
    match &near {
        None => wrong.push(format!("the host side {} is gone", spec.host_ifname)),
        Some(near) => side(&mut wrong, near, spec.node_mac.0, spec.mtu),
    }
    let Some(far) = far else {
        wrong.push(format!("the pod has no interface {}", spec.ifname));
        return Ok(wrong);
    };
    side(&mut wrong, &far, spec.mac.0, spec.mtu);
    if near.is_some_and(|near| near.peer_index != Some(far.index)) {
        wrong.push(format!("{} and {} are not one pair", spec.host_ifname, spec.ifname));
    }
    inside(&mut wrong, &mut pod, far.index, spec)?;
    Ok(wrong)
}

fn side(wrong: &mut Vec<String>, link: &Link, mac: [u8; 6], mtu: u32) {
    if !link.up {
        wrong.push(format!("{} is down", link.name));
    }
    if link.mac != Some(mac) {
        wrong.push(format!("{} has another MAC address", link.name));
    }
    if link.mtu != mtu {
        wrong.push(format!("{} has MTU {} instead of {mtu}", link.name, link.mtu));
    }
}

fn inside(wrong: &mut Vec<String>, pod: &mut Netlink, index: u32, spec: &PodSpec<'_>) -> Result<(), Error> {
    let addresses = pod.addresses(Some(index))?;
    for wanted in spec.addresses {
        if !addresses.iter().any(|address| address.net == IpNet::from(*wanted)) {
            wrong.push(format!("{} does not have address {wanted}", spec.ifname));
        }
    }
    let routes = pod.routes(RouteFilter { protocol: None, ifindex: Some(index) })?;
    let neighbours = pod.neighbours(Some(index))?;
    for router in routers(spec) {
        let default = |gateway: Option<IpAddr>, length: u8| gateway == Some(router) && length == 0;
        if !routes.iter().any(|route| default(route.gateway, route.destination.prefix_len())) {
            wrong.push(format!("the pod has no default route via {router}"));
        }
        let known = |n: &pleopod_sys_link::Neighbour| n.address == router && n.mac == Some(spec.node_mac.0);
        if !neighbours.iter().any(known) {
            wrong.push(format!("the pod does not know the MAC address of {router}"));
        }
    }
    Ok(())
}
