//! Services: addresses, ports and policies.
//!
//! What a Service cannot do without (its type, cluster addresses and ports) refuses the whole when it makes no sense.
//! What is only one way among others to reach it, or a wish, is left out and told.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as k8s;
use pleopod_model::intent::{Balancing, RemovedBackend, Service, ServicePort, ServiceType};

use super::{Complaints, Read, created, parse_port, parse_protocol};
use crate::Kind;

mod outside;
mod wishes;

const KEPT: &str = "the Service is used as it was before";

/// Labels of Services that another proxy, or nobody, is to serve; kube-proxy leaves the same ones alone. They are also on
/// the slices of such Services.
pub(super) const NOT_OURS: [&str; 2] =
    ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

/// Reads one Service. Any port that makes no sense refuses the whole, so that a Service is never half there.
pub fn read(object: &k8s::Service) -> Read<Service> {
    let labels = object.metadata.labels.as_ref();
    if labels.is_some_and(|l| NOT_OURS.iter().any(|label| l.contains_key(*label))) {
        return Read::Irrelevant;
    }
    let mut complaints = Complaints::about(Kind::Service, &object.metadata);
    let spec = object.spec.clone().unwrap_or_default();
    let kind = match spec.type_.as_deref() {
        None | Some("" | "ClusterIP") => ServiceType::ClusterIP,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => ServiceType::ExternalName,
        Some(other) => {
            let message = format!("{other:?} is not a type of Service; {KEPT}");
            return complaints.bad(
                "spec.type",
                message,
                "use ClusterIP, NodePort, LoadBalancer or ExternalName",
            );
        }
    };
    let mut service = Service {
        kind,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        created: created(&object.metadata),
        ..Service::default()
    };

    let ips = match &spec.cluster_ips {
        Some(ips) if !ips.is_empty() => ips.clone(),
        _ => spec.cluster_ip.iter().cloned().collect(),
    };
    for (i, text) in ips.iter().enumerate().filter(|(_, t)| !t.is_empty() && *t != "None") {
        match super::parse_address(text) {
            Ok(address) if !service.cluster_ips.contains(&address) => service.cluster_ips.push(address),
            Ok(_) => {}
            Err(why) => {
                let message = format!("{text:?} {why}; {KEPT}");
                return complaints.bad(format!("spec.clusterIPs[{i}]"), message, "correct the address");
            }
        }
    }

    let ports = spec.ports.clone().unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{i}].{name}");
        let name = port.name.clone().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            let message = format!("a Service of several ports must name each; {KEPT}");
            return complaints.bad(field("name"), message, "name the port");
        }
        if !names.insert(name.clone()) {
            return complaints.bad(
                field("name"),
                format!("{name:?} is used twice; {KEPT}"),
                "rename the port",
            );
        }
        let Some(protocol) = parse_protocol(port.protocol.as_deref()) else {
            let text = port.protocol.clone().unwrap_or_default();
            let message = format!("{text:?} is not a protocol; {KEPT}");
            return complaints.bad(field("protocol"), message, "use TCP, UDP or SCTP");
        };
        let Some(number) = parse_port(port.port) else {
            let message = format!("{} is not a port; {KEPT}", port.port);
            return complaints.bad(field("port"), message, "use 1 to 65535");
        };
        if !numbers.insert((protocol, number)) {
            let message = format!("{protocol} {number} is there twice; {KEPT}");
            return complaints.bad(field("port"), message, "remove one of the two ports");
        }
        let node_port = match port.node_port {
            None | Some(0) => None,
            Some(text) => match parse_port(text) {
                Some(number) if node_ports.insert((protocol, number)) => Some(number),
                Some(number) => {
                    let message = format!("{protocol} {number} is there twice; {KEPT}");
                    return complaints.bad(
                        field("nodePort"),
                        message,
                        "give each port a node port of its own",
                    );
                }
                None => {
                    let message = format!("{text} is not a port; {KEPT}");
                    return complaints.bad(field("nodePort"), message, "use 1 to 65535, or leave it out");
                }
            },
        };
        service.ports.push(ServicePort { name, protocol, port: number, node_port });
    }
    // A Service without a cluster address is headless, or was not given one yet: nobody forwards for it.
    if !service.cluster_ips.is_empty() {
        outside::read(&spec, object.status.as_ref(), &mut service, &mut complaints);
        wishes::read(object, &spec, &mut service, &mut complaints);
        not_yet(&service, &mut complaints);
    }
    complaints.good(service)
}

/// What is read and planned, and not done yet.
fn not_yet(service: &Service, complaints: &mut Complaints) {
    let wishes = [
        (
            wishes::ALGORITHM,
            service.balancing == Some(Balancing::LeastConnections),
            "least-connections is not supported yet; backends are chosen at random",
        ),
        (
            wishes::REMOVED,
            service.removed_backend != RemovedBackend::default(),
            "is not supported yet; connections to removed backends go on",
        ),
    ];
    for (annotation, _, message) in wishes.into_iter().filter(|(_, given, _)| *given) {
        complaints.tell(wishes::field(annotation), message, "leave the annotation out");
    }
}

/// Whether the Service has a cluster address of that family; it is served in no other.
fn has_family(service: &Service, address: IpAddr) -> bool {
    service.cluster_ips.iter().any(|c| c.is_ipv4() == address.is_ipv4())
}
