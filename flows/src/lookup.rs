//! Names for addresses: a snapshot the agent makes after each plan.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use pleopod_model::desired::{Desired, FrontendKind, NodeFacts};
use pleopod_model::intent::Intent;
use pleopod_model::{IdentityId, ObjectName};

#[cfg(test)]
mod tests;

/// Who is behind an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Endpoint number when it is on this node, else 0.
    pub endpoint: u16,
    /// Its identity.
    pub identity: u32,
    /// The pod, if it is one.
    pub pod: Option<ObjectName>,
    /// Security labels, `source:key[=value]`, sorted.
    pub labels: Arc<[String]>,
    /// What the pod belongs to: (kind, name).
    pub workloads: Vec<(String, String)>,
}

/// A Service's name.
pub type ServiceName = Arc<ObjectName>;

/// Everything a flow can be named with. Replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    peers: HashMap<IpAddr, Arc<Peer>>,
    services: HashMap<(IpAddr, u16, u8), ServiceName>,
    /// Names of Service addresses, for what is sent to a port no Service has.
    service_addresses: HashMap<IpAddr, ServiceName>,
    labels: HashMap<u32, Arc<[String]>>,
    namespaces: HashMap<u64, u16>,
    endpoints: HashMap<u16, Local>,
    node_addresses: Vec<IpAddr>,
    interfaces: HashMap<u32, Arc<str>>,
}

/// An endpoint of this node.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The peer it is.
    pub peer: Arc<Peer>,
}

// === impl Lookup ===

impl Lookup {
    /// The names that hold under this plan.
    pub fn build(intent: &Intent, desired: &Desired, facts: &NodeFacts) -> Self {
        let mut lookup = Self { node_addresses: facts.addresses.clone(), ..Self::default() };
        for (id, labels) in &intent.identities {
            lookup.labels.insert(id.0, labels.to_strings().into());
        }
        for id in IdentityId::reserved() {
            let labels = id.reserved_labels().map(|l| l.to_strings()).unwrap_or_default();
            lookup.labels.insert(id.0, labels.into());
        }
        let mut pods: HashMap<IpAddr, &ObjectName> = HashMap::new();
        for (name, endpoint) in &intent.endpoints {
            pods.extend(endpoint.addresses.iter().map(|address| (*address, name)));
        }
        for (prefix, entry) in &desired.ipcache {
            if prefix.prefix_len() == prefix.max_prefix_len() {
                let address = prefix.addr();
                lookup.peer(address, entry.identity.0, 0, pods.get(&address).copied());
            }
        }
        for (address, local) in &facts.local {
            // The kernel's number is newer than the intent's while a pod's labels change; keep the planned one.
            let planned = lookup.peers.get(address).map_or(local.identity.0, |peer| peer.identity);
            lookup.peer(*address, planned, local.id, Some(&local.pod));
            lookup.namespaces.insert(local.netns_cookie, local.id);
            lookup.interfaces.insert(local.ifindex, local.ifname.as_str().into());
            let peer = Arc::clone(&lookup.peers[address]);
            let endpoint = lookup.endpoints.entry(local.id).or_default();
            endpoint.addresses.push(*address);
            endpoint.peer = peer;
        }
        for (cookie, id) in &desired.namespaces {
            lookup.namespaces.insert(*cookie, *id);
        }
        let mut names: HashMap<&ObjectName, ServiceName> = HashMap::new();
        for (key, frontend) in &desired.services {
            let name = names.entry(&frontend.service).or_insert_with(|| Arc::new(frontend.service.clone()));
            let (address, port) = (key.address.ip(), key.address.port());
            lookup.services.insert((address, port, key.protocol.number()), Arc::clone(name));
            if frontend.kind == FrontendKind::NodePort {
                // The address is the node's; its other ports are not this Service's.
                continue;
            }
            lookup.service_addresses.entry(address).or_insert_with(|| Arc::clone(name));
        }
        lookup
    }

    fn peer(&mut self, address: IpAddr, identity: u32, endpoint: u16, pod: Option<&ObjectName>) {
        let labels = self.labels(identity);
        let peer = Peer { endpoint, identity, pod: pod.cloned(), labels, workloads: Vec::new() };
        self.peers.insert(address, Arc::new(peer));
    }

    /// Adds or replaces who is behind an address.
    pub fn insert_peer(&mut self, address: IpAddr, peer: Peer) {
        self.peers.insert(address, Arc::new(peer));
    }

    /// Adds or replaces the name of an interface of this node.
    pub fn insert_interface(&mut self, ifindex: u32, name: &str) {
        self.interfaces.insert(ifindex, name.into());
    }

    /// Who is behind an address.
    pub fn peer_of(&self, address: IpAddr) -> Option<&Arc<Peer>> {
        self.peers.get(&address)
    }

    /// The Service at an address and port (native order); `protocol` is the IP protocol number.
    pub fn service_of(&self, address: IpAddr, port: u16, protocol: u8) -> Option<&ServiceName> {
        self.services.get(&(address, port, protocol)).or_else(|| self.service_addresses.get(&address))
    }

    /// The labels of an identity; empty when it is not known.
    pub fn labels(&self, identity: u32) -> Arc<[String]> {
        self.labels.get(&identity).cloned().unwrap_or_default()
    }

    /// The endpoint whose network namespace has this cookie.
    pub fn endpoint_of_namespace(&self, cookie: u64) -> Option<u16> {
        self.namespaces.get(&cookie).copied()
    }

    /// An endpoint of this node by number.
    pub fn endpoint(&self, id: u16) -> Option<&Local> {
        self.endpoints.get(&id)
    }

    /// The node's own address of a family.
    pub fn node_address(&self, v4: bool) -> Option<IpAddr> {
        self.node_addresses.iter().copied().find(|address| address.is_ipv4() == v4)
    }

    /// The name of an interface of this node.
    pub fn interface(&self, ifindex: u32) -> Option<&Arc<str>> {
        self.interfaces.get(&ifindex)
    }
}
