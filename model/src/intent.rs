//! What was asked for: the cluster's objects, validated and reduced to what the network needs.
//!
//! `pleopod-intake` makes these from Kubernetes objects; `pleopod-plan` reads them. Maps are ordered, so two
//! intents with the same objects are equal whatever the order the objects came in (invariant I8).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{IdentityId, Labels, ObjectName};

mod service;

pub use service::{
    Balancing, EndpointSlice, Protocol, RemovedBackend, Service, ServicePort, ServiceType, SliceEndpoint,
    SlicePort, Weights,
};

/// Everything the cluster asks of the network, as one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Labels of namespaces, by name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Pods of this node, by name.
    pub pods: BTreeMap<ObjectName, Pod>,
    /// Services by name.
    pub services: BTreeMap<ObjectName, Service>,
    /// EndpointSlices by their own name.
    pub endpoint_slices: BTreeMap<ObjectName, EndpointSlice>,
    /// Endpoints of the whole cluster, as the PleopodEndpoint objects say.
    pub endpoints: BTreeMap<ObjectName, ClusterEndpoint>,
    /// Identities of the cluster by number, as the PleopodIdentity objects say.
    pub identities: BTreeMap<IdentityId, Labels>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// InternalIP addresses, in the order of `status.addresses`.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs` (falling back to `spec.podCIDR`).
    pub pod_cidrs: Vec<IpNet>,
    /// Labels of the Node object.
    pub labels: BTreeMap<String, String>,
    /// Router addresses, from the annotations the node's agent writes.
    pub router_addresses: Vec<IpAddr>,
    /// Health addresses, from the annotations the node's agent writes.
    pub health_addresses: Vec<IpAddr>,
}

/// A pod scheduled to this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.nodeName`.
    pub node: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.serviceAccountName`; `default` when absent.
    pub service_account: String,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub terminating: bool,
}

/// An endpoint somewhere in the cluster, as its PleopodEndpoint object says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEndpoint {
    /// Its identity.
    pub identity: IdentityId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// InternalIP of the node it is on.
    pub node_address: Option<IpAddr>,
    /// Name of the node it is on.
    pub node: String,
    /// UID of the pod, so that an object left behind by an older pod of the same name can be told.
    pub pod_uid: String,
    /// `metadata.creationTimestamp`, seconds since the Unix epoch; the older of two that clash wins.
    pub created: i64,
}
