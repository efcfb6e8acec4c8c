//! Services and their endpoints.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{key, keys, mark, sides, values};
use crate::controllers::change::{Change, Decision, shelf};
use crate::controllers::endpoints;
use crate::controllers::fit::domain;
use crate::controllers::run::{Controller, Key};
use crate::core::Core;
use crate::meta;
use crate::store::{Event, Shelf};

/// Keeps EndpointSlices and Endpoints.
pub struct Endpoints;

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn shelves(&mut self, _core: &Core) -> Vec<Shelf> {
        [shelf::SERVICES, shelf::PODS, shelf::NODES, shelf::SLICES, shelf::ENDPOINTS].map(Into::into).to_vec()
    }

    fn all(&mut self, core: &Core) -> Vec<Key> {
        let mut all = keys(shelf::SERVICES, &core.store.list(shelf::SERVICES, None).0);
        all.extend(keys(shelf::SERVICES, &core.store.list(shelf::ENDPOINTS, None).0));
        let slices = core.store.list(shelf::SLICES, None).0;
        all.extend(slices.iter().map(|s| of_slice(&s.value)));
        all
    }

    fn touched(&mut self, core: &Core, shelf: &str, e: &Event, keys: &mut BTreeSet<Key>) {
        let v = &e.object.value;
        match shelf {
            shelf::SERVICES | shelf::ENDPOINTS => mark(keys, shelf::SERVICES, v),
            shelf::SLICES => {
                keys.insert(of_slice(v));
            }
            shelf::NODES => {
                let zone = |v: &Value| domain(v, "topology.kubernetes.io/zone").map(str::to_owned);
                if e.previous.as_ref().and_then(|p| zone(&p.value)) != zone(v) {
                    keys.extend(super::keys(shelf::SERVICES, &core.store.list(shelf::SERVICES, None).0));
                }
            }
            _ => {
                for s in &core.store.list(shelf::SERVICES, Some(meta::namespace(v))).0 {
                    if sides(e).any(|p| endpoints::selects(&s.value, p)) {
                        keys.insert(key(shelf::SERVICES, &s.value));
                    }
                }
            }
        }
    }

    fn ask(&mut self, core: &Core, key: &Key, _now: Timestamp) -> Decision {
        let (s, ns) = (&core.store, Some(key.ns.as_str()));
        let svc = s.get(shelf::SERVICES, &key.ns, &key.name);
        let old = s.get(shelf::ENDPOINTS, &key.ns, &key.name);
        let slices = s.list(shelf::SLICES, ns).0;
        let slices = values(&slices);
        let (svc, old) = (svc.as_ref().map(|s| &s.value), old.as_ref().map(|e| &e.value));
        let chooses = svc.is_some_and(|s| {
            !meta::is_deleting(s) && s.pointer("/spec/selector").is_some_and(|x| x.is_object())
        });
        let mut d = Decision::default();
        if let (Some(svc), true) = (svc, chooses) {
            let (pods, nodes) = (s.list(shelf::PODS, ns).0, s.list(shelf::NODES, None).0);
            let by_name: BTreeMap<&str, &Value> =
                nodes.iter().map(|n| (meta::name(&n.value), &n.value)).collect();
            d.join(endpoints::decide(svc, &values(&pods), &by_name, &slices, old));
        } else if svc.is_none() {
            d.join(endpoints::abandoned(&key.name, &slices, old));
            if d.changes.iter().any(|c| matches!(c, Change::Delete { shelf: shelf::ENDPOINTS, .. })) {
                return d;
            }
        }
        d.join(endpoints::mirror(svc, old, &key.name, &slices));
        d
    }
}

fn of_slice(slice: &Value) -> Key {
    Key::new(shelf::SERVICES, meta::namespace(slice), endpoints::service_of(slice))
}
