//! PleopodEndpoint and PleopodIdentity as full objects, and their definitions.
//!
//! `deploy/crds` holds the same definitions as manifests; a test compares them with [`definitions`].
// Several `printcolumn(type_ = "string")` are not a mistake.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::{Client, CustomResource, CustomResourceExt, ResourceExt};
use pleopod_intake::crd as fields;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::answer;

#[cfg(test)]
mod tests;

/// Which pod on which node.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pleopod.io",
    version = "v1alpha1",
    kind = "PleopodEndpoint",
    plural = "pleopodendpoints",
    shortname = "pep",
    namespaced,
    status = "fields::PleopodEndpointStatus",
    doc = "A pod's attachment to the network: who it is and which addresses it has. Written by the agent of its node.",
    printcolumn(
        name = "Security Identity",
        type_ = "integer",
        json_path = ".status.identity.id",
        description = "Number of the security identity"
    ),
    printcolumn(
        name = "Endpoint State",
        type_ = "string",
        json_path = ".status.state",
        description = "ready, or what it waits for"
    ),
    printcolumn(
        name = "IPv4",
        type_ = "string",
        json_path = ".status.networking.addressing[0].ipv4",
        description = "IPv4 address"
    ),
    printcolumn(
        name = "IPv6",
        type_ = "string",
        json_path = ".status.networking.addressing[0].ipv6",
        description = "IPv6 address"
    )
)]
pub struct EndpointSpec {
    /// The fields.
    #[serde(flatten)]
    pub fields: fields::PleopodEndpointSpec,
}

/// What an identity stands for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "pleopod.io",
    version = "v1alpha1",
    kind = "PleopodIdentity",
    plural = "pleopodidentities",
    singular = "pleopodidentity",
    shortname = "pid",
    doc = "The labels that a security identity stands for; the name is its number. Made by the agents, each once."
)]
pub struct IdentitySpec {
    /// The fields.
    #[serde(flatten)]
    pub fields: fields::PleopodIdentitySpec,
}

/// The definitions of our objects. `status` is an ordinary field, no subresource: the agent writes an endpoint whole
/// and in one request.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut all = vec![PleopodEndpoint::crd(), PleopodIdentity::crd()];
    for version in all.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        version.subresources = None;
    }
    all
}

/// Creates the definitions that are not there. What is there stays as it is. Returns the names of those created.
pub async fn install_absent(client: &Client) -> Result<Vec<String>, Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut created = Vec::new();
    for crd in definitions() {
        let name = crd.name_any();
        if answer(|| format!("reading the definition {name}"), api.get_opt(&name)).await?.is_none() {
            let doing = || format!("creating the definition {name}");
            match answer(doing, api.create(&PostParams::default(), &crd)).await {
                Ok(_) => created.push(name.clone()),
                // Another agent was first.
                Err(Error::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(s) if s.is_already_exists()) =>
                    {}
                Err(error) => return Err(error),
            }
        }
        established(&api, &name).await?;
    }
    Ok(created)
}

/// Waits until the server serves the kind.
async fn established(api: &Api<CustomResourceDefinition>, name: &str) -> Result<(), Error> {
    let doing = || format!("waiting for the definition {name} to be established");
    let wait = async {
        loop {
            let crd = answer(doing, api.get(name)).await?;
            let conditions = crd.status.and_then(|s| s.conditions).unwrap_or_default();
            if conditions.iter().any(|c| c.type_ == "Established" && c.status == "True") {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(crate::error::PATIENCE, wait).await {
        Ok(done) => done,
        Err(_) => Err(Error::Timeout { doing: doing(), after: crate::error::PATIENCE }),
    }
}
