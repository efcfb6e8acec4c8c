//! Routes of ours in the node's main table, and the permanent neighbours of local pods.
//!
//! Only routes that carry our protocol number are looked at or touched. A pod's neighbour entry goes in before its
//! route and out after it, so the kernel never has to ask for a pod's Ethernet address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use pleopod_model::Mac;
use pleopod_model::desired;
use pleopod_model::observed::{Row, RowState};
use pleopod_sys_link::{Netlink, ROUTE_PROTOCOL, Route, RouteFilter};

use crate::Error;

/// The node's routing table beside its copy in memory.
#[derive(Debug)]
pub struct Routes {
    netlink: Netlink,
    /// Index of `pleo_host`.
    host_ifindex: u32,
    rows: BTreeMap<IpNet, Held>,
    neighbours: BTreeMap<(u32, IpAddr), Mac>,
    errors: BTreeMap<IpNet, Failure>,
}

/// What the kernel holds for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    ifindex: Option<u32>,
    gateway: Option<IpAddr>,
}

#[derive(Clone, Debug)]
struct Failure {
    wanted: String,
    why: String,
}

// === impl Routes ===

impl Routes {
    /// Over the table of the namespace `netlink` was opened in; call [`Self::load`] before the first pass.
    pub fn new(netlink: Netlink, host_ifindex: u32) -> Self {
        Self {
            netlink,
            host_ifindex,
            rows: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Reads the kernel anew.
    pub fn load(&mut self) -> Result<(), Error> {
        let ours = RouteFilter { protocol: Some(ROUTE_PROTOCOL), ifindex: None };
        let held = |route: &Route| Held { ifindex: route.ifindex, gateway: route.gateway };
        self.rows = self.netlink.routes(ours)?.iter().map(|route| (route.destination, held(route))).collect();
        self.neighbours = self
            .netlink
            .neighbours(None)?
            .into_iter()
            .filter(|neighbour| neighbour.permanent)
            .filter_map(|n| Some(((n.ifindex, n.address), Mac(n.mac?))))
            .collect();
        Ok(())
    }

    /// Makes our routes be `desired` and nothing else. Answers how many changed.
    pub fn converge(&mut self, desired: &BTreeMap<IpNet, desired::Route>) -> usize {
        let written = desired.iter().filter(|(net, route)| self.put(**net, route)).count();
        let surplus: BTreeSet<IpNet> = self
            .rows
            .keys()
            .chain(self.errors.keys())
            .filter(|net| !desired.contains_key(net))
            .copied()
            .collect();
        written + surplus.into_iter().filter(|net| self.delete(*net)).count()
    }

    /// Installs one route if it differs. `true` when something was written; a failure stands in [`Self::rows`].
    pub fn put(&mut self, net: IpNet, route: &desired::Route) -> bool {
        match self.install(net, route) {
            Ok(written) => {
                self.errors.remove(&net);
                written
            }
            Err(error) => {
                self.errors.insert(net, Failure { wanted: self.wanted_text(route), why: explain(&error) });
                false
            }
        }
    }

    /// Removes the route to `net` and a pod's neighbour entry with it. `true` when there was one.
    pub fn delete(&mut self, net: IpNet) -> bool {
        let Some(held) = self.rows.get(&net).copied() else {
            self.errors.remove(&net);
            return false;
        };
        let route = Route { ifindex: held.ifindex, gateway: held.gateway, ..Route::on_link(net, 0) };
        match self.remove(&route) {
            Ok(()) => {
                self.errors.remove(&net);
                self.rows.remove(&net);
                true
            }
            Err(error) => {
                self.errors.insert(net, Failure { wanted: "no route".into(), why: error.to_string() });
                false
            }
        }
    }

    /// Our routes and those that failed, sorted by destination.
    pub fn rows(&self) -> Vec<Row> {
        let failed = self.errors.iter().map(|(net, failure)| Row {
            table: "node-routes".into(),
            key: net.to_string(),
            value: failure.wanted.clone(),
            state: RowState::Error(failure.why.clone()),
        });
        let good =
            self.rows.iter().filter(|(net, _)| !self.errors.contains_key(net)).map(|(net, held)| Row {
                table: "node-routes".into(),
                key: net.to_string(),
                value: held.to_string(),
                state: RowState::Sync,
            });
        let mut rows: Vec<Row> = good.chain(failed).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// How many routes failed.
    pub fn errors(&self) -> usize {
        self.errors.len()
    }

    fn install(&mut self, net: IpNet, wanted: &desired::Route) -> Result<bool, Error> {
        let mut changed = false;
        if let desired::Route::Pod { ifindex, mac } = wanted {
            let key = (*ifindex, net.addr());
            if self.neighbours.get(&key) != Some(mac) {
                self.netlink.replace_neighbour(*ifindex, net.addr(), mac.0)?;
                self.neighbours.insert(key, *mac);
                changed = true;
            }
        }
        let route = match wanted {
            desired::Route::Pod { ifindex, .. } => Route::on_link(net, *ifindex),
            desired::Route::Router => Route::on_link(net, self.host_ifindex),
            desired::Route::Node { via } => Route::via(net, *via),
        };
        let same = self.rows.get(&net).is_some_and(|held| {
            held.gateway == route.gateway && (route.ifindex.is_none() || held.ifindex == route.ifindex)
        });
        if !same {
            // IPv6 keeps routes of different shape side by side instead of replacing them.
            if net.addr().is_ipv6() && self.rows.contains_key(&net) {
                self.delete(net);
            }
            self.netlink.replace_route(&route)?;
            self.rows.insert(net, Held { ifindex: route.ifindex, gateway: route.gateway });
            changed = true;
        }
        Ok(changed)
    }

    fn remove(&mut self, route: &Route) -> Result<(), Error> {
        // Gone with its link already: fine.
        self.netlink.delete_route(route)?;
        if let Some(ifindex) = route.ifindex {
            let key = (ifindex, route.destination.addr());
            if self.neighbours.remove(&key).is_some() {
                self.netlink.delete_neighbour(key.0, key.1)?;
            }
        }
        Ok(())
    }

    fn wanted_text(&self, route: &desired::Route) -> String {
        let held = match route {
            desired::Route::Pod { ifindex, .. } => Held { ifindex: Some(*ifindex), gateway: None },
            desired::Route::Router => Held { ifindex: Some(self.host_ifindex), gateway: None },
            desired::Route::Node { via } => Held { ifindex: None, gateway: Some(*via) },
        };
        held.to_string()
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::Link(link) if matches!(link.errno(), Some(101 | 113)) => {
            format!("{link}; the node's address is not on a network this node is on")
        }
        _ => error.to_string(),
    }
}

// === impl Held ===

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.gateway, self.ifindex) {
            (Some(gateway), Some(ifindex)) => write!(f, "via {gateway} ifindex={ifindex}"),
            (Some(gateway), None) => write!(f, "via {gateway}"),
            (None, Some(ifindex)) => write!(f, "ifindex={ifindex} scope=link"),
            (None, None) => f.write_str("-"),
        }
    }
}
