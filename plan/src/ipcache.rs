//! Who has an address, for the whole cluster and the world.
//!
//! Stronger facts are placed first and weaker ones never displace them:
//!
//! ```text
//! this host > pods of this node > other nodes > pods elsewhere (PleopodEndpoint) > API server > the world
//! ```
//!
//! So an object that claims the address of a node, or of a pod that is really here, gets nothing but a problem. So does one
//! that claims an address its node has no pod CIDR for: only that node may say whose such an address is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pleopod_model::desired::{IpcacheEntry, IpcacheSource, LocalPod, NodeFacts};
use pleopod_model::intent::{ClusterEndpoint, Intent};
use pleopod_model::{IdentityId, ObjectName, Problem};

use crate::world::{apiserver_addresses, host, node_address};

type Table = BTreeMap<IpNet, IpcacheEntry>;

/// Every prefix with its identity.
pub fn plan(intent: &Intent, facts: &NodeFacts, problems: &mut Vec<Problem>) -> Table {
    let mut table = Table::new();
    this_host(facts, &mut table);
    local_pods(intent, facts, &mut table);
    let apiserver = apiserver_addresses(intent);
    other_nodes(intent, facts, &apiserver, &mut table, problems);
    elsewhere(intent, facts, &mut table, problems);
    for address in apiserver {
        // A server outside the cluster; those that are nodes were placed with their node.
        table
            .entry(host(address))
            .or_insert_with(|| entry(IdentityId::KUBE_APISERVER, None, IpcacheSource::Reserved));
    }
    for world in [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    ] {
        table.insert(world, entry(IdentityId::WORLD, None, IpcacheSource::Reserved));
    }
    table
}

fn entry(identity: IdentityId, tunnel_endpoint: Option<IpAddr>, source: IpcacheSource) -> IpcacheEntry {
    IpcacheEntry { identity, tunnel_endpoint, source }
}

fn this_host(facts: &NodeFacts, table: &mut Table) {
    for address in facts.addresses.iter().chain(&facts.router) {
        table.insert(host(*address), entry(IdentityId::HOST, None, IpcacheSource::Reserved));
    }
    for address in &facts.health {
        table
            .entry(host(*address))
            .or_insert_with(|| entry(IdentityId::HEALTH, None, IpcacheSource::Reserved));
    }
}

/// Pods that are really here; `custom-resource` once the cluster says the same.
fn local_pods(intent: &Intent, facts: &NodeFacts, table: &mut Table) {
    for (address, pod) in &facts.local {
        let confirmed = intent
            .endpoints
            .get(&pod.pod)
            .is_some_and(|e| e.addresses.contains(address) && e.identity == pod.identity);
        let source = if confirmed { IpcacheSource::CustomResource } else { IpcacheSource::AgentLocal };
        // A node address keeps its place; `endpoints` tells.
        table.entry(host(*address)).or_insert_with(|| entry(pod.identity, None, source));
    }
}

fn other_nodes(
    intent: &Intent,
    facts: &NodeFacts,
    apiserver: &std::collections::BTreeSet<IpAddr>,
    table: &mut Table,
    problems: &mut Vec<Problem>,
) {
    let others = || intent.nodes.iter().filter(|(name, _)| **name != facts.name);
    let mut put = |name: &str, field: &str, address: IpAddr, new: IpcacheEntry| {
        if let Some(holder) = table.get(&host(address)) {
            problems.push(Problem::new(
                "Node",
                ObjectName::new("", name),
                field,
                format!("its address {address} is taken already ({}); the first keeps it", who(holder)),
                "give every node, router and pod an address of its own",
            ));
        } else {
            table.insert(host(address), new);
        }
    };
    for (name, node) in others() {
        for address in &node.addresses {
            let identity = if apiserver.contains(address) {
                IdentityId::KUBE_APISERVER
            } else {
                IdentityId::REMOTE_NODE
            };
            put(name, "status.addresses", *address, entry(identity, None, IpcacheSource::Node));
        }
    }
    for (name, node) in others() {
        let rows = [
            (&node.router_addresses, IdentityId::REMOTE_NODE, "router"),
            (&node.health_addresses, IdentityId::HEALTH, "health"),
        ];
        for (addresses, identity, what) in rows {
            for address in addresses {
                let via = node_address(node, *address);
                let field = format!("metadata.annotations ({what} address)");
                put(name, &field, *address, entry(identity, via, IpcacheSource::Node));
            }
        }
    }
}

/// Pods of other nodes, as their PleopodEndpoint says. Objects that name this node but no pod that is here are left
/// over and say nothing.
fn elsewhere(intent: &Intent, facts: &NodeFacts, table: &mut Table, problems: &mut Vec<Problem>) {
    let mut remote: Vec<(&ObjectName, &ClusterEndpoint)> =
        intent.endpoints.iter().filter(|(_, e)| e.node != facts.name).collect();
    remote.sort_by_key(|(name, e)| (e.created, *name));
    let mut holders: BTreeMap<IpAddr, &ObjectName> = BTreeMap::new();
    let cidrs = Cidrs::of(intent);
    for (name, endpoint) in remote {
        for address in &endpoint.addresses {
            if let Some(holder) = table.get(&host(*address)) {
                let who = match (holders.get(address), facts.local.get(address)) {
                    (Some(other), _) => format!("PleopodEndpoint {other}"),
                    (None, Some(pod)) => local_name(pod, &facts.name),
                    (None, None) => who(holder),
                };
                problems.push(Problem::new(
                    "PleopodEndpoint",
                    name.clone(),
                    "status.networking.addressing",
                    format!("its address {address} belongs to {who}, which keeps it"),
                    "delete the pod or the PleopodEndpoint that should not be there",
                ));
                continue;
            }
            if let Some(why) = cidrs.forbid(intent, &endpoint.node, *address) {
                problems.push(Problem::new(
                    "PleopodEndpoint",
                    name.clone(),
                    "status.networking.addressing",
                    format!("its address {address} {why}; it is left out"),
                    "delete the pod, so that it gets an address of its node, or the PleopodEndpoint that should not be there",
                ));
                continue;
            }
            let via = intent
                .nodes
                .get(&endpoint.node)
                .and_then(|n| node_address(n, *address))
                .or(endpoint.node_address);
            holders.insert(*address, name);
            table.insert(host(*address), entry(endpoint.identity, via, IpcacheSource::CustomResource));
        }
    }
}

/// The node of each pod CIDR; of two that claim the same one, the first by name.
struct Cidrs<'a>(BTreeMap<IpNet, &'a str>);

impl<'a> Cidrs<'a> {
    fn of(intent: &'a Intent) -> Self {
        let mut cidrs = BTreeMap::new();
        for (name, node) in &intent.nodes {
            for cidr in &node.pod_cidrs {
                cidrs.entry(cidr.trunc()).or_insert(name.as_str());
            }
        }
        Self(cidrs)
    }

    /// Why an endpoint on `node` can't have `address`. A node that is not known yet, or has no CIDR of the family yet, may
    /// have what no other node has: objects come in any order.
    fn forbid(&self, intent: &Intent, node: &str, address: IpAddr) -> Option<String> {
        let own = intent.nodes.get(node).map(|n| n.pod_cidrs.as_slice()).unwrap_or_default();
        if own.iter().any(|cidr| cidr.contains(&address)) {
            return None;
        }
        if let Some((cidr, owner)) = self.owner(address) {
            return Some(format!("is in {cidr}, the pod CIDR of node {owner}, not of its node {node}"));
        }
        let mut own = own.iter().filter(|cidr| cidr.addr().is_ipv4() == address.is_ipv4()).peekable();
        own.peek()?;
        let own: Vec<String> = own.map(ToString::to_string).collect();
        Some(format!("is outside {}, the pod CIDR of its node {node}", own.join(" and ")))
    }

    /// The node with the longest CIDR that has the address. One look-up for each length, however many nodes there are.
    fn owner(&self, address: IpAddr) -> Option<(IpNet, &'a str)> {
        let mut prefix = host(address);
        loop {
            if let Some(owner) = self.0.get(&prefix) {
                return Some((prefix, owner));
            }
            prefix = prefix.supernet()?;
        }
    }
}

fn local_name(pod: &LocalPod, node: &str) -> String {
    format!("pod {} on node {node}", pod.pod)
}

fn who(entry: &IpcacheEntry) -> String {
    match entry.identity.reserved_name() {
        Some(name) => format!("reserved:{name}"),
        None => format!("identity {}", entry.identity),
    }
}
