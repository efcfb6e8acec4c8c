//! Services: addresses and ports.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as k8s;
use pleopod_model::intent::{Service, ServicePort, ServiceType};

use super::{Complaints, Read, created, parse_port, parse_protocol};
use crate::Kind;

const KEPT: &str = "the Service is used as it was before";

/// Reads one Service. Any port that makes no sense refuses the whole, so that a Service is never half there.
pub fn read(object: &k8s::Service) -> Read<Service> {
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

    let ips = match spec.cluster_ips {
        Some(ips) if !ips.is_empty() => ips,
        _ => spec.cluster_ip.into_iter().collect(),
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

    let ports = spec.ports.unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
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
        let node_port = port.node_port.filter(|p| *p != 0).and_then(parse_port);
        service.ports.push(ServicePort { name, protocol, port: number, node_port });
    }
    if matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer) {
        let kind = spec.type_.unwrap_or_default();
        complaints.tell(
            "spec.type",
            format!("{kind} is not supported yet; the Service answers at its cluster address, on the nodes and in pods"),
            "use ClusterIP, or expect no answer from outside the cluster",
        );
    }
    if spec.session_affinity.as_deref() == Some("ClientIP") && !service.cluster_ips.is_empty() {
        complaints.tell(
            "spec.sessionAffinity",
            "ClientIP is not supported yet; connections are spread over all endpoints",
            "leave it out, or expect a client to meet different pods",
        );
    }
    complaints.good(service)
}
