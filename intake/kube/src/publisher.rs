//! What the agent writes: endpoints of its pods, and what others need to know of its node.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use pleopod_intake::crd::{IPV4_HEALTH, IPV4_ROUTER, IPV6_HEALTH, IPV6_ROUTER};
use pleopod_intake::publish::Published;
use pleopod_model::ObjectName;
use serde_json::json;

use crate::Error;
use crate::crd::{EndpointSpec, PleopodEndpoint};
use crate::error::answer;

/// Writes for one node.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    node: String,
}

// === impl Publisher ===

impl Publisher {
    /// Writes for `node` through this client.
    pub fn new(client: Client, node: impl Into<String>) -> Self {
        Self { client, node: node.into() }
    }

    fn endpoints(&self, namespace: &str) -> Api<PleopodEndpoint> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates or changes the PleopodEndpoint of a pod, in one request when `exists` is right.
    pub async fn upsert_endpoint(
        &self,
        name: &ObjectName,
        what: &Published,
        exists: bool,
    ) -> Result<(), Error> {
        let mut object = PleopodEndpoint::new(&name.name, EndpointSpec { fields: what.spec(&self.node) });
        object.status = Some(what.status());
        object.metadata.namespace = Some(name.namespace.clone());
        if !what.pod_uid.is_empty() {
            // The API server removes the object with its pod even when this node is gone.
            object.metadata.owner_references = Some(vec![owner(name, &what.pod_uid)]);
        }
        let api = self.endpoints(&name.namespace);
        let mut change = exists;
        // Each try learns from the other's failure; a third means someone else writes it too.
        for _ in 0..3 {
            let outcome = if change {
                let doing = || format!("changing PleopodEndpoint {name}");
                answer(doing, api.patch(&name.name, &PatchParams::default(), &Patch::Merge(&object))).await
            } else {
                let doing = || format!("creating PleopodEndpoint {name}");
                answer(doing, api.create(&PostParams::default(), &object)).await
            };
            match outcome {
                Ok(_) => return Ok(()),
                Err(Error::Api { source, .. })
                    if !change && matches!(source.as_ref(), kube::Error::Api(s) if s.is_already_exists()) =>
                {
                    change = true;
                }
                Err(error) if change && error.is_not_found() => change = false,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Timeout {
            doing: format!("writing PleopodEndpoint {name}"),
            after: crate::error::PATIENCE,
        })
    }

    /// Removes the PleopodEndpoint of a pod that is no longer here. One that another node has taken over, or that
    /// `unless_uid` (the pod's present UID) has, stays. Tells whether it was removed.
    pub async fn delete_endpoint(&self, name: &ObjectName, unless_uid: Option<&str>) -> Result<bool, Error> {
        let api = self.endpoints(&name.namespace);
        let there = answer(|| format!("reading PleopodEndpoint {name}"), api.get_opt(&name.name)).await?;
        let Some(there) = there else { return Ok(false) };
        let spec = &there.spec.fields;
        if spec.node != self.node || unless_uid.is_some_and(|uid| uid == spec.pod_uid) {
            return Ok(false);
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: there.resource_version(),
                uid: there.uid(),
            }),
            ..DeleteParams::default()
        };
        match answer(|| format!("removing PleopodEndpoint {name}"), api.delete(&name.name, &params)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            // Changed since it was read, so it is in use; the next comparison tells.
            Err(Error::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(s) if s.is_conflict()) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the other nodes this node's router and health addresses.
    pub async fn annotate_node(&self, router: &[IpAddr], health: &[IpAddr]) -> Result<(), Error> {
        let of = |all: &[IpAddr], v4: bool| all.iter().find(|a| a.is_ipv4() == v4).map(IpAddr::to_string);
        let patch = json!({ "metadata": { "annotations": {
            IPV4_ROUTER: of(router, true),
            IPV6_ROUTER: of(router, false),
            IPV4_HEALTH: of(health, true),
            IPV6_HEALTH: of(health, false),
        }}});
        let api: Api<Node> = Api::all(self.client.clone());
        let doing = || format!("annotating Node {}", self.node);
        answer(doing, api.patch(&self.node, &PatchParams::default(), &Patch::Merge(&patch))).await?;
        Ok(())
    }

    /// Sets the node's condition NetworkUnavailable.
    pub async fn set_network_available(&self, available: bool, message: &str) -> Result<(), Error> {
        let now = k8s_openapi::jiff::Timestamp::now();
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
        let patch = json!({ "status": { "conditions": [{
            "type": "NetworkUnavailable",
            "status": if available { "False" } else { "True" },
            "reason": if available { "PleopodIsUp" } else { "PleopodIsDown" },
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }]}});
        let api: Api<Node> = Api::all(self.client.clone());
        let doing = || format!("setting the condition NetworkUnavailable of Node {}", self.node);
        answer(doing, api.patch_status(&self.node, &PatchParams::default(), &Patch::Strategic(&patch)))
            .await?;
        Ok(())
    }
}

fn owner(pod: &ObjectName, uid: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
    use k8s_openapi::api::core::v1::Pod;
    k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        api_version: Pod::api_version(&()).into_owned(),
        kind: Pod::kind(&()).into_owned(),
        name: pod.name.clone(),
        uid: uid.to_owned(),
        controller: None,
        block_owner_deletion: None,
    }
}
