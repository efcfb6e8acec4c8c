//! Addresses delivered on this node.
//!
//! The node's own addresses come first: a pod that claims one of them does not get it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pleopod_model::desired::{Endpoint, NodeFacts};
use pleopod_model::{IdentityId, Problem};

/// Endpoints by address, and endpoint numbers by network namespace.
pub fn plan(
    facts: &NodeFacts,
    problems: &mut Vec<Problem>,
) -> (BTreeMap<IpAddr, Endpoint>, BTreeMap<u64, u16>) {
    let mut endpoints = BTreeMap::new();
    let mut namespaces: BTreeMap<u64, u16> = BTreeMap::new();
    for address in facts.addresses.iter().chain(&facts.router) {
        endpoints.insert(*address, Endpoint::Host { identity: IdentityId::HOST });
    }
    for address in &facts.health {
        endpoints.entry(*address).or_insert(Endpoint::Host { identity: IdentityId::HEALTH });
    }
    for (address, pod) in &facts.local {
        if endpoints.contains_key(address) {
            problems.push(Problem::new(
                "Pod",
                pod.pod.clone(),
                "status.podIPs",
                format!("its address {address} is one of the node's own; the node keeps it"),
                "delete the pod, so that it gets another address",
            ));
            continue;
        }
        endpoints.insert(*address, Endpoint::Pod(pod.clone()));
        if pod.netns_cookie == 0 {
            continue;
        }
        let holder = *namespaces.entry(pod.netns_cookie).or_insert(pod.id);
        if holder != pod.id {
            namespaces.insert(pod.netns_cookie, holder.min(pod.id));
            problems.push(Problem::new(
                "Pod",
                pod.pod.clone(),
                "",
                format!(
                    "endpoints {} and {} are in one network namespace; its sockets count as {}",
                    holder.min(pod.id),
                    holder.max(pod.id),
                    holder.min(pod.id)
                ),
                "attach one interface to a pod",
            ));
        }
    }
    (endpoints, namespaces)
}
