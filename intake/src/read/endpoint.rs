//! PleopodEndpoints: pods of the cluster with their identity, as their nodes tell.

use pleopod_model::IdentityId;
use pleopod_model::intent::ClusterEndpoint;

use super::{Complaints, Read, created, parse_address};
use crate::Kind;
use crate::object::EndpointObject;

/// Reads one PleopodEndpoint. One without an identity yet counts as `init`.
pub fn read(object: &EndpointObject) -> Read<ClusterEndpoint> {
    let mut complaints = Complaints::about(Kind::PleopodEndpoint, &object.metadata);
    if object.spec.node.is_empty() {
        let message = "it names no node; the endpoint is used as it was before";
        return complaints.bad("spec.node", message, "delete it; the agents make the objects they need");
    }
    let status = object.status.clone().unwrap_or_default();
    let networking = status.networking.unwrap_or_default();
    let identity = match status.identity {
        None => IdentityId::INIT,
        Some(identity) => match u32::try_from(identity.id) {
            Ok(id) if (IdentityId::FIRST_CLUSTER..=IdentityId::LAST_CLUSTER).contains(&id) => IdentityId(id),
            // The only reserved number a pod may have; others would lend it the rights of a node or the world.
            Ok(id) if id == IdentityId::INIT.0 => IdentityId::INIT,
            _ => {
                return complaints.bad(
                    "status.identity.id",
                    format!(
                        "{} is not the identity of a pod; the endpoint is used as it was before",
                        identity.id
                    ),
                    "use 256 to 65535",
                );
            }
        },
    };
    let mut addresses = Vec::new();
    for (i, pair) in networking.addressing.iter().enumerate() {
        for (family, text) in [("ipv4", &pair.ipv4), ("ipv6", &pair.ipv6)] {
            let Some(text) = text.as_deref().filter(|t| !t.is_empty()) else { continue };
            let field = format!("status.networking.addressing[{i}].{family}");
            let Some(address) = complaints.address(&field, text) else { continue };
            if address.is_ipv4() != (family == "ipv4") {
                complaints.tell(
                    field,
                    format!("{address} is of the other family; it is left out"),
                    "correct it",
                );
                continue;
            }
            addresses.push(address);
        }
    }
    let node_address = match networking.node.as_str() {
        "" => None,
        text => parse_address(text)
            .map_err(|why| {
                complaints.tell(
                    "status.networking.node",
                    format!("{text:?} {why}; it is left out"),
                    "correct it",
                );
            })
            .ok(),
    };
    complaints.good(ClusterEndpoint {
        identity,
        addresses,
        node_address,
        node: object.spec.node.clone(),
        pod_uid: object.spec.pod_uid.clone(),
        created: created(&object.metadata),
    })
}
