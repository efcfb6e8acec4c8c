//! What this node's kernel must hold. The value [`Desired`] is all that passes from `plan` to `apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::intent::Protocol;
use crate::{IdentityId, Mac, ObjectName};

mod service;

pub use service::{
    Backend, BackendState, Frontend, FrontendKey, FrontendKind, HealthCheck, NodePortAddresses, Outside,
    Scope, ServiceOptions, Topology, Unserved,
};

/// Facts about the node that a plan needs and no Kubernetes object holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Name of the Node object.
    pub name: String,
    /// Addresses of the node itself, all of them (uplinks and others).
    pub addresses: Vec<IpAddr>,
    /// The router address of each family, held by `pleo_host`.
    pub router: Vec<IpAddr>,
    /// The health address of each family.
    pub health: Vec<IpAddr>,
    /// Endpoints that exist here, by address.
    pub local: BTreeMap<IpAddr, LocalPod>,
    /// What the node's configuration says of Services.
    pub services: ServiceOptions,
}

/// A pod interface that exists on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalPod {
    /// Endpoint number on this node, 1 to 65535.
    pub id: u16,
    /// The pod.
    pub pod: ObjectName,
    /// Index of the host side (`lxc...`) in the node's namespace.
    pub ifindex: u32,
    /// Name of the host side.
    pub ifname: String,
    /// MAC of the pod side (`eth0`).
    pub mac: Mac,
    /// MAC of the host side.
    pub node_mac: Mac,
    /// Cookie of the pod's network namespace (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
    /// Its identity, [`IdentityId::INIT`] until the labels are known.
    pub identity: IdentityId,
}

/// Everything one node's kernel must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Addresses delivered on this node.
    pub endpoints: BTreeMap<IpAddr, Endpoint>,
    /// Network namespaces of local pods, by cookie.
    pub namespaces: BTreeMap<u64, u16>,
    /// Who has an address, for the whole cluster and the world.
    pub ipcache: BTreeMap<IpNet, IpcacheEntry>,
    /// Service frontends.
    pub services: BTreeMap<FrontendKey, Frontend>,
    /// What the node answers at health check node ports, by TCP port.
    pub health_checks: BTreeMap<u16, HealthCheck>,
    /// Ports of the node that Services have, and that no process may bind.
    pub node_ports: BTreeSet<(Protocol, u16)>,
    /// Routes in the node's main table.
    pub routes: BTreeMap<IpNet, Route>,
}

/// Delivery of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// The node itself: router, health, node addresses.
    Host {
        /// Its identity (host or health).
        identity: IdentityId,
    },
    /// A pod behind an `lxc...` interface.
    Pod(LocalPod),
}

/// Who has an address, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpcacheEntry {
    /// Identity of the peer.
    pub identity: IdentityId,
    /// Address of the node that has it; `None` for this node, nodes themselves and the world.
    pub tunnel_endpoint: Option<IpAddr>,
    /// Where the fact comes from.
    pub source: IpcacheSource,
}

/// Where an address's identity comes from, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpcacheSource {
    /// Built in: the world, this host.
    Reserved,
    /// A Node object.
    Node,
    /// A PleopodEndpoint object.
    CustomResource,
    /// A pod of this node.
    AgentLocal,
}

/// One route of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// A local pod: `dev lxc... scope link`, with a permanent neighbour.
    Pod {
        /// Index of the host side.
        ifindex: u32,
        /// MAC of the pod side, for the neighbour entry.
        mac: Mac,
    },
    /// The node's own pod CIDR: `dev pleo_host`. Addresses no pod has end there.
    Router,
    /// Another node's pod CIDR: `via` that node.
    Node {
        /// The other node's InternalIP.
        via: IpAddr,
    },
}
