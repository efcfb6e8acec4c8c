//! The fields of our own objects, group `pleopod.io`, version `v1alpha1`.
//!
//! `pleopod-intake-kube` wraps them into full objects; `deploy/crds` holds the definitions made from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// API group of our objects.
pub const GROUP: &str = "pleopod.io";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Label of a PleopodIdentity: the hash of its labels, to find it by.
pub const LABELS_HASH: &str = "pleopod.io/labels-hash";
/// Annotation of a PleopodIdentity: nobody was seen to use it since (RFC 3339), and it is removed soon. Who takes such an
/// identity into use removes the annotation first.
pub const UNUSED_SINCE: &str = "pleopod.io/unused-since";

/// Annotation of a Node: its IPv4 router address.
pub const IPV4_ROUTER: &str = "network.pleopod.io/ipv4-router";
/// Annotation of a Node: its IPv6 router address.
pub const IPV6_ROUTER: &str = "network.pleopod.io/ipv6-router";
/// Annotation of a Node: its IPv4 health address.
pub const IPV4_HEALTH: &str = "network.pleopod.io/ipv4-health";
/// Annotation of a Node: its IPv6 health address.
pub const IPV6_HEALTH: &str = "network.pleopod.io/ipv6-health";

/// Which pod on which node an endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PleopodEndpointSpec {
    /// Name of the node the pod is on.
    #[serde(default)]
    pub node: String,
    /// UID of the pod; tells an endpoint left behind by an older pod of the same name.
    #[serde(default)]
    pub pod_uid: String,
}

/// What an endpoint was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PleopodEndpointStatus {
    /// Endpoint number on its node.
    #[serde(default)]
    pub id: i64,
    /// `ready`, or what it waits for.
    #[serde(default)]
    pub state: String,
    /// Who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<EndpointIdentity>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networking: Option<EndpointNetworking>,
}

/// The security identity of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointIdentity {
    /// Its number.
    pub id: i64,
    /// The labels it stands for, `source:key=value`.
    #[serde(default)]
    pub labels: Vec<String>,
}

/// The addresses of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointNetworking {
    /// InternalIP of its node.
    #[serde(default)]
    pub node: String,
    /// Its addresses, one entry an interface.
    #[serde(default)]
    pub addressing: Vec<AddressPair>,
}

/// The addresses of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressPair {
    /// Its IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// Its IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
}

/// What an identity stands for. The object's name is its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PleopodIdentitySpec {
    /// The labels, `source:key=value`, sorted.
    #[serde(default)]
    pub labels: Vec<String>,
}
