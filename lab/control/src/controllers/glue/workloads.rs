//! Deployments, replica sets, daemon sets, stateful sets and jobs, and the pods they make.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{keys, mark, sides, values};
use crate::controllers::change::{Decision, shelf};
use crate::controllers::run::{Controller, Key};
use crate::controllers::{daemonset, deployment, job, replicaset, statefulset};
use crate::core::Core;
use crate::meta;
use crate::select::Labels;
use crate::store::{self, Event, Shelf, Store};

/// Keeps workloads.
pub struct Workloads;

const KINDS: [&str; 5] =
    [shelf::DEPLOYMENTS, shelf::REPLICA_SETS, shelf::DAEMON_SETS, shelf::STATEFUL_SETS, shelf::JOBS];
/// Those that take pods nobody owns.
const ADOPTERS: [&str; 3] = [shelf::REPLICA_SETS, shelf::DAEMON_SETS, shelf::STATEFUL_SETS];

impl Controller for Workloads {
    fn name(&self) -> &'static str {
        "kube-controller-manager"
    }

    fn shelves(&mut self, _core: &Core) -> Vec<Shelf> {
        KINDS.into_iter().chain([shelf::PODS, shelf::NODES]).map(Into::into).collect()
    }

    fn all(&mut self, core: &Core) -> Vec<Key> {
        KINDS.into_iter().flat_map(|k| keys(k, &core.store.list(k, None).0)).collect()
    }

    fn touched(&mut self, core: &Core, shelf: &str, e: &Event, keys: &mut BTreeSet<Key>) {
        let v = &e.object.value;
        if let Some(kind) = KINDS.into_iter().find(|k| *k == shelf) {
            mark(keys, kind, v);
            if kind == shelf::REPLICA_SETS {
                owners(&core.store, e, &[shelf::DEPLOYMENTS], keys);
            }
        } else if shelf == shelf::NODES {
            if e.previous.as_ref().is_none_or(|p| differs(&p.value, v)) || e.change == store::Change::Deleted
            {
                keys.extend(super::keys(shelf::DAEMON_SETS, &core.store.list(shelf::DAEMON_SETS, None).0));
            }
        } else {
            owners(&core.store, e, &ADOPTERS, keys);
            // A deployment that recreates waits for the last old pod to be gone, which no replica set tells of.
            if e.change == store::Change::Deleted
                && let Some(c) = meta::controller(v)
                && let Some(rs) =
                    core.store.get(shelf::REPLICA_SETS, meta::namespace(v), meta::text(c, "/name"))
                && let Some(c) = meta::controller(&rs.value)
            {
                keys.insert(Key::new(shelf::DEPLOYMENTS, meta::namespace(v), meta::text(c, "/name")));
            }
        }
    }

    fn ask(&mut self, core: &Core, key: &Key, now: Timestamp) -> Decision {
        let (s, ns) = (&core.store, Some(key.ns.as_str()));
        let Some(o) = s.get(key.kind, &key.ns, &key.name) else { return Decision::default() };
        let pods = s.list(shelf::PODS, ns).0;
        let pods = values(&pods);
        match key.kind {
            shelf::DEPLOYMENTS => {
                deployment::decide(&o.value, &values(&s.list(shelf::REPLICA_SETS, ns).0), &pods, now)
            }
            shelf::REPLICA_SETS => replicaset::decide(&o.value, &pods, now),
            shelf::JOBS => job::decide(&o.value, &pods, now),
            shelf::DAEMON_SETS => {
                let (nodes, revs) = (s.list(shelf::NODES, None).0, s.list(shelf::REVISIONS, ns).0);
                daemonset::decide(&o.value, &values(&nodes), &pods, &values(&revs), now)
            }
            _ => statefulset::decide(&o.value, &pods, &values(&s.list(shelf::REVISIONS, ns).0), now),
        }
    }
}

/// Marks the controllers of an object, before and after; if it has none, those who would take it.
fn owners(store: &Store, e: &Event, kinds: &[&'static str], keys: &mut BTreeSet<Key>) {
    for v in sides(e) {
        let ns = meta::namespace(v);
        if let Some(c) = meta::controller(v) {
            let kind = match meta::text(c, "/kind") {
                "Deployment" => shelf::DEPLOYMENTS,
                "ReplicaSet" => shelf::REPLICA_SETS,
                "DaemonSet" => shelf::DAEMON_SETS,
                "StatefulSet" => shelf::STATEFUL_SETS,
                "Job" => shelf::JOBS,
                _ => continue,
            };
            keys.insert(Key::new(kind, ns, meta::text(c, "/name")));
            continue;
        }
        for kind in kinds {
            for o in &store.list(kind, Some(ns)).0 {
                let selector = Labels::from_selector(o.value.pointer("/spec/selector"));
                if selector.is_some_and(|l| l.matches(meta::labels(v))) {
                    mark(keys, kind, &o.value);
                }
            }
        }
    }
}

/// Whether a change of a node may change which daemons it has.
fn differs(a: &Value, b: &Value) -> bool {
    let ready = |v| meta::condition(v, "Ready").map(|c| meta::text(c, "/status").to_owned());
    meta::labels(a) != meta::labels(b) || a.get("spec") != b.get("spec") || ready(a) != ready(b)
}
