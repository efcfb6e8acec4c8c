//! Who holds what.

use std::fmt;
use std::net::IpAddr;

use pleopod_model::{IdentityId, Mac, ObjectName};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// One interface of one container, as the CNI runtime names it: the key of a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

/// Who an address or an endpoint number was given to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The node's router address (`pleo_host`); its endpoint number is the host's.
    Router,
    /// The node's health address.
    Health,
    /// A pod's interface.
    Pod(Attachment),
}

/// What one pod interface was given. The link facts are filled in once the interface exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Which interface.
    pub attachment: Attachment,
    /// Name of the CNI network it was attached to; empty when nobody said (a lease of an earlier version, or one rebuilt
    /// from its interface).
    #[serde(default)]
    pub network: String,
    /// The pod.
    pub pod: ObjectName,
    /// `metadata.uid` of the pod.
    pub pod_uid: String,
    /// Endpoint number on this node.
    pub endpoint_id: u16,
    /// One address of each family the node has a CIDR for.
    pub addresses: Vec<IpAddr>,
    /// When it was given, as people tell the time: nanoseconds since the Unix epoch, 0 when nobody said. To be shown only:
    /// a clock that is set must decide nothing.
    pub created_at: u64,
    /// When it was given: of two leases of one pod, the later is the pod.
    #[serde(default)]
    pub since: Timestamp,
    /// Name of the host side (`lxc...`); empty until the interface exists.
    pub host_ifname: String,
    /// MAC of the pod side.
    pub pod_mac: Mac,
    /// MAC of the host side.
    pub host_mac: Mac,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Cookie of that namespace.
    pub netns_cookie: u64,
    /// Identity last known; [`IdentityId::INIT`] before the first.
    pub identity: IdentityId,
    /// Held since before the agent's last start. Not in the journal: set by restoring from it.
    #[serde(skip)]
    pub restored: bool,
}

// === impl Attachment ===

impl Attachment {
    /// Interface `ifname` of container `container_id`.
    pub fn new(container_id: impl Into<String>, ifname: impl Into<String>) -> Self {
        Self { container_id: container_id.into(), ifname: ifname.into() }
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container_id, self.ifname)
    }
}

// === impl Owner ===

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router => f.write_str("router"),
            Self::Health => f.write_str("health"),
            Self::Pod(attachment) => write!(f, "container {attachment}"),
        }
    }
}
