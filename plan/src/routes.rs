//! The node's routing table: a host route per local pod, the node's own CIDRs to `pleo_host`, and every other node's
//! CIDRs via that node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use pleopod_model::desired::{NodeFacts, Route};
use pleopod_model::intent::Intent;
use pleopod_model::{ObjectName, Problem};

use crate::world::host;

/// Routes by destination.
pub fn plan(intent: &Intent, facts: &NodeFacts, problems: &mut Vec<Problem>) -> BTreeMap<IpNet, Route> {
    let mut routes = BTreeMap::new();
    let own = |a: &IpAddr| facts.addresses.contains(a) || facts.router.contains(a);
    for (address, pod) in &facts.local {
        if !own(address) && !facts.health.contains(address) {
            routes.insert(host(*address), Route::Pod { ifindex: pod.ifindex, mac: pod.mac });
        }
    }
    // No two of these overlap.
    let mut owners: BTreeMap<IpNet, &str> = BTreeMap::new();
    let nodes = node_addresses(intent);
    if let Some(node) = intent.nodes.get(&facts.name) {
        for cidr in &node.pod_cidrs {
            routes.insert(cidr.trunc(), Route::Router);
            if overlapping(&owners, cidr.trunc()).is_none() {
                owners.insert(cidr.trunc(), &facts.name);
            }
        }
    }
    for (name, node) in intent.nodes.iter().filter(|(name, _)| **name != facts.name) {
        for cidr in &node.pod_cidrs {
            let cidr = cidr.trunc();
            let mut tell = |message: String, hint: &str| {
                let object = ObjectName::new("", name.as_str());
                problems.push(Problem::new("Node", object, "spec.podCIDRs", message, hint));
            };
            if let Some(owner) = owners.get(&cidr) {
                tell(
                    format!("{cidr} is the pod CIDR of node {owner} too; it is routed to {owner}"),
                    "give every node a CIDR of its own",
                );
                continue;
            }
            if let Some((held, owner)) = overlapping(&owners, cidr) {
                tell(
                    format!("{cidr} overlaps {held}, the pod CIDR of node {owner}; it is not routed"),
                    "give every node a CIDR of its own",
                );
                continue;
            }
            if let Some((address, other)) = nodes.range(cidr.network()..=cidr.broadcast()).next() {
                tell(
                    format!("{cidr} covers the address {address} of node {other}; it is not routed"),
                    "choose pod CIDRs outside the network of the nodes",
                );
                continue;
            }
            let via = node.addresses.iter().find(|a| a.is_ipv4() == cidr.addr().is_ipv4());
            let Some(via) = via else {
                let family = if cidr.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                tell(
                    format!("{cidr} is not routed: the node has no InternalIP of that family"),
                    &format!("add an {family} InternalIP to status.addresses of the node"),
                );
                continue;
            };
            let holder = if own(via) { Some(facts.name.as_str()) } else { nodes.get(via).copied() };
            if let Some(holder) = holder.filter(|holder| *holder != name.as_str()) {
                tell(
                    format!("{cidr} is not routed: {via} is the InternalIP of node {holder} too"),
                    "give every node an InternalIP of its own",
                );
                continue;
            }
            owners.insert(cidr, name);
            // A host route of a local pod can only be equal to a CIDR of one address; the pod is here.
            routes.entry(cidr).or_insert(Route::Node { via: *via });
        }
    }
    routes
}

/// The addresses of all nodes with the first node that says each.
fn node_addresses(intent: &Intent) -> BTreeMap<IpAddr, &str> {
    let mut addresses = BTreeMap::new();
    for (name, node) in &intent.nodes {
        for address in &node.addresses {
            addresses.entry(*address).or_insert(name.as_str());
        }
    }
    addresses
}

/// The CIDR among `owners`, of which no two overlap, that holds `cidr` or a part of it. CIDRs are sorted by their first
/// address, wide ones first, so only the one before and the one after can.
fn overlapping<'a>(owners: &BTreeMap<IpNet, &'a str>, cidr: IpNet) -> Option<(IpNet, &'a str)> {
    let before = owners.range(..cidr).next_back().filter(|(held, _)| held.contains(&cidr));
    let after = || owners.range(cidr..).next().filter(|(held, _)| cidr.contains(*held));
    before.or_else(after).map(|(held, owner)| (*held, *owner))
}
