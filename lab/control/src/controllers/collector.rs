//! The collector: objects whose owners are gone, children that go first or stay, namespaces that are being emptied,
//! old events.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::change::{Change, Decision, later, released, shelf, time_at};
use super::namespaces;
use super::run::{Controller, Key};
use super::write::resource;
use crate::core::Core;
use crate::meta;
use crate::ops::{DeleteOptions, Place, Propagation, Write};
use crate::resource::Resource;
use crate::store::{self, Event, Shelf, Store, Stored};

/// Takes away what nobody needs any more.
#[derive(Default)]
pub struct Collector {
    /// Names of collections, kept for good so that keys can name them.
    names: Vec<&'static str>,
    /// Which objects name an owner of this uid.
    children: HashMap<String, HashSet<Key>>,
    /// Namespaces that are being deleted.
    going: HashSet<String>,
}

const ORPHANED: &str = "children of";
const SPACE: &str = "contents of";
const OLD: &str = "old events";
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// How long an event is kept, in seconds.
const EVENT_AGE: i64 = 3600;

// === impl Collector ===

impl Collector {
    fn intern(&mut self, shelf: &str) -> &'static str {
        match self.names.iter().find(|n| **n == shelf) {
            Some(n) => n,
            None => {
                // There are as many as kinds of objects, and each is kept once.
                let n: &'static str = Box::leak(shelf.to_owned().into_boxed_str());
                self.names.push(n);
                n
            }
        }
    }

    fn learn(&mut self, kind: &'static str, v: &Value, keys: &mut BTreeSet<Key>) {
        let key = Key::new(kind, meta::namespace(v), meta::name(v));
        let mut owned = false;
        for r in meta::list(v, "/metadata/ownerReferences") {
            owned = true;
            self.children.entry(meta::text(r, "/uid").to_owned()).or_default().insert(key.clone());
        }
        let marked =
            meta::is_deleting(v) && meta::finalizers(v).iter().any(|f| matches!(*f, FOREGROUND | ORPHAN));
        if owned || marked {
            keys.insert(key);
        }
        if kind == shelf::NAMESPACES && meta::is_deleting(v) {
            self.going.insert(meta::name(v).to_owned());
            keys.insert(Key::new(SPACE, "", meta::name(v)));
        }
    }

    /// The children of an owner that are really there and still name it.
    fn children_of(&self, store: &Store, uid: &str) -> Vec<(Key, Arc<Stored>)> {
        let mut out: Vec<_> = self
            .children
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|k| Some((k.clone(), store.get(k.kind, &k.ns, &k.name)?)))
            .filter(|(_, o)| owners(&o.value).iter().any(|r| meta::text(r, "/uid") == uid))
            .collect();
        out.sort_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// Whether the owner a reference names is there. One of a kind that is not served counts as there.
    fn lives(core: &Core, r: &Value, ns: &str) -> bool {
        let Some(res) = owner_kind(core, r) else { return true };
        let ns = if res.namespaced { ns } else { "" };
        core.store
            .get(&res.shelf, ns, meta::text(r, "/name"))
            .is_some_and(|o| meta::uid(&o.value) == meta::text(r, "/uid"))
    }

    /// An object with owners, or one that waits for its children.
    fn object(&mut self, core: &Core, key: &Key) -> Decision {
        let mut d = Decision::default();
        let kind = key.kind;
        let Some(o) = core.store.get(kind, &key.ns, &key.name) else { return d };
        let v = &o.value;
        let finalizers = meta::finalizers(v);
        if meta::is_deleting(v) && finalizers.contains(&ORPHAN) {
            let children = self.children_of(&core.store, meta::uid(v));
            if children.is_empty() {
                d.push(Change::Update { shelf: kind, object: without(v, ORPHAN) });
            }
            for (k, c) in children {
                d.push(Change::Update { shelf: k.kind, object: released(&c.value, meta::uid(v)) });
            }
            // The last child's write does not touch this object.
            d.again_at(Some(Timestamp::now()));
            return d;
        }
        if meta::is_deleting(v) && finalizers.contains(&FOREGROUND) {
            let uid = meta::uid(v);
            let mut held = false;
            for (k, c) in self.children_of(&core.store, uid) {
                held |= owners(&c.value)
                    .iter()
                    .any(|r| meta::text(r, "/uid") == uid && meta::flag(r, "/blockOwnerDeletion"));
                if !meta::is_deleting(&c.value) {
                    erase(core, k.kind, &c.value, Propagation::Foreground);
                }
            }
            if !held {
                d.push(Change::Update { shelf: kind, object: without(v, FOREGROUND) });
            }
            return d;
        }
        let owners = owners(v);
        if owners.is_empty() || meta::is_deleting(v) {
            return d;
        }
        let dead: Vec<&str> =
            owners.iter().filter(|r| !Self::lives(core, r, &key.ns)).map(|r| meta::text(r, "/uid")).collect();
        if dead.len() == owners.len() {
            d.push(Change::delete(kind, v));
        } else if !dead.is_empty() {
            let object = dead.iter().fold(v.clone(), |v, uid| released(&v, uid));
            d.push(Change::Update { shelf: kind, object });
        }
        d
    }

    /// Empties a namespace, then lets it go.
    fn space(&mut self, core: &Core, name: &str) -> Decision {
        let mut d = Decision::default();
        let Some(ns) = core.store.get(shelf::NAMESPACES, "", name) else {
            self.going.remove(name);
            return d;
        };
        if !meta::is_deleting(&ns.value) {
            return d;
        }
        let registry = core.registry();
        let mut kinds: Vec<&Shelf> =
            registry.all().iter().filter(|r| r.namespaced && !r.ephemeral).map(|r| &r.shelf).collect();
        // What would make new pods goes before the pods.
        kinds.sort_by_key(|k| (!k.ends_with(".apps"), k.to_string()));
        kinds.dedup();
        let mut left = 0;
        for kind in kinds {
            let all = core.store.list(kind, Some(name)).0;
            for o in &all {
                if !meta::is_deleting(&o.value) {
                    erase(core, kind, &o.value, Propagation::Background);
                }
            }
            if !all.is_empty() {
                left += core.store.list(kind, Some(name)).0.len();
            }
        }
        if let Some(o) = namespaces::release(&ns.value, left) {
            let Some(r) = resource(core, shelf::NAMESPACES) else { return d };
            let p = Place { resource: &r, version: r.preferred(), namespace: "", name, sub: "" };
            if let Err(e) = core.mutate(&p, &Write::by("namespace-controller"), |_, _| Ok(o)) {
                tracing::debug!(error = %e, name, "letting a namespace go");
                d.again_at(Some(later(Timestamp::now(), 1)));
            }
        }
        d
    }
}

fn owners(v: &Value) -> &[Value] {
    meta::list(v, "/metadata/ownerReferences")
}

fn without(v: &Value, finalizer: &str) -> Value {
    let mut o = v.clone();
    if let Some(all) = meta::map(&mut o, "metadata").get_mut("finalizers").and_then(Value::as_array_mut) {
        all.retain(|f| f != finalizer);
    }
    o
}

fn erase(core: &Core, kind: &str, v: &Value, propagation: Propagation) {
    let Some(r) = resource(core, kind) else { return };
    let p = Place {
        resource: &r,
        version: r.preferred(),
        namespace: meta::namespace(v),
        name: meta::name(v),
        sub: "",
    };
    let o = DeleteOptions { propagation, uid: Some(meta::uid(v).to_owned()), ..DeleteOptions::default() };
    if let Err(e) = core.delete(&p, &o)
        && e.reason != "NotFound"
    {
        tracing::debug!(error = %e, kind, "deleting what is no longer needed");
    }
}

impl Controller for Collector {
    fn name(&self) -> &'static str {
        "kube-controller-manager"
    }

    fn shelves(&mut self, core: &Core) -> Vec<Shelf> {
        let mut all: Vec<Shelf> =
            core.registry().all().iter().filter(|r| !r.ephemeral).map(|r| r.shelf.clone()).collect();
        all.sort();
        all.dedup();
        for s in &all {
            self.intern(s);
        }
        all
    }

    fn all(&mut self, core: &Core) -> Vec<Key> {
        let mut keys = BTreeSet::from([Key::new(OLD, "", "")]);
        self.children.clear();
        for kind in self.names.clone() {
            for o in &core.store.list(kind, None).0 {
                self.learn(kind, &o.value, &mut keys);
            }
        }
        keys.into_iter().collect()
    }

    fn touched(&mut self, core: &Core, shelf: &str, e: &Event, keys: &mut BTreeSet<Key>) {
        let kind = self.intern(shelf);
        let v = &e.object.value;
        if e.change != store::Change::Deleted {
            // Only what is new about owners, or about going, needs a look.
            let same = e.previous.as_ref().is_some_and(|p| {
                owners(&p.value) == owners(v)
                    && meta::is_deleting(&p.value) == meta::is_deleting(v)
                    && meta::finalizers(&p.value) == meta::finalizers(v)
            });
            if !same {
                self.learn(kind, v, keys);
            }
            if let Some(p) = &e.previous {
                for r in owners(&p.value) {
                    let uid = meta::text(r, "/uid");
                    if !owners(v).iter().any(|n| meta::text(n, "/uid") == uid)
                        && let Some(set) = self.children.get_mut(uid)
                    {
                        set.remove(&Key::new(kind, meta::namespace(v), meta::name(v)));
                    }
                }
            }
            if e.previous.is_none() && self.going.contains(meta::namespace(v)) {
                keys.insert(Key::new(SPACE, "", meta::namespace(v)));
            }
            return;
        }
        let key = Key::new(kind, meta::namespace(v), meta::name(v));
        for r in owners(v) {
            let uid = meta::text(r, "/uid");
            if let Some(set) = self.children.get_mut(uid) {
                set.remove(&key);
                if set.is_empty() {
                    self.children.remove(uid);
                }
            }
            // An owner may be waiting for this.
            if let Some(res) = owner_kind(core, r) {
                let ns = if res.namespaced { meta::namespace(v) } else { "" };
                keys.insert(Key::new(self.intern(&res.shelf), ns, meta::text(r, "/name")));
            }
        }
        if self.children.contains_key(meta::uid(v)) {
            keys.insert(Key::new(ORPHANED, "", meta::uid(v)));
        }
        if self.going.contains(meta::namespace(v)) {
            keys.insert(Key::new(SPACE, "", meta::namespace(v)));
        }
        if kind == shelf::NAMESPACES {
            self.going.remove(meta::name(v));
        }
    }

    fn ask(&mut self, core: &Core, key: &Key, now: Timestamp) -> Decision {
        match key.kind {
            SPACE => self.space(core, &key.name),
            ORPHANED => {
                let mut d = Decision::default();
                for (k, _) in self.children_of(&core.store, &key.name) {
                    d.join(self.object(core, &k));
                }
                self.children.remove(&key.name);
                d
            }
            OLD => {
                let mut d = Decision::default();
                for e in &core.store.list(shelf::EVENTS, None).0 {
                    let seen = time_at(&e.value, "/lastTimestamp")
                        .or_else(|| time_at(&e.value, "/metadata/creationTimestamp"));
                    if seen.is_some_and(|t| later(t, EVENT_AGE) <= now) {
                        d.push(Change::delete(shelf::EVENTS, &e.value));
                    }
                }
                d.again_at(Some(later(now, EVENT_AGE / 10)));
                d
            }
            _ => self.object(core, key),
        }
    }
}

/// The resource of the owner a reference names, if it is served.
fn owner_kind(core: &Core, r: &Value) -> Option<Arc<Resource>> {
    let group = meta::text(r, "/apiVersion").split_once('/').map_or("", |(g, _)| g);
    core.registry().by_kind(group, meta::text(r, "/kind"))
}
