//! Security identities: a number for a set of labels, the same on every node.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Label, Labels};

/// The number of a security identity.
///
/// 0 is "not known"; 1 to 255 are reserved (the numbers Cilium users know); 256 to 65535 are given to label sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentityId(pub u32);

// === impl IdentityId ===

impl IdentityId {
    /// Not known (yet).
    pub const UNKNOWN: Self = Self(0);
    /// The node the agent runs on.
    pub const HOST: Self = Self(1);
    /// Everything outside the cluster.
    pub const WORLD: Self = Self(2);
    /// A cluster address that Pleopod does not manage.
    pub const UNMANAGED: Self = Self(3);
    /// A node's health address.
    pub const HEALTH: Self = Self(4);
    /// A pod whose labels are not known yet.
    pub const INIT: Self = Self(5);
    /// Another node of the cluster.
    pub const REMOTE_NODE: Self = Self(6);
    /// A host that runs the API server.
    pub const KUBE_APISERVER: Self = Self(7);
    /// The ingress proxy.
    pub const INGRESS: Self = Self(8);

    /// Smallest number for a label set.
    pub const FIRST_CLUSTER: u32 = 256;
    /// Largest number for a label set.
    pub const LAST_CLUSTER: u32 = 65_535;

    /// The reserved name (`host`, `world`, ...), if this is a reserved number.
    pub fn reserved_name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "host",
            2 => "world",
            3 => "unmanaged",
            4 => "health",
            5 => "init",
            6 => "remote-node",
            7 => "kube-apiserver",
            8 => "ingress",
            _ => return None,
        })
    }

    /// `reserved:NAME` as a label set, if this is a reserved number.
    pub fn reserved_labels(self) -> Option<Labels> {
        let name = self.reserved_name()?;
        Some(Labels::from_iter([Label { source: "reserved".into(), key: name.into(), value: String::new() }]))
    }

    /// Every reserved identity, by number.
    pub fn reserved() -> impl Iterator<Item = Self> {
        (1..=8).map(Self)
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
