//! Between the loop and the decisions: which object a change touches, and which objects a decision reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::run::Key;
use crate::meta;
use crate::store::{Event, Stored};

mod endpoints;
mod nodes;
mod scheduler;
mod small;
mod workloads;

pub use endpoints::Endpoints;
pub use nodes::Nodes;
pub use scheduler::Scheduler;
pub use small::{Budgets, Namespaces};
pub use workloads::Workloads;

/// The objects themselves.
fn values(all: &[Arc<Stored>]) -> Vec<&Value> {
    all.iter().map(|s| &s.value).collect()
}

/// The object an event is about, before and after.
fn sides(e: &Event) -> impl Iterator<Item = &Value> {
    e.previous.iter().map(|p| &p.value).chain(std::iter::once(&e.object.value))
}

/// A key for every object of a collection.
fn keys(kind: &'static str, all: &[Arc<Stored>]) -> Vec<Key> {
    all.iter().map(|s| key(kind, &s.value)).collect()
}

fn key(kind: &'static str, v: &Value) -> Key {
    Key::new(kind, meta::namespace(v), meta::name(v))
}

fn mark(keys: &mut BTreeSet<Key>, kind: &'static str, v: &Value) {
    keys.insert(key(kind, v));
}
