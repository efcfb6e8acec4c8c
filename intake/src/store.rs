//! The reducer: events in, a current [`Intent`] and the problems of its objects kept.
//!
//! ```text
//!            Listing(kind)            Listed(kind)
//!   (old) ------------------> listing -------------> synced --- Applied, Deleted ---> synced
//!                             | ListItem: applied at once, and noted as seen
//!                             | at Listed: what was not seen is gone
//! ```
//!
//! So a watch that starts over (410 Gone, a server that forgot) never makes what is there vanish in between.

use std::collections::{BTreeMap, BTreeSet};

use pleopod_model::intent::Intent;
use pleopod_model::{IdentityId, Labels, ObjectName, Problem};

use crate::read::{self, Read};
use crate::{Event, Kind, Object};

#[cfg(test)]
mod tests;

/// The state of all watches.
#[derive(Clone, Debug, Default)]
pub struct Store {
    intent: Intent,
    problems: BTreeMap<(Kind, ObjectName), Vec<Problem>>,
    /// Kinds that were listed completely at least once.
    synced: BTreeSet<Kind>,
    /// Names seen in a list under way.
    listing: BTreeMap<Kind, BTreeSet<ObjectName>>,
    /// Reverse of `intent.identities`.
    by_labels: BTreeMap<Labels, BTreeSet<IdentityId>>,
    /// Identities that are to be removed, with what their mark says.
    marked: BTreeMap<IdentityId, String>,
}

/// What an event changed. Empty when the object says nothing new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Nodes.
    pub nodes: BTreeSet<String>,
    /// Namespaces.
    pub namespaces: BTreeSet<String>,
    /// Pods of this node.
    pub pods: BTreeSet<ObjectName>,
    /// Services.
    pub services: BTreeSet<ObjectName>,
    /// EndpointSlices.
    pub endpoint_slices: BTreeSet<ObjectName>,
    /// PleopodEndpoints.
    pub endpoints: BTreeSet<ObjectName>,
    /// PleopodIdentities.
    pub identities: BTreeSet<IdentityId>,
    /// Problems came or went.
    pub problems: bool,
    /// A kind was listed completely for the first time.
    pub synced: bool,
}

// === impl Store ===

impl Store {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the cluster asks for, as far as known.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Whether every kind was listed completely. Before that, what is missing may only be not known yet, and nothing
    /// may be deleted on account of it.
    pub fn is_synced(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.synced.contains(kind))
    }

    /// Kinds not listed yet.
    pub fn waiting_for(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| !self.synced.contains(kind)).collect()
    }

    /// What is wrong with objects, by object.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// The identity of a label set, the lowest number should there be several. None that is [marked](Self::mark_of): it must
    /// be claimed first.
    pub fn identity_of(&self, labels: &Labels) -> Option<IdentityId> {
        self.by_labels.get(labels)?.iter().find(|id| !self.marked.contains_key(id)).copied()
    }

    /// What the mark of an identity says that is removed soon unless somebody uses it
    /// ([`UNUSED_SINCE`](crate::crd::UNUSED_SINCE)).
    pub fn mark_of(&self, identity: IdentityId) -> Option<&str> {
        self.marked.get(&identity).map(String::as_str)
    }

    /// Takes one event in.
    pub fn apply(&mut self, event: Event) -> Changed {
        let mut changed = Changed::default();
        self.apply_into(event, &mut changed);
        changed
    }

    /// Takes one event in and adds what changed to `changed`; for bursts.
    pub fn apply_into(&mut self, event: Event, changed: &mut Changed) {
        match event {
            Event::Listing(kind) => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Event::ListItem(object) => {
                if let Some(seen) = self.listing.get_mut(&object.kind()) {
                    seen.insert(object.name());
                }
                self.put(object, changed);
            }
            Event::Listed(kind) => {
                if let Some(seen) = self.listing.remove(&kind) {
                    for name in self.names(kind).difference(&seen) {
                        self.remove(kind, name, changed);
                    }
                }
                changed.synced |= self.synced.insert(kind);
            }
            Event::Applied(object) => self.put(object, changed),
            Event::Deleted(kind, name) => self.remove(kind, &name, changed),
        }
    }

    fn put(&mut self, object: Object, changed: &mut Changed) {
        let (kind, name) = (object.kind(), object.name());
        match object {
            Object::Node(o) => {
                if let Some(node) = self.keep(kind, &name, read::node::read(&o), changed)
                    && self.intent.nodes.get(&name.name) != Some(&node)
                {
                    self.intent.nodes.insert(name.name.clone(), node);
                    changed.nodes.insert(name.name);
                }
            }
            Object::Namespace(o) => {
                if let Some(labels) = self.keep(kind, &name, read::pod::namespace(&o), changed)
                    && self.intent.namespaces.get(&name.name) != Some(&labels)
                {
                    self.intent.namespaces.insert(name.name.clone(), labels);
                    changed.namespaces.insert(name.name);
                }
            }
            Object::Pod(o) => {
                if let Some(pod) = self.keep(kind, &name, read::pod::read(&o), changed) {
                    set(&mut self.intent.pods, name, pod, &mut changed.pods);
                }
            }
            Object::Service(o) => {
                if let Some(service) = self.keep(kind, &name, read::service::read(&o), changed) {
                    set(&mut self.intent.services, name, service, &mut changed.services);
                }
            }
            Object::EndpointSlice(o) => {
                if let Some(slice) = self.keep(kind, &name, read::slice::read(&o), changed) {
                    set(&mut self.intent.endpoint_slices, name, slice, &mut changed.endpoint_slices);
                }
            }
            Object::PleopodEndpoint(o) => {
                if let Some(endpoint) = self.keep(kind, &name, read::endpoint::read(&o), changed) {
                    set(&mut self.intent.endpoints, name, endpoint, &mut changed.endpoints);
                }
            }
            Object::PleopodIdentity(o) => {
                let Some((id, labels)) = self.keep(kind, &name, read::identity::read(&o), changed) else {
                    return;
                };
                let mark = read::identity::mark(&o);
                if self.marked.get(&id) != mark.as_ref() {
                    self.marked.remove(&id);
                    self.marked.extend(mark.map(|mark| (id, mark)));
                    changed.identities.insert(id);
                }
                if self.intent.identities.get(&id) != Some(&labels) {
                    self.forget_labels(id);
                    self.by_labels.entry(labels.clone()).or_default().insert(id);
                    self.intent.identities.insert(id, labels);
                    changed.identities.insert(id);
                }
            }
            Object::Unreadable { error, .. } => {
                let problem = Problem::new(
                    kind.as_str(),
                    name.clone(),
                    "",
                    format!("can't be read ({error}); it is used as it was before"),
                    "correct the object",
                );
                self.set_problems(kind, &name, vec![problem], changed);
            }
        }
    }

    /// Notes the problems of an object and gives its value if there is one.
    fn keep<T>(&mut self, kind: Kind, name: &ObjectName, read: Read<T>, changed: &mut Changed) -> Option<T> {
        match read {
            Read::Good(value, problems) => {
                self.set_problems(kind, name, problems, changed);
                Some(value)
            }
            Read::Bad(problems) => {
                self.set_problems(kind, name, problems, changed);
                None
            }
            Read::Irrelevant => {
                self.remove(kind, name, changed);
                None
            }
        }
    }

    fn set_problems(&mut self, kind: Kind, name: &ObjectName, problems: Vec<Problem>, changed: &mut Changed) {
        let key = (kind, name.clone());
        if problems.is_empty() {
            changed.problems |= self.problems.remove(&key).is_some();
        } else if self.problems.get(&key) != Some(&problems) {
            self.problems.insert(key, problems);
            changed.problems = true;
        }
    }

    fn remove(&mut self, kind: Kind, name: &ObjectName, changed: &mut Changed) {
        changed.problems |= self.problems.remove(&(kind, name.clone())).is_some();
        match kind {
            Kind::Node => unset(&mut self.intent.nodes, &name.name, &mut changed.nodes),
            Kind::Namespace => unset(&mut self.intent.namespaces, &name.name, &mut changed.namespaces),
            Kind::Pod => unset(&mut self.intent.pods, name, &mut changed.pods),
            Kind::Service => unset(&mut self.intent.services, name, &mut changed.services),
            Kind::EndpointSlice => {
                unset(&mut self.intent.endpoint_slices, name, &mut changed.endpoint_slices)
            }
            Kind::PleopodEndpoint => unset(&mut self.intent.endpoints, name, &mut changed.endpoints),
            Kind::PleopodIdentity => {
                if let Some(id) = read::identity::number(&name.name) {
                    self.forget_labels(id);
                    self.marked.remove(&id);
                    unset(&mut self.intent.identities, &id, &mut changed.identities);
                }
            }
        }
    }

    fn forget_labels(&mut self, id: IdentityId) {
        if let Some(labels) = self.intent.identities.get(&id)
            && let Some(ids) = self.by_labels.get_mut(labels)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_labels.remove(labels);
            }
        }
    }

    /// Names of all objects known of a kind, those with only problems included.
    fn names(&self, kind: Kind) -> BTreeSet<ObjectName> {
        let cluster = |name: &String| ObjectName::new("", name.as_str());
        let mut names: BTreeSet<ObjectName> = match kind {
            Kind::Node => self.intent.nodes.keys().map(cluster).collect(),
            Kind::Namespace => self.intent.namespaces.keys().map(cluster).collect(),
            Kind::Pod => self.intent.pods.keys().cloned().collect(),
            Kind::Service => self.intent.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.intent.endpoint_slices.keys().cloned().collect(),
            Kind::PleopodEndpoint => self.intent.endpoints.keys().cloned().collect(),
            Kind::PleopodIdentity => {
                self.intent.identities.keys().map(|id| cluster(&id.to_string())).collect()
            }
        };
        names.extend(self.problems.keys().filter(|(k, _)| *k == kind).map(|(_, name)| name.clone()));
        names
    }
}

fn set<K: Ord + Clone, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V, changed: &mut BTreeSet<K>) {
    if map.get(&key) != Some(&value) {
        map.insert(key.clone(), value);
        changed.insert(key);
    }
}

fn unset<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, changed: &mut BTreeSet<K>) {
    if map.remove(key).is_some() {
        changed.insert(key.clone());
    }
}

// === impl Changed ===

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
