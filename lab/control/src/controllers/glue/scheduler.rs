//! Pods that wait for a node.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{sides, values};
use crate::controllers::change::{Change, Decision, shelf};
use crate::controllers::pods;
use crate::controllers::run::{Controller, Key};
use crate::controllers::scheduler::{decide, waits};
use crate::core::Core;
use crate::store::{self, Event, Shelf};

/// Places pods.
#[derive(Default)]
pub struct Scheduler {
    /// Some pod found no node the last time.
    stuck: bool,
}

const ALL: &str = "pods";

impl Controller for Scheduler {
    fn name(&self) -> &'static str {
        "kube-scheduler"
    }

    fn shelves(&mut self, _core: &Core) -> Vec<Shelf> {
        [shelf::PODS, shelf::NODES].map(Into::into).to_vec()
    }

    fn all(&mut self, _core: &Core) -> Vec<Key> {
        vec![Key::new(ALL, "", "")]
    }

    fn touched(&mut self, _core: &Core, shelf: &str, e: &Event, keys: &mut BTreeSet<Key>) {
        let v = &e.object.value;
        let asks = if shelf == shelf::NODES {
            self.stuck
        } else {
            let gone = e.change == store::Change::Deleted;
            let frees = !pods::node(v).is_empty() && (gone || pods::is_over(v));
            let moved = e.previous.as_ref().is_some_and(|p| pods::node(&p.value).is_empty())
                && !pods::node(v).is_empty();
            (!gone && waits(v)) || (self.stuck && (frees || moved || sides(e).any(waits)))
        };
        if asks {
            keys.insert(Key::new(ALL, "", ""));
        }
    }

    fn ask(&mut self, core: &Core, _key: &Key, now: Timestamp) -> Decision {
        let s = &core.store;
        let (pods, nodes, spaces) =
            (s.list(shelf::PODS, None).0, s.list(shelf::NODES, None).0, s.list(shelf::NAMESPACES, None).0);
        let pods = values(&pods);
        let d = decide(&values(&nodes), &pods, &values(&spaces), now);
        let bound = d.changes.iter().filter(|c| matches!(c, Change::Bind { .. })).count();
        self.stuck = pods.iter().filter(|p| waits(p)).count() > bound;
        d
    }
}
