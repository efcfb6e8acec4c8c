//! What comes in.

use std::fmt;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pleopod_model::ObjectName;

use crate::crd::{PleopodEndpointSpec, PleopodEndpointStatus, PleopodIdentitySpec};

/// The kinds of objects that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// All Nodes.
    Node,
    /// All Namespaces.
    Namespace,
    /// Pods of this node.
    Pod,
    /// All Services.
    Service,
    /// All EndpointSlices.
    EndpointSlice,
    /// All PleopodEndpoints.
    PleopodEndpoint,
    /// All PleopodIdentities.
    PleopodIdentity,
}

/// One object as the API server sent it.
#[derive(Clone, Debug)]
pub enum Object {
    /// A Node.
    Node(Box<Node>),
    /// A Namespace.
    Namespace(Box<Namespace>),
    /// A Pod.
    Pod(Box<Pod>),
    /// A Service.
    Service(Box<Service>),
    /// An EndpointSlice.
    EndpointSlice(Box<EndpointSlice>),
    /// A PleopodEndpoint.
    PleopodEndpoint(Box<EndpointObject>),
    /// A PleopodIdentity.
    PleopodIdentity(Box<IdentityObject>),
    /// An object that is not even of the right shape.
    Unreadable {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: ObjectName,
        /// What the decoder said.
        error: String,
    },
}

/// A PleopodEndpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointObject {
    /// Name, labels and so on.
    pub metadata: ObjectMeta,
    /// Which pod on which node.
    pub spec: PleopodEndpointSpec,
    /// What it was given.
    pub status: Option<PleopodEndpointStatus>,
}

/// A PleopodIdentity.
#[derive(Clone, Debug, Default)]
pub struct IdentityObject {
    /// Its name is the number.
    pub metadata: ObjectMeta,
    /// Its labels.
    pub spec: PleopodIdentitySpec,
}

/// What happened to an object, or to the watch of a kind.
#[derive(Clone, Debug)]
pub enum Event {
    /// A list of this kind begins; what was known stays until [`Event::Listed`].
    Listing(Kind),
    /// One object of that list.
    ListItem(Object),
    /// The list is complete: what it did not hold is gone.
    Listed(Kind),
    /// Created or changed.
    Applied(Object),
    /// Gone.
    Deleted(Kind, ObjectName),
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Node,
        Self::Namespace,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::PleopodEndpoint,
        Self::PleopodIdentity,
    ];

    /// As manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::PleopodEndpoint => "PleopodEndpoint",
            Self::PleopodIdentity => "PleopodIdentity",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Object ===

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Node(_) => Kind::Node,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::PleopodEndpoint(_) => Kind::PleopodEndpoint,
            Self::PleopodIdentity(_) => Kind::PleopodIdentity,
            Self::Unreadable { kind, .. } => *kind,
        }
    }

    /// Its name.
    pub fn name(&self) -> ObjectName {
        name_of(match self {
            Self::Node(o) => &o.metadata,
            Self::Namespace(o) => &o.metadata,
            Self::Pod(o) => &o.metadata,
            Self::Service(o) => &o.metadata,
            Self::EndpointSlice(o) => &o.metadata,
            Self::PleopodEndpoint(o) => &o.metadata,
            Self::PleopodIdentity(o) => &o.metadata,
            Self::Unreadable { name, .. } => return name.clone(),
        })
    }
}

/// The name in an object's metadata.
pub fn name_of(metadata: &ObjectMeta) -> ObjectName {
    ObjectName::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}
