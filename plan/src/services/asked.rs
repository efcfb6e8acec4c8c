//! What one Service asks for: its frontends, and ports of the node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use pleopod_model::ObjectName;
use pleopod_model::desired::{Backend, Frontend, FrontendKey, FrontendKind, Outside};
use pleopod_model::intent::{EndpointSlice, Protocol, Service, ServicePort, ServiceType};

use super::backends::{Candidates, local_ready};
use super::contest::Owned;
use super::{Here, NodePortKey};

/// What one Service asks for.
#[derive(Default)]
pub(super) struct Asked {
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    pub node_ports: BTreeMap<NodePortKey, NodePort>,
}

/// A port of the node that a Service has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodePort {
    pub service: ObjectName,
    /// Local endpoints, when it is the port that tells health.
    pub health: Option<usize>,
}

// === impl Asked ===

impl Asked {
    pub fn of(name: &ObjectName, service: &Service, slices: &[&EndpointSlice], here: &Here) -> Self {
        let mut asked = Self::default();
        // Without an address of the cluster a Service is headless, whatever else it has.
        if service.kind == ServiceType::ExternalName || service.cluster_ips.is_empty() {
            return asked;
        }
        for port in &service.ports {
            for family in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
                if service.cluster_ips.iter().any(|a| a.is_ipv4() == family.is_ipv4()) {
                    asked.port(name, service, port, slices, family, here);
                }
            }
            if let Some(number) = port.node_port.filter(|_| has_node_ports(service)) {
                let node_port = NodePort { service: name.clone(), health: None };
                asked.node_ports.insert((port.protocol, number), node_port);
            }
        }
        if let Some(number) = service.health_check_node_port {
            let health = Some(local_ready(name, service, slices, here));
            let node_port = NodePort { service: name.clone(), health };
            asked.node_ports.entry((Protocol::Tcp, number)).or_insert(node_port);
        }
        asked
    }

    /// The frontends of one port in one family.
    fn port(
        &mut self,
        name: &ObjectName,
        service: &Service,
        port: &ServicePort,
        slices: &[&EndpointSlice],
        family: IpAddr,
        here: &Here,
    ) {
        let candidates = Candidates::new(name, service, port, slices, family, here);
        let like = |a: &&IpAddr| a.is_ipv4() == family.is_ipv4();
        let mut frontend =
            |address: IpAddr, number: u16, kind, outside, inside_local, backends: &Arc<[Backend]>| {
                let address = SocketAddr::new(address, number);
                let key = FrontendKey { address, protocol: port.protocol };
                let source_ranges =
                    service.source_ranges.as_ref().filter(|_| kind == FrontendKind::LoadBalancer);
                let of_family = |ranges: &Vec<IpNet>| {
                    ranges.iter().filter(|r| r.addr().is_ipv4() == family.is_ipv4()).copied().collect()
                };
                self.frontends.entry(key).or_insert_with(|| Frontend {
                    service: name.clone(),
                    port_name: port.name.clone(),
                    kind,
                    balancing: service.balancing.unwrap_or(here.options.balancing),
                    affinity: service.affinity,
                    removed_backend: service.removed_backend,
                    source_ranges: source_ranges.map(of_family),
                    inside_local,
                    outside,
                    topology: candidates.topology,
                    backends: Arc::clone(backends),
                });
            };
        let policy = service.internal_local;
        let backends = candidates.backends(policy, policy);
        let routed = if here.options.cluster_ips_outside { Outside::Cluster } else { Outside::Refused };
        for address in service.cluster_ips.iter().filter(like) {
            frontend(*address, port.port, FrontendKind::ClusterIP, routed, policy, &backends);
        }
        if !service.is_external() {
            return;
        }
        // Clients inside reach all backends here also when clients outside get only local ones.
        let outside = if service.external_local { Outside::Local } else { Outside::Cluster };
        let backends = if service.external_local || policy {
            candidates.backends(false, service.external_local)
        } else {
            backends
        };
        for address in service.load_balancer_ips.iter().filter(like) {
            frontend(*address, port.port, FrontendKind::LoadBalancer, outside, false, &backends);
        }
        for address in service.external_ips.iter().filter(like) {
            frontend(*address, port.port, FrontendKind::ExternalIP, outside, false, &backends);
        }
        let Some(number) = port.node_port.filter(|_| has_node_ports(service)) else { return };
        for address in here.addresses.iter().filter(like) {
            frontend(*address, number, FrontendKind::NodePort, outside, false, &backends);
        }
        if here.options.node_port_localhost {
            let loopback =
                if family.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            frontend(loopback, number, FrontendKind::NodePort, Outside::Refused, false, &backends);
        }
    }
}

fn has_node_ports(service: &Service) -> bool {
    matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer)
}

// === impl Owned ===

impl Owned for NodePort {
    fn owner(&self) -> &ObjectName {
        &self.service
    }
}
