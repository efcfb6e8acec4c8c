//! What a controller wants done, and the pieces such wishes are made of.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::meta;

/// Names of the collections that controllers read and write, as the store knows them.
pub mod shelf {
    /// Core.
    pub const PODS: &str = "pods";
    /// Core.
    pub const NODES: &str = "nodes";
    /// Core.
    pub const SERVICES: &str = "services";
    /// Core.
    pub const ENDPOINTS: &str = "endpoints";
    /// Core.
    pub const NAMESPACES: &str = "namespaces";
    /// Core.
    pub const ACCOUNTS: &str = "serviceaccounts";
    /// Core.
    pub const CONFIG_MAPS: &str = "configmaps";
    /// Core.
    pub const EVENTS: &str = "events";
    /// discovery.k8s.io
    pub const SLICES: &str = "endpointslices.discovery.k8s.io";
    /// apps
    pub const DEPLOYMENTS: &str = "deployments.apps";
    /// apps
    pub const REPLICA_SETS: &str = "replicasets.apps";
    /// apps
    pub const DAEMON_SETS: &str = "daemonsets.apps";
    /// apps
    pub const STATEFUL_SETS: &str = "statefulsets.apps";
    /// batch
    pub const JOBS: &str = "jobs.batch";
    /// apps
    pub const REVISIONS: &str = "controllerrevisions.apps";
    /// coordination.k8s.io
    pub const LEASES: &str = "leases.coordination.k8s.io";
    /// policy
    pub const BUDGETS: &str = "poddisruptionbudgets.policy";
    /// scheduling.k8s.io
    pub const PRIORITIES: &str = "priorityclasses.scheduling.k8s.io";
}

/// One wish. Objects that replace others carry the resourceVersion they were decided on.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Make this object. A pod made for an owner is told of in an event on the owner.
    Create {
        /// Collection.
        shelf: &'static str,
        /// The object; `generateName` is honoured.
        object: Value,
    },
    /// Replace an object, all but its status.
    Update {
        /// Collection.
        shelf: &'static str,
        /// The whole object.
        object: Value,
    },
    /// Replace the status of an object.
    UpdateStatus {
        /// Collection.
        shelf: &'static str,
        /// The whole object.
        object: Value,
    },
    /// Delete this very object.
    Delete {
        /// Collection.
        shelf: &'static str,
        /// Namespace.
        ns: String,
        /// Name.
        name: String,
        /// The uid it must have.
        uid: String,
        /// Seconds it may take to go; absent: what the object itself says.
        grace: Option<i64>,
    },
    /// Put a pod on a node.
    Bind {
        /// Namespace of the pod.
        ns: String,
        /// Name of the pod.
        name: String,
        /// The uid it must have.
        uid: String,
        /// The node.
        node: String,
    },
    /// Tell of something.
    Event(Event),
}

/// What stands in an `Event` object.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `ObjectReference` of what it is about.
    pub about: Value,
    /// A warning, or normal.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// The component that tells.
    pub from: &'static str,
}

/// The answer of a controller.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// What to do, in this order.
    pub changes: Vec<Change>,
    /// Ask again at this time even if nothing happens until then.
    pub again: Option<Timestamp>,
}

// === impl Decision ===

impl Decision {
    /// Adds a wish.
    pub fn push(&mut self, c: Change) {
        self.changes.push(c);
    }

    /// Asks to be asked again at `t`, or earlier if already said so.
    pub fn again_at(&mut self, t: Option<Timestamp>) {
        if let Some(t) = t {
            self.again = Some(self.again.map_or(t, |a| a.min(t)));
        }
    }

    /// Takes another answer in.
    pub fn join(&mut self, other: Decision) {
        self.changes.extend(other.changes);
        self.again_at(other.again);
    }
}

// === impl Change ===

impl Change {
    /// Deletes `object` in its own time.
    pub fn delete(shelf: &'static str, object: &Value) -> Self {
        Self::delete_in(shelf, object, None)
    }

    /// Deletes `object` and gives it `grace` seconds.
    pub fn delete_in(shelf: &'static str, object: &Value, grace: Option<i64>) -> Self {
        Self::Delete {
            shelf,
            ns: meta::namespace(object).to_owned(),
            name: meta::name(object).to_owned(),
            uid: meta::uid(object).to_owned(),
            grace,
        }
    }

    /// Puts `pod` on `node`.
    pub fn bind(pod: &Value, node: &str) -> Self {
        Self::Bind {
            ns: meta::namespace(pod).to_owned(),
            name: meta::name(pod).to_owned(),
            uid: meta::uid(pod).to_owned(),
            node: node.to_owned(),
        }
    }

    /// Tells something about `object`, whose kind is `api_version` and `kind`.
    pub fn tell(
        object: &Value,
        (api_version, kind): (&str, &str),
        warning: bool,
        reason: &'static str,
        message: String,
        from: &'static str,
    ) -> Self {
        let about = json!({
            "apiVersion": api_version, "kind": kind, "namespace": meta::namespace(object),
            "name": meta::name(object), "uid": meta::uid(object), "resourceVersion": meta::rv(object),
        });
        Self::Event(Event { about, warning, reason, message, from })
    }
}

/// The `ownerReferences` entry that makes `owner` the controller of something.
pub fn owned_by(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": meta::name(owner), "uid": meta::uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// The uid of the controller of an object, or the empty string.
pub fn controller_uid(object: &Value) -> &str {
    meta::controller(object).map_or("", |c| meta::text(c, "/uid"))
}

/// `object` with `owner` added as its controller.
pub fn adopted(object: &Value, owner: Value) -> Value {
    let mut o = object.clone();
    let m = meta::map(&mut o, "metadata");
    match m.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        Some(list) => list.push(owner),
        None => {
            m.insert("ownerReferences".into(), Value::Array(vec![owner]));
        }
    }
    o
}

/// `object` without the owner of this uid.
pub fn released(object: &Value, uid: &str) -> Value {
    let mut o = object.clone();
    if let Some(list) = meta::map(&mut o, "metadata").get_mut("ownerReferences").and_then(Value::as_array_mut)
    {
        list.retain(|r| meta::text(r, "/uid") != uid);
    }
    o
}

/// A wish to write `status`, unless it already stands there. Fields of the old status that the new one does not
/// name are lost.
pub fn status_change(shelf: &'static str, object: &Value, status: Map<String, Value>) -> Option<Change> {
    let status = Value::Object(status);
    if object.get("status").is_some_and(|s| same(s, &status)) {
        return None;
    }
    let mut o = object.clone();
    o["status"] = status;
    Some(Change::UpdateStatus { shelf, object: o })
}

/// Equality that takes an absent field, null, and an empty list or map for the same.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| y.get(k).map_or_else(|| nothing(v), |w| same(v, w)))
                && y.iter().all(|(k, v)| x.contains_key(k) || nothing(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        _ => a == b || (nothing(a) && nothing(b)),
    }
}

fn nothing(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}

/// A time as Kubernetes writes it, to the second.
pub fn stamp(t: Timestamp) -> String {
    Timestamp::from_second(t.as_second()).unwrap_or(t).to_string()
}

/// The time written at a JSON pointer.
pub fn time_at(v: &Value, pointer: &str) -> Option<Timestamp> {
    meta::text(v, pointer).parse().ok()
}

/// `t` and `seconds` more.
pub fn later(t: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(t.as_second().saturating_add(seconds)).unwrap_or(t)
}

/// A condition of this type, status, reason and message. Its transition time is that of `old` if the status is the
/// same, else `now`.
pub fn condition(
    old: Option<&Value>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    let since = old
        .filter(|o| meta::text(o, "/status") == status)
        .map(|o| meta::text(o, "/lastTransitionTime"))
        .filter(|t| !t.is_empty());
    json!({
        "type": kind, "status": status,
        "lastTransitionTime": since.map_or_else(|| stamp(now), str::to_owned),
        "reason": reason, "message": message,
    })
}
