//! What was asked for: the cluster's objects, validated and reduced to what the network needs.
//!
//! `pleopod-intake` makes these from Kubernetes objects; `pleopod-plan` reads them. Maps are ordered, so two
//! intents with the same objects are equal whatever the order the objects came in (invariant I8).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{IdentityId, Labels, ObjectName};

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

/// Layer-4 protocol of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// IP protocol 6.
    Tcp,
    /// IP protocol 17.
    Udp,
    /// IP protocol 132.
    Sctp,
}

/// `spec.type` of a Service (headless ones are `ClusterIP` without addresses).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ServiceType {
    /// An address inside the cluster.
    #[default]
    ClusterIP,
    /// Also a port on every node.
    NodePort,
    /// Also an address outside.
    LoadBalancer,
    /// Only a DNS name; nothing for the network to do.
    ExternalName,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `spec.type`.
    pub kind: ServiceType,
    /// `spec.clusterIPs`; empty when headless.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// Whether `spec.internalTrafficPolicy` is `Local`: only backends of the client's own node.
    pub internal_local: bool,
    /// `metadata.creationTimestamp`, seconds since the Unix epoch; the older of two that clash wins.
    pub created: i64,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// `name`; empty when there is only one port.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port at the Service address, host byte order.
    pub port: u16,
    /// `nodePort`, if one was given.
    pub node_port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// The Service it belongs to (`kubernetes.io/service-name`).
    pub service: ObjectName,
    /// `ports`.
    pub ports: Vec<SlicePort>,
    /// `endpoints`.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlicePort {
    /// Name of the Service port it serves.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port at the endpoint's address, host byte order.
    pub port: u16,
}

/// One endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceEndpoint {
    /// `addresses`.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; absent means ready.
    pub ready: bool,
    /// `conditions.serving`; absent means as `ready`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<String>,
    /// `targetRef` when it is a Pod.
    pub pod: Option<ObjectName>,
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

// === impl Protocol ===

impl Protocol {
    /// The IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}
