//! Namespaces and disruption budgets.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{keys, mark, sides, values};
use crate::controllers::change::{Decision, shelf};
use crate::controllers::run::{Controller, Key};
use crate::controllers::{budget, namespaces};
use crate::core::Core;
use crate::meta;
use crate::select::Labels;
use crate::store::{Event, Shelf};

/// Gives every namespace its account and its roots of trust.
pub struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "kube-controller-manager"
    }

    fn shelves(&mut self, _core: &Core) -> Vec<Shelf> {
        [shelf::NAMESPACES, shelf::ACCOUNTS, shelf::CONFIG_MAPS].map(Into::into).to_vec()
    }

    fn all(&mut self, core: &Core) -> Vec<Key> {
        keys(shelf::NAMESPACES, &core.store.list(shelf::NAMESPACES, None).0)
    }

    fn touched(&mut self, _core: &Core, shelf: &str, e: &Event, keys: &mut BTreeSet<Key>) {
        let v = &e.object.value;
        match (shelf, meta::name(v)) {
            (shelf::NAMESPACES, _) => mark(keys, shelf::NAMESPACES, v),
            (_, "default" | "kube-root-ca.crt") => {
                keys.insert(Key::new(shelf::NAMESPACES, "", meta::namespace(v)));
            }
            _ => {}
        }
    }

    fn ask(&mut self, core: &Core, key: &Key, _now: Timestamp) -> Decision {
        let s = &core.store;
        let Some(ns) = s.get(shelf::NAMESPACES, "", &key.name) else { return Decision::default() };
        let account = s.get(shelf::ACCOUNTS, &key.name, "default");
        let roots = s.get(shelf::CONFIG_MAPS, &key.name, "kube-root-ca.crt");
        let changes = namespaces::furnish(
            &ns.value,
            account.as_ref().map(|a| &a.value),
            roots.as_ref().map(|r| &r.value),
            &core.authority.ca_pem,
        );
        Decision { changes, again: None }
    }
}

/// Keeps the status of disruption budgets.
pub struct Budgets;

impl Controller for Budgets {
    fn name(&self) -> &'static str {
        "kube-controller-manager"
    }

    fn shelves(&mut self, _core: &Core) -> Vec<Shelf> {
        [shelf::BUDGETS, shelf::PODS].map(Into::into).to_vec()
    }

    fn all(&mut self, core: &Core) -> Vec<Key> {
        keys(shelf::BUDGETS, &core.store.list(shelf::BUDGETS, None).0)
    }

    fn touched(&mut self, core: &Core, shelf: &str, e: &Event, keys: &mut BTreeSet<Key>) {
        let v = &e.object.value;
        if shelf == shelf::BUDGETS {
            return mark(keys, shelf::BUDGETS, v);
        }
        for b in &core.store.list(shelf::BUDGETS, Some(meta::namespace(v))).0 {
            let guards = |l: &Labels| sides(e).any(|p| l.matches(meta::labels(p)));
            if Labels::from_selector(b.value.pointer("/spec/selector")).as_ref().is_some_and(guards) {
                mark(keys, shelf::BUDGETS, &b.value);
            }
        }
    }

    fn ask(&mut self, core: &Core, key: &Key, _now: Timestamp) -> Decision {
        let Some(pdb) = core.store.get(shelf::BUDGETS, &key.ns, &key.name) else {
            return Decision::default();
        };
        budget::decide(&pdb.value, &values(&core.store.list(shelf::PODS, Some(&key.ns)).0))
    }
}
