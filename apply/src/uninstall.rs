//! Takes everything of ours out of a node's kernel. Call from a thread in the node's network namespace, with the node's
//! lock held: an agent that runs would put everything back.

use std::path::Path;

use ipnet::IpNet;
use pleopod_sys_bpf::link;
use pleopod_sys_link::{Netlink, ROUTE_PROTOCOL, RouteFilter};

use crate::expedite::Expedite;
use crate::{Error, attach, base, pod};

/// What was there and is gone now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Programs and maps.
    pub programs: bool,
    /// Interfaces of pods.
    pub pods: usize,
    /// Routes.
    pub routes: Vec<IpNet>,
    /// `pleo_host` and `pleo_net`.
    pub base: bool,
}

/// Programs and maps first, then interfaces and routes. `pins` is `<bpffs>/pleopod`.
pub fn uninstall(pins: &Path) -> Result<Removed, Error> {
    let mut netlink = Netlink::open()?;
    let filters = attach::filters(&mut netlink)?;
    let mut removed = Removed { programs: pins.exists() || !filters.is_empty(), ..Removed::default() };
    for (_, filter) in filters {
        netlink.detach_filter(filter.ifindex, filter.way)?;
    }
    if pins.exists() {
        // Puts the kernel's switch back if an agent died with it on.
        drop(Expedite::start(pins).map_err(|source| Error::Thread { source })?);
        link::uninstall(pins)?;
    }
    let pods: Vec<u32> =
        pod::list(&mut netlink)?.into_iter().chain(pod::doomed(&mut netlink)?).map(|l| l.index).collect();
    removed.pods = netlink.delete_links(&pods)?;
    for route in netlink.routes(RouteFilter { protocol: Some(ROUTE_PROTOCOL), ..RouteFilter::default() })? {
        if netlink.delete_route(&route)? {
            removed.routes.push(route.destination);
        }
    }
    removed.base = base::remove(&mut netlink)?;
    Ok(removed)
}
