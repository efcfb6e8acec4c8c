//! Facts about the cluster that several tables need.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use pleopod_model::ObjectName;
use pleopod_model::intent::{Intent, Node};

/// The addresses that serve the Kubernetes API: the endpoints of the Service `default/kubernetes`.
pub fn apiserver_addresses(intent: &Intent) -> BTreeSet<IpAddr> {
    let kubernetes = ObjectName::new("default", "kubernetes");
    // Names are ordered by namespace, so this looks at one namespace only.
    intent
        .endpoint_slices
        .range(ObjectName::new("default", "")..)
        .take_while(|(name, _)| name.namespace == kubernetes.namespace)
        .filter(|(_, slice)| slice.service == kubernetes)
        .flat_map(|(_, slice)| slice.endpoints.iter().flat_map(|e| e.addresses.iter().copied()))
        .collect()
}

/// The InternalIP of a node in the family of `like`, or its first address of any.
pub(crate) fn node_address(node: &Node, like: IpAddr) -> Option<IpAddr> {
    node.addresses.iter().find(|a| a.is_ipv4() == like.is_ipv4()).or(node.addresses.first()).copied()
}

/// The prefix of one address.
pub(crate) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
