//! Services and the EndpointSlices behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ObjectName;

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

/// How a backend is chosen for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balancing {
    /// Any, by chance.
    #[default]
    Random,
    /// One after the other, exactly, for each frontend on each node.
    RoundRobin,
    /// The one with the fewest connections that this node knows of.
    LeastConnections,
    /// By the client's address: while the backends stay, a client stays with its backend.
    SourceHash,
    /// By the connection's addresses and ports, alike on every node (Eisenbud and others, NSDI 2016).
    Maglev,
}

/// What becomes of TCP connections to a backend that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovedBackend {
    /// They go on for as long as the backend answers.
    #[default]
    Drain,
    /// They are reset at once.
    Reset,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `spec.type`.
    pub kind: ServiceType,
    /// `spec.clusterIPs`; empty when headless.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`: addresses whose packets come to the nodes as they are (`ipMode` `VIP`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`: clients that may use the addresses of the load balancer. `None`: all; no range:
    /// nobody.
    pub source_ranges: Option<Vec<IpNet>>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// Whether `spec.internalTrafficPolicy` is `Local`: only backends of the client's own node.
    pub internal_local: bool,
    /// Whether `spec.externalTrafficPolicy` is `Local`: clients outside get only backends of the node they reached, which
    /// see their address.
    pub external_local: bool,
    /// `spec.healthCheckNodePort`, if the Service has one.
    pub health_check_node_port: Option<u16>,
    /// Seconds for which a client stays with its backend (`spec.sessionAffinity` `ClientIP`).
    pub affinity: Option<u32>,
    /// How backends are chosen, where the Service says so.
    pub balancing: Option<Balancing>,
    /// What becomes of TCP connections to backends that are gone.
    pub removed_backend: RemovedBackend,
    /// Shares of single backends; 1 for all others.
    pub weights: Weights,
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

/// Shares of new connections that backends get, relative to each other; 0 to [`Weights::MAX`]. 0: no new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// By address of the endpoint.
    pub addresses: BTreeMap<IpAddr, u16>,
    /// By name of the pod, in the Service's namespace. An address that has its own counts before.
    pub pods: BTreeMap<String, u16>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// `zone`.
    pub zone: Option<String>,
    /// `hints.forNodes`: nodes whose clients should use it.
    pub for_nodes: Vec<String>,
    /// `hints.forZones`: zones whose clients should use it.
    pub for_zones: Vec<String>,
    /// `targetRef` when it is a Pod.
    pub pod: Option<ObjectName>,
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

// === impl Balancing ===

impl Balancing {
    /// Every one of them.
    pub const ALL: [Self; 5] =
        [Self::Random, Self::RoundRobin, Self::LeastConnections, Self::SourceHash, Self::Maglev];

    /// As annotations and the configuration write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::SourceHash => "source-hash",
            Self::Maglev => "maglev",
        }
    }

    /// The one that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.as_str() == text)
    }
}

impl std::fmt::Display for Balancing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Service ===

impl Service {
    /// `sessionAffinityConfig.clientIP.timeoutSeconds` when it is not given.
    pub const DEFAULT_AFFINITY: u32 = 10_800;

    /// Whether clients outside of the cluster are meant to reach it: a node port, a load balancer or external addresses.
    pub fn is_external(&self) -> bool {
        match self.kind {
            ServiceType::NodePort | ServiceType::LoadBalancer => true,
            ServiceType::ClusterIP => !self.external_ips.is_empty(),
            ServiceType::ExternalName => false,
        }
    }
}

// === impl Weights ===

impl Weights {
    /// The largest weight.
    pub const MAX: u16 = 256;

    /// The weight of one endpoint of a Service in `namespace`.
    pub fn of(&self, address: IpAddr, pod: Option<&ObjectName>, namespace: &str) -> u16 {
        let by_pod = || pod.filter(|p| p.namespace == namespace).and_then(|p| self.pods.get(&p.name));
        self.addresses.get(&address).or_else(by_pod).copied().unwrap_or(1)
    }
}
