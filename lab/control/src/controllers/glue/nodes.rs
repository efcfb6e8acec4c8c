//! Nodes, their leases and the pods on them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;
use serde_json::Value;

use super::{keys, mark, values};
use crate::Config;
use crate::controllers::change::{Decision, shelf};
use crate::controllers::nodes::{self, Patience, Range};
use crate::controllers::pods;
use crate::controllers::run::{Controller, Key};
use crate::core::Core;
use crate::meta;
use crate::store::{Event, Shelf};

/// Looks after nodes.
pub struct Nodes {
    ranges: Vec<Range>,
    missing: HashMap<String, Timestamp>,
}

const BLOCKS: &str = "blocks";
const ORPHANS: &str = "orphans";
const LEASES: &str = "kube-node-lease";

/// A lab machine may be slow, or stopped in a debugger for a while.
const PATIENCE: Patience = Patience { silence: 50, orphan: 10 };

impl Nodes {
    /// With the ranges of a configuration.
    pub fn new(c: &Config) -> Self {
        Self { ranges: Range::list(&c.cluster_cidr, c.node_prefix), missing: HashMap::new() }
    }
}

impl Controller for Nodes {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn shelves(&mut self, _core: &Core) -> Vec<Shelf> {
        [shelf::NODES, shelf::LEASES, shelf::PODS].map(Into::into).to_vec()
    }

    fn all(&mut self, core: &Core) -> Vec<Key> {
        let mut all = keys(shelf::NODES, &core.store.list(shelf::NODES, None).0);
        all.push(Key::new(BLOCKS, "", ""));
        all.push(Key::new(ORPHANS, "", ""));
        all
    }

    fn touched(&mut self, core: &Core, shelf: &str, e: &Event, keys: &mut BTreeSet<Key>) {
        let v = &e.object.value;
        match shelf {
            shelf::NODES => {
                mark(keys, shelf::NODES, v);
                if meta::text(v, "/spec/podCIDR").is_empty() {
                    keys.insert(Key::new(BLOCKS, "", ""));
                }
                if e.previous.is_none() || e.change == crate::store::Change::Deleted {
                    keys.insert(Key::new(ORPHANS, "", ""));
                }
            }
            shelf::LEASES => {
                // A renewal only moves the alarm, which looks again itself; a first lease sets it.
                if meta::namespace(v) == LEASES && e.previous.is_none() {
                    keys.insert(Key::new(shelf::NODES, "", meta::name(v)));
                }
            }
            _ => {
                let node = pods::node(v);
                if node.is_empty() {
                    return;
                }
                match core.store.get(shelf::NODES, "", node) {
                    None => keys.insert(Key::new(ORPHANS, "", "")),
                    Some(n) if !healthy(&n.value) => keys.insert(Key::new(shelf::NODES, "", node)),
                    Some(_) => false,
                };
            }
        }
    }

    fn ask(&mut self, core: &Core, key: &Key, now: Timestamp) -> Decision {
        let s = &core.store;
        match key.kind {
            BLOCKS => nodes::blocks(&values(&s.list(shelf::NODES, None).0), &self.ranges),
            ORPHANS => {
                let (pods, all) = (s.list(shelf::PODS, None).0, s.list(shelf::NODES, None).0);
                nodes::orphans(&values(&pods), &values(&all), &mut self.missing, PATIENCE, now)
            }
            _ => {
                let Some(node) = s.get(shelf::NODES, "", &key.name) else { return Decision::default() };
                let lease = s.get(shelf::LEASES, LEASES, &key.name);
                // Whoever can't reach the API server is not silent.
                let heard = match core.away.load(Relaxed) {
                    true => now,
                    false => Timestamp::from_second(core.back_at.load(Relaxed)).unwrap_or_default(),
                };
                let lease = lease.as_ref().map(|l| &l.value);
                let mut d = nodes::heartbeat(&node.value, lease, heard, PATIENCE, now);
                if d.changes.is_empty() {
                    d.changes.extend(nodes::taints(&node.value, now));
                }
                if !healthy(&node.value) {
                    let all = s.list(shelf::PODS, None).0;
                    let here: Vec<&Value> =
                        all.iter().map(|p| &p.value).filter(|p| pods::node(p) == key.name).collect();
                    d.join(nodes::tenants(&node.value, &here, now));
                }
                d
            }
        }
    }
}

/// Nothing about the node concerns the pods on it.
fn healthy(node: &Value) -> bool {
    meta::is_true(node, "Ready")
        && !meta::list(node, "/spec/taints").iter().any(|t| meta::text(t, "/effect") == "NoExecute")
}
