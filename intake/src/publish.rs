//! Which PleopodEndpoint objects this node should write, and which it should remove.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pleopod_model::intent::{ClusterEndpoint, Intent};
use pleopod_model::{IdentityId, Labels, ObjectName};

use crate::crd::{
    AddressPair, EndpointIdentity, EndpointNetworking, PleopodEndpointSpec, PleopodEndpointStatus,
};

/// An endpoint of this node, as the cluster should know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Endpoint number.
    pub id: u16,
    /// UID of the pod.
    pub pod_uid: String,
    /// Its identity.
    pub identity: IdentityId,
    /// The labels of that identity.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// InternalIP of this node.
    pub node_address: Option<IpAddr>,
    /// `ready`, or what it waits for.
    pub state: String,
}

/// What to do so that the API server says what is true here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Objects to create or change; `true` when the object is there already.
    pub upsert: Vec<(ObjectName, bool)>,
    /// Objects of this node whose pod is gone.
    pub delete: Vec<ObjectName>,
}

/// Compares what is published with what is true. Only to be called once Pods and PleopodEndpoints were listed and the
/// local endpoints were restored, or objects of living pods would be removed.
///
/// An endpoint whose Pod is not (any more) on this node says nothing: the name may belong to a pod of another node by
/// now, and two nodes that both insist would write over each other for ever.
pub fn diff(intent: &Intent, node: &str, local: &BTreeMap<ObjectName, Published>) -> Writes {
    let mut writes = Writes::default();
    let here = |name: &ObjectName| intent.pods.contains_key(name) && local.contains_key(name);
    for (name, endpoint) in local.iter().filter(|(name, _)| here(name)) {
        match intent.endpoints.get(name) {
            Some(there) if says(there, node, endpoint) => {}
            there => writes.upsert.push((name.clone(), there.is_some())),
        }
    }
    for (name, there) in &intent.endpoints {
        if there.node == node && !here(name) {
            writes.delete.push(name.clone());
        }
    }
    writes
}

/// Whether the object says what is true, in the parts others rely on.
fn says(there: &ClusterEndpoint, node: &str, endpoint: &Published) -> bool {
    let mut addresses = endpoint.addresses.clone();
    let mut published = there.addresses.clone();
    addresses.sort();
    published.sort();
    there.node == node
        && there.identity == endpoint.identity
        && there.pod_uid == endpoint.pod_uid
        && there.node_address == endpoint.node_address
        && published == addresses
}

// === impl Published ===

impl Published {
    /// The object's `spec`.
    pub fn spec(&self, node: &str) -> PleopodEndpointSpec {
        PleopodEndpointSpec { node: node.to_owned(), pod_uid: self.pod_uid.clone() }
    }

    /// The object's `status`.
    pub fn status(&self) -> PleopodEndpointStatus {
        let of = |v4: bool| self.addresses.iter().find(|a| a.is_ipv4() == v4).map(IpAddr::to_string);
        PleopodEndpointStatus {
            id: i64::from(self.id),
            state: self.state.clone(),
            identity: Some(EndpointIdentity {
                id: i64::from(self.identity.0),
                labels: self.labels.to_strings(),
            }),
            networking: Some(EndpointNetworking {
                node: self.node_address.map(|a| a.to_string()).unwrap_or_default(),
                addressing: vec![AddressPair { ipv4: of(true), ipv6: of(false) }],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use pleopod_model::intent::Pod;

    use super::*;

    const NODE: &str = "k8s-w1";

    fn published(uid: &str) -> Published {
        Published {
            id: 7,
            pod_uid: uid.into(),
            addresses: vec![IpAddr::from([172, 16, 1, 3])],
            state: "ready".into(),
            ..Published::default()
        }
    }

    fn object(node: &str, uid: &str) -> ClusterEndpoint {
        ClusterEndpoint {
            node: node.into(),
            pod_uid: uid.into(),
            addresses: vec![IpAddr::from([172, 16, 1, 3])],
            ..ClusterEndpoint::default()
        }
    }

    /// `web-0` of a StatefulSet: its pod on this node was deleted, DEL has not come yet, and it runs elsewhere already.
    #[test]
    fn a_pod_that_moved_on_is_left_to_its_new_node() {
        let name = ObjectName::new("default", "web-0");
        let local = BTreeMap::from([(name.clone(), published("old"))]);
        let mut intent = Intent::default();
        intent.pods.insert(name.clone(), Pod { uid: "old".into(), ..Pod::default() });
        assert_eq!(diff(&intent, NODE, &local).upsert, [(name.clone(), false)]);
        intent.endpoints.insert(name.clone(), object(NODE, "old"));
        assert_eq!(diff(&intent, NODE, &local), Writes::default());
        // The pod is gone and the object still ours: it goes, whatever the interface waits for.
        intent.pods.clear();
        assert_eq!(diff(&intent, NODE, &local), Writes { upsert: vec![], delete: vec![name.clone()] });
        // The other node has it.
        intent.endpoints.insert(name, object("k8s-w2", "new"));
        assert_eq!(diff(&intent, NODE, &local), Writes::default());
    }
}
