//! A pod's interface: a veth pair with one end in the pod.
//!
//! ```text
//!   pod:  eth0  address/32, router on the link, default via router, router's MAC known for good
//!          ║
//!   node: lxc…  no address; made down, set up by `open` once the programs are attached and the rows are in
//! ```
//!
//! Call from a thread in the node's network namespace.

use std::net::IpAddr;

use ipnet::IpNet;
use pleopod_model::Mac;
use pleopod_sys_link::{End, Link, LinkChange, Netlink, Route, Target, VethSpec};
use pleopod_sys_netns::{Netns, current_cookie};

use crate::{Error, sysctl};

pub mod check;
pub mod reaper;

/// What a pod's interface must be.
#[derive(Clone, Debug)]
pub struct PodSpec<'a> {
    /// `namespace/name`, kept as the alias of the host side.
    pub pod: &'a str,
    /// Name of the host side, see [`host_ifname`].
    pub host_ifname: &'a str,
    /// Name inside the pod, `eth0`.
    pub ifname: &'a str,
    /// The pod's namespace.
    pub netns: &'a Netns,
    /// Its addresses, at most one of each family.
    pub addresses: &'a [IpAddr],
    /// The node's router addresses; the pod uses those of its own families.
    pub router: &'a [IpAddr],
    /// MAC of the pod side.
    pub mac: Mac,
    /// MAC of the host side.
    pub node_mac: Mac,
    /// MTU of both sides.
    pub mtu: u32,
}

/// A pod's interface as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    /// Index of the host side.
    pub ifindex: u32,
    /// Index inside the pod.
    pub pod_ifindex: u32,
    /// Cookie of the pod's namespace.
    pub netns_cookie: u64,
    /// Whether it was there already.
    pub restored: bool,
}

/// First bytes of every host side's name. Other networks of pods use the same ones.
pub const PREFIX: &str = "lxc";

/// The alias of a host side that waits to be deleted. Nobody takes it for a pod's any more.
pub const DELETED_ALIAS: &str = "pleopod:deleted";

/// The name of the host side: the same for the same container and interface, on every node and after every restart.
pub fn host_ifname(container_id: &str, ifname: &str) -> String {
    format!("{PREFIX}{:012x}", digest(&[container_id, ifname]) & 0xffff_ffff_ffff)
}

/// MACs of both sides (pod, host), locally administered, the same for the same container and interface.
pub fn macs(container_id: &str, ifname: &str) -> (Mac, Mac) {
    let mac = |side| {
        let [_, _, a, b, c, d, e, f] = digest(&[container_id, ifname, side]).to_be_bytes();
        Mac([a & 0xfc | 0x02, b, c, d, e, f])
    };
    (mac("pod"), mac("host"))
}

/// Makes the interface and everything inside the pod; the host side is left down and nothing passes yet. One that is
/// there as `spec` says is completed and kept; any other of that name is replaced.
pub fn create(netlink: &mut Netlink, spec: &PodSpec<'_>) -> Result<PodLink, Error> {
    let (pod, netns_cookie) = enter(spec)?;
    let mut pod = pod?;
    let netns_cookie = netns_cookie?;
    let restored = match netlink.link(Target::Name(spec.host_ifname))? {
        Some(link) if is_whole(&link, &mut pod, spec)? => true,
        Some(link) if link.kind != "veth" => {
            let found = format!("there is a link of that name that is a {:?}", link.kind);
            return Err(Error::Foreign { name: link.name, found });
        }
        Some(link) => {
            netlink.delete_link(Target::Index(link.index))?;
            false
        }
        None => false,
    };
    if !restored {
        make_pair(netlink, &mut pod, spec)?;
    }
    let gone = |name: &str| Error::Gone { name: name.into() };
    let far = pod.link(Target::Name(spec.ifname))?.ok_or_else(|| gone(spec.ifname))?;
    furnish(&mut pod, &far, spec)?;
    let near = netlink.link(Target::Name(spec.host_ifname))?.ok_or_else(|| gone(spec.host_ifname))?;
    let change =
        LinkChange { alias: Some(spec.pod), ipv6_auto_address: Some(false), ..LinkChange::default() };
    netlink.change_link(Target::Index(near.index), &change)?;
    sysctl::set(&format!("net/ipv4/conf/{}/rp_filter", spec.host_ifname), "0", false)?;
    Ok(PodLink { ifindex: near.index, pod_ifindex: far.index, netns_cookie, restored })
}

/// Sets the host side up: from here on packets pass.
pub fn open(netlink: &mut Netlink, ifindex: u32) -> Result<(), Error> {
    Ok(netlink.set_up(Target::Index(ifindex))?)
}

/// Every host side of a pod on this node, except those that wait to be deleted.
pub fn list(netlink: &mut Netlink) -> Result<Vec<Link>, Error> {
    let mut links = netlink.links()?;
    links.retain(|link| is_pods(link) && link.alias != DELETED_ALIAS);
    Ok(links)
}

/// Host sides that an agent wanted deleted before it died.
pub fn doomed(netlink: &mut Netlink) -> Result<Vec<Link>, Error> {
    let mut links = netlink.links()?;
    links.retain(|link| is_pods(link) && link.alias == DELETED_ALIAS);
    Ok(links)
}

/// Cilium names its interfaces as we do, so the name alone does not make one ours: the alias says whose it is. One
/// without (an agent that died between making and naming it) is found again by the next ADD, or dies with its pod.
fn is_pods(link: &Link) -> bool {
    let named = link.kind == "veth" && link.name.len() == 15 && link.name.starts_with(PREFIX);
    named
        && (link.alias == DELETED_ALIAS || link.alias.split('/').filter(|part| !part.is_empty()).count() == 2)
}

type Entered = (pleopod_sys_link::Result<Netlink>, pleopod_sys_netns::Result<u64>);

/// One visit to the pod's namespace: everything later goes through the handle that comes back.
fn enter(spec: &PodSpec<'_>) -> Result<Entered, Error> {
    let ipv6 = spec.addresses.iter().any(IpAddr::is_ipv6);
    let visit = || {
        // The pod's routes are ours to say; router advertisements must not add any.
        let quiet = if ipv6 { sysctl::set("net/ipv6/conf/default/accept_ra", "0", true) } else { Ok(false) };
        (quiet, Netlink::open(), current_cookie())
    };
    let (quiet, netlink, cookie) = spec.netns.run(visit)?;
    quiet?;
    Ok((netlink, cookie))
}

/// Whether the pair is the one that `spec` asks for, both ends in their places.
fn is_whole(near: &Link, pod: &mut Netlink, spec: &PodSpec<'_>) -> Result<bool, Error> {
    let Some(far) = pod.link(Target::Name(spec.ifname))? else { return Ok(false) };
    Ok(near.alias != DELETED_ALIAS
        && near.kind == "veth"
        && near.peer_index == Some(far.index)
        && far.peer_index == Some(near.index)
        && near.mac == Some(spec.node_mac.0)
        && far.mac == Some(spec.mac.0)
        && near.mtu == spec.mtu
        && far.mtu == spec.mtu)
}

fn make_pair(netlink: &mut Netlink, pod: &mut Netlink, spec: &PodSpec<'_>) -> Result<(), Error> {
    use std::os::fd::AsFd;
    let pair = VethSpec {
        near: End { name: spec.host_ifname, mac: Some(spec.node_mac.0), netns: None },
        far: End { name: spec.ifname, mac: Some(spec.mac.0), netns: Some(spec.netns.as_fd()) },
        mtu: spec.mtu,
        alias: "",
    };
    match netlink.create_veth(&pair) {
        Err(error) if error.is_exists() && pod.link(Target::Name(spec.ifname))?.is_some() => {
            Err(Error::Taken { pod: spec.pod.into(), ifname: spec.ifname.into() })
        }
        other => Ok(other?),
    }
}

/// The pod's side: addresses, the way out, and the router's MAC. Everything is written again if it is there. An address of an
/// attempt that came to nothing goes: the pod would send from it, and it may be another pod's by now.
fn furnish(pod: &mut Netlink, far: &Link, spec: &PodSpec<'_>) -> Result<(), Error> {
    pod.set_up(Target::Name("lo"))?;
    for held in pod.addresses(Some(far.index))? {
        if held.global && !spec.addresses.contains(&held.net.addr()) {
            pod.delete_address(far.index, held.net)?;
        }
    }
    for address in spec.addresses {
        pod.add_address(far.index, IpNet::from(*address))?;
    }
    if !far.up {
        pod.set_up(Target::Index(far.index))?;
    }
    for router in routers(spec) {
        pod.replace_neighbour(far.index, router, spec.node_mac.0)?;
        pod.replace_route(&Route { protocol: BOOT, ..Route::on_link(IpNet::from(router), far.index) })?;
        let default =
            Route { ifindex: Some(far.index), protocol: BOOT, ..Route::via(everywhere(router), router) };
        pod.replace_route(&default)?;
    }
    Ok(())
}

/// `RTPROT_BOOT`: inside a pod our routes look like those of any CNI plugin (`ip route` prints no protocol).
const BOOT: u8 = 3;

/// The router addresses of the pod's families.
fn routers(spec: &PodSpec<'_>) -> impl Iterator<Item = IpAddr> {
    spec.router.iter().copied().filter(|r| spec.addresses.iter().any(|a| a.is_ipv4() == r.is_ipv4()))
}

fn everywhere(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// FNV-1a, 64 bits, with the avalanche of MurmurHash3's finaliser so that the low bits are as good as the high ones.
/// Stable for ever: names and MACs of living pods hang on it.
fn digest(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ hash >> 33).wrapping_mul(factor);
    }
    hash ^ hash >> 33
}
