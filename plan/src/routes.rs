//! The node's routing table: a host route per local pod, the node's own CIDRs to `pleo_host`, and every other node's
//! CIDRs via that node.

use std::collections::BTreeMap;

use ipnet::IpNet;
use pleopod_model::desired::{NodeFacts, Route};
use pleopod_model::intent::Intent;
use pleopod_model::{ObjectName, Problem};

use crate::world::host;

/// Routes by destination.
pub fn plan(intent: &Intent, facts: &NodeFacts, problems: &mut Vec<Problem>) -> BTreeMap<IpNet, Route> {
    let mut routes = BTreeMap::new();
    let own = |a: &std::net::IpAddr| facts.addresses.contains(a) || facts.router.contains(a);
    for (address, pod) in &facts.local {
        if !own(address) && !facts.health.contains(address) {
            routes.insert(host(*address), Route::Pod { ifindex: pod.ifindex, mac: pod.mac });
        }
    }
    let mut owners: BTreeMap<IpNet, &str> = BTreeMap::new();
    if let Some(node) = intent.nodes.get(&facts.name) {
        for cidr in &node.pod_cidrs {
            routes.insert(cidr.trunc(), Route::Router);
            owners.insert(cidr.trunc(), &facts.name);
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
            let covered = intent
                .nodes
                .iter()
                .find_map(|(other, n)| n.addresses.iter().find(|a| cidr.contains(*a)).map(|a| (other, a)));
            if let Some((other, address)) = covered {
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
            owners.insert(cidr, name);
            // A host route of a local pod can only be equal to a CIDR of one address; the pod is here.
            routes.entry(cidr).or_insert(Route::Node { via: *via });
        }
    }
    routes
}
