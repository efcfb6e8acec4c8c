//! EndpointSlices: who serves a Service.

use k8s_openapi::api::discovery::v1 as k8s;
use pleopod_model::ObjectName;
use pleopod_model::intent::{EndpointSlice, SliceEndpoint, SlicePort};

use super::service::NOT_OURS;
use super::{Complaints, Read, parse_port, parse_protocol};
use crate::Kind;
use crate::object::name_of;

/// Label that names the Service of a slice.
const SERVICE: &str = "kubernetes.io/service-name";

/// Reads one EndpointSlice. Slices of no Service, of Services that are not ours and of DNS names are of no concern. An
/// endpoint or port that can't be read is left out; the others serve.
pub fn read(object: &k8s::EndpointSlice) -> Read<EndpointSlice> {
    let mut complaints = Complaints::about(Kind::EndpointSlice, &object.metadata);
    let name = name_of(&object.metadata);
    let Some(labels) = object.metadata.labels.as_ref() else { return Read::Irrelevant };
    let Some(service) = labels.get(SERVICE).filter(|s| !s.is_empty()) else { return Read::Irrelevant };
    if NOT_OURS.iter().any(|label| labels.contains_key(*label)) {
        return Read::Irrelevant;
    }
    let ipv4 = match object.address_type.as_str() {
        "IPv4" => true,
        "IPv6" => false,
        _ => return Read::Irrelevant,
    };
    let mut slice = EndpointSlice {
        service: ObjectName::new(name.namespace.clone(), service.as_str()),
        ..EndpointSlice::default()
    };
    for (i, port) in object.ports.iter().flatten().enumerate() {
        let field = |name: &str| format!("ports[{i}].{name}");
        let Some(protocol) = parse_protocol(port.protocol.as_deref()) else {
            let text = port.protocol.clone().unwrap_or_default();
            complaints.tell(
                field("protocol"),
                format!("{text:?} is not a protocol; it is left out"),
                "correct it",
            );
            continue;
        };
        // Absent means all ports, which no Service port can be mapped to.
        let Some(number) = port.port else { continue };
        let Some(number) = parse_port(number) else {
            complaints.tell(
                field("port"),
                format!("{number} is not a port; it is left out"),
                "use 1 to 65535",
            );
            continue;
        };
        slice.ports.push(SlicePort { name: port.name.clone().unwrap_or_default(), protocol, port: number });
    }
    for (i, endpoint) in object.endpoints.iter().enumerate() {
        let mut addresses = Vec::new();
        for (j, text) in endpoint.addresses.iter().enumerate() {
            let field = format!("endpoints[{i}].addresses[{j}]");
            let Some(address) = complaints.address(&field, text) else { continue };
            if address.is_ipv4() != ipv4 {
                let message =
                    format!("{address} is not of addressType {}; it is left out", object.address_type);
                complaints.tell(field, message, "use a slice for each family");
                continue;
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            continue;
        }
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        let pod = endpoint.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod")).map(|t| {
            let namespace = t.namespace.as_deref().unwrap_or(&name.namespace);
            ObjectName::new(namespace, t.name.as_deref().unwrap_or_default())
        });
        let hints = endpoint.hints.as_ref();
        let for_nodes = hints.and_then(|h| h.for_nodes.as_ref()).into_iter().flatten();
        let for_zones = hints.and_then(|h| h.for_zones.as_ref()).into_iter().flatten();
        slice.endpoints.push(SliceEndpoint {
            addresses,
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or_default(),
            node: endpoint.node_name.clone(),
            zone: endpoint.zone.clone(),
            for_nodes: for_nodes.map(|n| n.name.clone()).collect(),
            for_zones: for_zones.map(|z| z.name.clone()).collect(),
            pod,
        });
    }
    complaints.good(slice)
}
