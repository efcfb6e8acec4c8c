//! Service frontends and their backends.
//!
//! A frontend is one row whoever asks. Which of its backends are chosen depends on where the client is ([`Scope`]), so
//! each backend says for whom it is chosen. All backends that serve are listed, also those that nobody here is given:
//! a policy that changes must not look like backends that are gone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ObjectName;
use crate::intent::{Balancing, Protocol, RemovedBackend};

/// The address a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrontendKey {
    /// Service address and port.
    pub address: SocketAddr,
    /// Protocol.
    pub protocol: Protocol,
}

/// What kind of address a frontend has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    #[default]
    ClusterIP,
    /// An address of the node, or its loopback address: then only for sockets of the node's own namespace.
    NodePort,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
    /// `spec.externalIPs`.
    ExternalIP,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A pod of this node, or a process of the node itself.
    Inside,
    /// Behind an uplink.
    Outside,
}

/// How clients outside are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// Not at all: no frontend for them.
    #[default]
    Refused,
    /// With the node's address as source, by any backend (`externalTrafficPolicy: Cluster`; the addresses of the
    /// cluster too).
    Cluster,
    /// With their own address, by backends of this node (`externalTrafficPolicy: Local`).
    Local,
}

/// Which hints of the EndpointSlices were followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// None: all backends alike.
    #[default]
    Any,
    /// Backends meant for this node's zone.
    Zone,
    /// Backends meant for this node.
    Node,
}

/// What a client gets where no backend is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unserved {
    /// A refusal: TCP reset or ICMP port unreachable. Nobody serves the Service anywhere.
    Reject,
    /// Nothing. Others serve it, but the traffic policy keeps to this node.
    Drop,
}

/// One frontend and its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Service it belongs to.
    pub service: ObjectName,
    /// Name of the port; empty when there is only one.
    pub port_name: String,
    /// What kind of frontend.
    pub kind: FrontendKind,
    /// How backends are chosen.
    pub balancing: Balancing,
    /// Seconds for which a client stays with its backend after its last connection.
    pub affinity: Option<u32>,
    /// What becomes of TCP connections to backends that are gone.
    pub removed_backend: RemovedBackend,
    /// Clients that may ask, of the frontend's family; `None`: all.
    pub source_ranges: Option<Vec<IpNet>>,
    /// Whether clients inside get only backends of this node (`internalTrafficPolicy: Local`).
    pub inside_local: bool,
    /// How clients outside are served.
    pub outside: Outside,
    /// Which hints were followed in choosing backends, where no policy keeps to this node.
    pub topology: Topology,
    /// Backends that serve, sorted by address.
    pub backends: Arc<[Backend]>,
}

/// One backend of a frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Backend {
    /// Address and port of the endpoint.
    pub address: SocketAddr,
    /// Its state.
    pub state: BackendState,
    /// Whether it is chosen for new connections of clients inside.
    pub inside: bool,
    /// Whether it is chosen for new connections of clients outside.
    pub outside: bool,
    /// Its share, 0 to 256; 0 only when it is [`BackendState::Quarantined`].
    pub weight: u16,
    /// Whether it is on this node.
    pub local: bool,
    /// Node it is on, if known.
    pub node: Option<String>,
    /// Zone it is in, if known.
    pub zone: Option<String>,
    /// Pod it is, if known.
    pub pod: Option<ObjectName>,
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    /// It is ready.
    Active,
    /// It ends, but still serves: chosen only where nothing is ready. Its connections go on.
    Terminating,
    /// Its weight is 0: never chosen. Its connections go on.
    Quarantined,
}

/// What the node answers at a health check node port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The Service.
    pub service: ObjectName,
    /// Endpoints of this node that are ready; 0 tells the load balancer to go elsewhere.
    pub local_endpoints: usize,
}

/// What a node's configuration says of Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOptions {
    /// Addresses at which node ports answer.
    pub node_port_addresses: NodePortAddresses,
    /// Whether node ports answer on the node's loopback address too, for processes of the node.
    pub node_port_localhost: bool,
    /// Whether cluster addresses are served to clients outside whose network routes them here.
    pub cluster_ips_outside: bool,
    /// How backends are chosen where a Service does not say.
    pub balancing: Balancing,
}

/// Addresses of the node at which node ports answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodePortAddresses {
    /// The InternalIPs of the Node object.
    #[default]
    Primary,
    /// All addresses of the node that lie in one of these prefixes.
    Within(Vec<IpNet>),
}

// === impl Frontend ===

impl Frontend {
    /// A frontend for clients inside, with nothing out of the ordinary.
    pub fn new(service: ObjectName, kind: FrontendKind, backends: impl IntoIterator<Item = Backend>) -> Self {
        Self {
            service,
            port_name: String::new(),
            kind,
            balancing: Balancing::default(),
            affinity: None,
            removed_backend: RemovedBackend::default(),
            source_ranges: None,
            inside_local: false,
            outside: Outside::default(),
            topology: Topology::default(),
            backends: backends.into_iter().collect(),
        }
    }

    /// The backends that new connections of such clients may be given, sorted by address.
    pub fn chosen(&self, scope: Scope) -> impl Iterator<Item = &Backend> {
        let refused = scope == Scope::Outside && self.outside == Outside::Refused;
        self.backends.iter().filter(move |b| !refused && b.chosen(scope))
    }

    /// What a client gets if [`Self::chosen`] is empty.
    pub fn unserved(&self) -> Unserved {
        if self.backends.iter().any(|b| b.state != BackendState::Quarantined) {
            Unserved::Drop
        } else {
            Unserved::Reject
        }
    }
}

// === impl Backend ===

impl Backend {
    /// One that is ready, elsewhere, and chosen for everybody.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            state: BackendState::Active,
            inside: true,
            outside: true,
            weight: 1,
            local: false,
            node: None,
            zone: None,
            pod: None,
        }
    }

    /// Whether new connections of such clients may be given to it.
    pub fn chosen(&self, scope: Scope) -> bool {
        match scope {
            Scope::Inside => self.inside,
            Scope::Outside => self.outside,
        }
    }
}

// === impl FrontendKind ===

impl FrontendKind {
    /// As `pleopod service list` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalIP => "ExternalIP",
        }
    }
}

// === impl ServiceOptions ===

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            node_port_addresses: NodePortAddresses::Primary,
            node_port_localhost: true,
            cluster_ips_outside: true,
            balancing: Balancing::Random,
        }
    }
}

// === impl NodePortAddresses ===

impl NodePortAddresses {
    /// Those of the node's addresses that are meant, each once, sorted. `primary` are its InternalIPs, `all` every one it
    /// has.
    pub fn select(&self, primary: &[IpAddr], all: &[IpAddr]) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = match self {
            Self::Primary => primary.to_vec(),
            Self::Within(prefixes) => {
                all.iter().filter(|a| prefixes.iter().any(|p| p.contains(*a))).copied().collect()
            }
        };
        addresses.sort();
        addresses.dedup();
        addresses
    }
}
