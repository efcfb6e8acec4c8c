//! What a lab consists of: the wire, the nodes on it, and the hosts outside the cluster.
//!
//! A topology is read from YAML and checked as a whole before anything is made. The built-in one is three nodes on
//! 192.168.10.0/24 with jumbo frames and a router that stands for the rest of the world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Longest name of a lab, a node or an outside host: each becomes part of a namespace and a cgroup name.
const NAME_MAX: usize = 40;
/// Smallest MTU the topology takes: what IPv6 asks of every link (RFC 8200 section 5).
const MTU_MIN: u32 = 1280;
/// Largest MTU a veth takes.
const MTU_MAX: u32 = 65_535;

/// Everything `lab up` makes, apart from its name.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topology {
    /// Name of the cluster, as it stands in identity labels.
    #[serde(default = "default_cluster_name")]
    pub cluster_name: String,
    /// The range pod CIDRs are cut from.
    #[serde(default = "default_cluster_cidr")]
    pub cluster_cidr: IpNet,
    /// The range of ClusterIPs.
    #[serde(default = "default_service_cidr")]
    pub service_cidr: IpNet,
    /// ClusterIP of the `kube-dns` Service.
    #[serde(default = "default_cluster_dns")]
    pub cluster_dns: IpAddr,
    /// DNS domain of the cluster, without a leading or trailing dot.
    #[serde(default = "default_cluster_domain")]
    pub cluster_domain: String,
    /// The wire all nodes share.
    #[serde(default)]
    pub fabric: Fabric,
    /// The nodes, control plane first or not: the first one marked so carries the API server.
    pub nodes: Vec<Node>,
    /// Hosts on the wire that are not part of the cluster.
    #[serde(default = "default_outside")]
    pub outside: Vec<Outside>,
}

/// The wire: a bridge in a namespace of its own.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Fabric {
    /// The subnet of node addresses.
    pub cidr: IpNet,
    /// MTU of the wire and of every uplink.
    pub mtu: u32,
    /// Name of each node's interface to the wire.
    pub uplink: String,
}

/// One node of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Name of the Node object; a DNS label.
    pub name: String,
    /// InternalIP, inside the fabric's subnet.
    pub address: IpAddr,
    /// Pod CIDR; when absent the control plane allocates one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<IpNet>,
    /// Carries the API server and the control-plane label.
    #[serde(default)]
    pub control_plane: bool,
    /// More labels for the Node object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A host that is not part of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outside {
    /// Name, unique among nodes and outside hosts.
    pub name: String,
    /// Address on the wire.
    pub address: IpAddr,
    /// The nodes' default route leads here; it forwards. Exactly one outside host is the gateway.
    #[serde(default)]
    pub gateway: bool,
    /// More addresses that live on this host, beyond the wire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Names this host's DNS server answers, with their addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Whether this host knows a route to every node's pod CIDR. Without one it answers nothing but what comes with a
    /// node's address, as most of the world does.
    #[serde(default)]
    pub pod_routes: bool,
}

/// Why a topology was refused. The message names the field and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The file can't be read.
    #[error("topology {path}: cannot be read: {why}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// Not YAML, an unknown key or a value of the wrong form.
    #[error("topology {path}: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// The parser's message, with line and column.
        message: String,
    },
    /// A well-formed value that can't work.
    #[error("topology: {field}: {problem}")]
    Invalid {
        /// Path of the field, as `nodes[1].address`.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

// === impl Topology ===

impl Topology {
    /// The built-in topology with `count` nodes: `k8s-s`, then `k8s-w1`, `k8s-w2`...
    ///
    /// # Errors
    /// When `count` is not between 1 and 100.
    pub fn built_in(count: usize) -> Result<Self, TopologyError> {
        if !(1..=100).contains(&count) {
            return Err(invalid("nodes", format!("{count} nodes asked for; a lab has 1 to 100")));
        }
        let nodes = (0..count)
            .map(|index| {
                let host = if index == 0 { 10 } else { 100 + index };
                Node {
                    name: if index == 0 { "k8s-s".to_owned() } else { format!("k8s-w{index}") },
                    address: v4(192, 168, 10, host),
                    pod_cidr: net(v4(172, 16, index, 0), 24),
                    control_plane: index == 0,
                    labels: BTreeMap::new(),
                }
            })
            .collect();
        let topology = Self {
            cluster_name: default_cluster_name(),
            cluster_cidr: default_cluster_cidr(),
            service_cidr: default_service_cidr(),
            cluster_dns: default_cluster_dns(),
            cluster_domain: default_cluster_domain(),
            fabric: Fabric::default(),
            nodes,
            outside: default_outside(),
        };
        topology.check()?;
        Ok(topology)
    }

    /// Reads and checks a topology file.
    ///
    /// # Errors
    /// When the file can't be read, isn't the expected YAML, or describes something that can't work.
    pub fn from_file(path: &Path) -> Result<Self, TopologyError> {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|why| TopologyError::Read { path: shown.clone(), why })?;
        Self::from_yaml(&text, &shown)
    }

    /// Reads and checks topology text; `path` is only for messages.
    ///
    /// # Errors
    /// As [`Topology::from_file`].
    pub fn from_yaml(text: &str, path: &str) -> Result<Self, TopologyError> {
        let topology: Self = serde_saphyr::from_str(text)
            .map_err(|error| TopologyError::Syntax { path: path.to_owned(), message: error.to_string() })?;
        topology.check()?;
        Ok(topology)
    }

    /// The topology as YAML text.
    ///
    /// # Errors
    /// When the writer fails, which no valid topology makes it do.
    pub fn to_yaml(&self) -> Result<String, TopologyError> {
        serde_saphyr::to_string(self)
            .map_err(|error| TopologyError::Syntax { path: "(built)".into(), message: error.to_string() })
    }

    /// The node that carries the API server.
    #[must_use]
    pub fn control_plane(&self) -> &Node {
        self.nodes.iter().find(|node| node.control_plane).unwrap_or(&self.nodes[0])
    }

    /// The outside host the nodes' default route leads to.
    #[must_use]
    pub fn gateway(&self) -> Option<&Outside> {
        self.outside.iter().find(|host| host.gateway)
    }

    /// The first address of the service range: the `kubernetes` Service.
    #[must_use]
    pub fn kubernetes_service(&self) -> IpAddr {
        self.service_cidr.hosts().next().unwrap_or_else(|| self.service_cidr.addr())
    }

    fn check(&self) -> Result<(), TopologyError> {
        if self.nodes.is_empty() {
            return Err(invalid("nodes", "the list is empty; a lab needs at least one node".into()));
        }
        check_name("cluster-name", &self.cluster_name)?;
        if self.cluster_domain.is_empty() || self.cluster_domain.split('.').any(|part| !is_label(part)) {
            return Err(invalid(
                "cluster-domain",
                format!("`{}` is not a DNS name; write it like cluster.local", self.cluster_domain),
            ));
        }
        self.check_fabric()?;
        if !self.service_cidr.contains(&self.cluster_dns) {
            return Err(invalid(
                "cluster-dns",
                format!("{} lies outside service-cidr {}", self.cluster_dns, self.service_cidr),
            ));
        }
        for (field, range) in [("service-cidr", self.service_cidr), ("fabric.cidr", self.fabric.cidr)] {
            if overlaps(range, self.cluster_cidr) {
                return Err(invalid(field, format!("{range} overlaps cluster-cidr {}", self.cluster_cidr)));
            }
        }
        if overlaps(self.service_cidr, self.fabric.cidr) {
            return Err(invalid("service-cidr", format!("overlaps fabric.cidr {}", self.fabric.cidr)));
        }
        self.check_hosts()
    }

    fn check_fabric(&self) -> Result<(), TopologyError> {
        let Fabric { mtu, uplink, .. } = &self.fabric;
        if !(MTU_MIN..=MTU_MAX).contains(mtu) {
            return Err(invalid("fabric.mtu", format!("{mtu} is not between {MTU_MIN} and {MTU_MAX}")));
        }
        let fits = (1..=15).contains(&uplink.len())
            && uplink.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !fits || uplink == "lo" || uplink.starts_with("pleo_") || uplink.starts_with("lxc") {
            return Err(invalid(
                "fabric.uplink",
                format!("`{uplink}` can't be the uplink's name; use 1 to 15 letters and digits, like ens5"),
            ));
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), TopologyError> {
        // Names of directories and of a namespace that stand beside those of the nodes.
        let mut names = BTreeSet::from(["fabric", "nodes", "hosts", "index"]);
        let mut addresses = BTreeSet::new();
        let mut pod_cidrs: Vec<(usize, IpNet)> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let field = |name: &str| format!("nodes[{index}].{name}");
            check_name(&field("name"), &node.name)?;
            if !names.insert(node.name.as_str()) {
                return Err(invalid(&field("name"), format!("`{}` is taken already", node.name)));
            }
            self.check_address(&field("address"), node.address, &mut addresses)?;
            let Some(cidr) = node.pod_cidr else { continue };
            if !self.cluster_cidr.contains(&cidr) {
                let range = self.cluster_cidr;
                return Err(invalid(&field("pod-cidr"), format!("{cidr} lies outside cluster-cidr {range}")));
            }
            if let Some((other, _)) = pod_cidrs.iter().find(|(_, taken)| overlaps(*taken, cidr)) {
                return Err(invalid(&field("pod-cidr"), format!("{cidr} overlaps that of nodes[{other}]")));
            }
            pod_cidrs.push((index, cidr));
        }
        for (index, host) in self.outside.iter().enumerate() {
            let field = |name: &str| format!("outside[{index}].{name}");
            check_name(&field("name"), &host.name)?;
            if !names.insert(host.name.as_str()) {
                return Err(invalid(&field("name"), format!("`{}` is taken already", host.name)));
            }
            self.check_address(&field("address"), host.address, &mut addresses)?;
            for (at, address) in host.addresses.iter().enumerate() {
                let within = [self.fabric.cidr, self.cluster_cidr, self.service_cidr];
                if let Some(range) = within.iter().find(|range| range.contains(address)) {
                    return Err(invalid(
                        &format!("outside[{index}].addresses[{at}]"),
                        format!("{address} lies inside {range}; an outside address must not"),
                    ));
                }
                if !addresses.insert(*address) {
                    return Err(invalid(
                        &format!("outside[{index}].addresses[{at}]"),
                        format!("{address} is taken already"),
                    ));
                }
            }
        }
        match self.outside.iter().filter(|host| host.gateway).count() {
            0 | 1 => Ok(()),
            more => Err(invalid("outside", format!("{more} hosts are marked gateway; mark one"))),
        }
    }

    fn check_address(
        &self,
        field: &str,
        address: IpAddr,
        taken: &mut BTreeSet<IpAddr>,
    ) -> Result<(), TopologyError> {
        let range = self.fabric.cidr;
        if !range.contains(&address) {
            return Err(invalid(field, format!("{address} lies outside fabric.cidr {range}")));
        }
        if address == range.network() || address == range.broadcast() {
            return Err(invalid(field, format!("{address} is the network or broadcast address of {range}")));
        }
        if !taken.insert(address) {
            return Err(invalid(field, format!("{address} is taken already")));
        }
        Ok(())
    }
}

// === impl Fabric ===

impl Default for Fabric {
    fn default() -> Self {
        Self { cidr: fabric_cidr(), mtu: 9001, uplink: "ens5".to_owned() }
    }
}

/// Checks a name that becomes part of namespace, cgroup and directory names: a DNS label of at most 40 letters.
///
/// # Errors
/// [`TopologyError::Invalid`] naming `field`.
pub fn check_name(field: &str, name: &str) -> Result<(), TopologyError> {
    if name.len() <= NAME_MAX && is_label(name) {
        return Ok(());
    }
    Err(invalid(
        field,
        format!("`{name}` is not a name; use at most {NAME_MAX} lower-case letters, digits and inner dashes"),
    ))
}

/// RFC 1123 label.
fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn overlaps(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn invalid(field: &str, problem: String) -> TopologyError {
    TopologyError::Invalid { field: field.to_owned(), problem }
}

fn v4(a: u8, b: u8, c: usize, d: usize) -> IpAddr {
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    IpAddr::from([a, b, byte(c), byte(d)])
}

fn net(address: IpAddr, prefix: u8) -> Option<IpNet> {
    IpNet::new(address, prefix).ok()
}

fn constant(address: [u8; 4], prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::from(address), prefix)
}

fn fabric_cidr() -> IpNet {
    constant([192, 168, 10, 0], 24)
}

fn default_cluster_name() -> String {
    "default".to_owned()
}

fn default_cluster_cidr() -> IpNet {
    constant([172, 16, 0, 0], 16)
}

fn default_service_cidr() -> IpNet {
    constant([10, 96, 0, 0], 12)
}

fn default_cluster_dns() -> IpAddr {
    IpAddr::from([10, 96, 0, 10])
}

fn default_cluster_domain() -> String {
    "cluster.local".to_owned()
}

/// The router of the built-in topology, with a web server of the documentation range (RFC 5737) behind it.
fn default_outside() -> Vec<Outside> {
    let world = IpAddr::from([203, 0, 113, 10]);
    vec![Outside {
        name: "outside".to_owned(),
        address: IpAddr::from([192, 168, 10, 1]),
        gateway: true,
        addresses: vec![world],
        names: BTreeMap::from([("outside.example".to_owned(), vec![world])]),
        pod_routes: false,
    }]
}
