//! A world of plain objects for tests: takes changes as the API server would, with kubelets that obey at once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Change, Decision, shelf, stamp};
use super::pods;
use crate::meta;

/// Collections of objects by namespace and name.
pub struct World {
    all: BTreeMap<(&'static str, String, String), Value>,
    next: u64,
    /// The time it is.
    pub now: Timestamp,
}

/// An object of a test, from its namespace `n` and name.
pub fn named(kind: &str, name: &str, rest: Value) -> Value {
    let mut v = rest;
    v["kind"] = kind.into();
    v["metadata"]["name"] = name.into();
    if kind != "Node" {
        v["metadata"]["namespace"] = "n".into();
    }
    if v["metadata"]["uid"].is_null() {
        v["metadata"]["uid"] = format!("uid-{kind}-{name}").into();
    }
    v
}

/// A running pod with labels, on a node, with an address; ready or not.
pub fn pod(name: &str, labels: &Value, node: &str, ip: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    named(
        "Pod",
        name,
        json!({
            "metadata": {"labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }),
    )
}

/// A node that is ready, with labels.
pub fn node(name: &str, labels: &Value) -> Value {
    named(
        "Node",
        name,
        json!({"metadata": {"labels": labels}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    )
}

/// `v` with a deletion timestamp.
pub fn going(v: &Value) -> Value {
    let mut v = v.clone();
    v["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
    v
}

// === impl World ===

impl World {
    /// Nothing, at the beginning of 2026.
    pub fn new() -> Self {
        Self { all: BTreeMap::new(), next: 0, now: "2026-01-01T00:00:00Z".parse().unwrap_or_default() }
    }

    /// Puts an object there.
    pub fn put(&mut self, shelf: &'static str, v: Value) {
        self.all.insert((shelf, meta::namespace(&v).to_owned(), meta::name(&v).to_owned()), v);
    }

    /// All objects of a collection.
    pub fn list(&self, shelf: &str) -> Vec<&Value> {
        self.all.iter().filter(|((s, ..), _)| *s == shelf).map(|(_, v)| v).collect()
    }

    /// The object of this name in namespace `n`.
    pub fn get(&self, shelf: &'static str, name: &str) -> Value {
        self.all.get(&(shelf, "n".to_owned(), name.to_owned())).cloned().unwrap_or_default()
    }

    /// Lets seconds pass.
    pub fn pass(&mut self, seconds: i64) {
        self.now = super::change::later(self.now, seconds);
    }

    /// Carries out what was decided; gives how many changes there were, events not counted.
    pub fn take(&mut self, d: Decision) -> usize {
        let mut n = 0;
        for c in d.changes {
            n += usize::from(!matches!(c, Change::Event(_)));
            match c {
                Change::Create { shelf, mut object } => {
                    self.next += 1;
                    let base = meta::text(&object, "/metadata/generateName").to_owned();
                    if !base.is_empty() {
                        object["metadata"]["name"] = format!("{base}{:05}", self.next).into();
                    }
                    object["metadata"]["uid"] = format!("uid{}", self.next).into();
                    object["metadata"]["generation"] = 1.into();
                    object["metadata"]["creationTimestamp"] = stamp(self.now).into();
                    if shelf == shelf::PODS {
                        object["status"] = json!({"phase": "Pending"});
                    }
                    self.put(shelf, object);
                }
                Change::Update { shelf, mut object } => {
                    let g = meta::int(&object, "/metadata/generation").unwrap_or(1);
                    let old = self.get(shelf, meta::name(&object));
                    let bumped = if old.get("spec") == object.get("spec") { g } else { g + 1 };
                    object["metadata"]["generation"] = bumped.into();
                    self.put(shelf, object);
                }
                Change::UpdateStatus { shelf, object } => self.put(shelf, object),
                Change::Delete { shelf, ns, name, .. } => {
                    let key = (shelf, ns, name);
                    let waits =
                        shelf == shelf::PODS && self.all.get(&key).is_some_and(|p| !pods::node(p).is_empty());
                    match (waits, self.all.get_mut(&key)) {
                        (true, Some(v)) => *v = going(v),
                        _ => {
                            self.all.remove(&key);
                        }
                    }
                }
                Change::Bind { ns, name, node, .. } => {
                    if let Some(p) = self.all.get_mut(&(shelf::PODS, ns, name)) {
                        p["spec"]["nodeName"] = node.into();
                    }
                }
                Change::Event(_) => {}
            }
        }
        n
    }

    /// The kubelets: the first `most` pods that wait become ready (those with image `bad` run and are not ready), and
    /// pods on their way out are gone.
    pub fn kubelets(&mut self, most: usize) {
        let now = stamp(self.now);
        self.all.retain(|(s, ..), v| *s != shelf::PODS || !meta::is_deleting(v));
        let waiting = self
            .all
            .iter_mut()
            .filter(|((s, ..), v)| *s == shelf::PODS && meta::text(v, "/status/phase") == "Pending");
        for (_, p) in waiting.take(most) {
            if pods::node(p).is_empty() {
                p["spec"]["nodeName"] = "n1".into();
            }
            let ready = if meta::text(p, "/spec/containers/0/image") == "bad" { "False" } else { "True" };
            p["status"] = json!({"phase": "Running",
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}]});
        }
    }
}
