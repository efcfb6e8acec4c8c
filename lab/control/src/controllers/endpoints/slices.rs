//! Which endpoint stands in which slice.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::member::Member;
use super::{Family, HEADLESS, MANAGER, ME, SERVICE, family_of};
use crate::controllers::change::{Change, Decision, owned_by, same, shelf};
use crate::meta;

/// Most endpoints in one slice.
const MOST: usize = 100;

/// A slice that is there and what it shall hold.
struct Slot<'a, 'm> {
    old: &'a Value,
    hold: Vec<&'a Member<'m>>,
}

// === impl Slot ===

impl Slot<'_, '_> {
    fn is_same(&self) -> bool {
        holds(self.old, &self.hold)
    }
}

fn holds(slice: &Value, hold: &[&Member<'_>]) -> bool {
    let have = meta::list(slice, "/endpoints");
    have.len() == hold.len() && have.iter().zip(hold).all(|(e, m)| m.is_endpoint(e))
}

/// Makes the slices of one family hold what is wanted, moving as little as possible. `groups`: members by their
/// ports.
pub(super) fn reconcile<'a, 'm>(
    svc: &Value,
    family: Family,
    groups: &[(&Value, &'a [Member<'m>])],
    own: &[&'a Value],
    d: &mut Decision,
) {
    let mut spare: Vec<&Value> = Vec::new();
    let mut kept: Vec<Vec<Slot<'a, 'm>>> = groups.iter().map(|_| Vec::new()).collect();
    for s in own.iter().filter(|s| family_of(s) == Some(family)) {
        let ports = s.get("ports").unwrap_or(&Value::Null);
        match groups.iter().position(|(p, _)| same(p, ports)) {
            Some(i) => kept[i].push(Slot { old: s, hold: Vec::new() }),
            None => spare.push(s),
        }
    }
    let mut create: Vec<(&Value, Vec<&Member<'_>>)> = Vec::new();
    for ((ports, members), slots) in groups.iter().zip(&mut kept) {
        let mut waiting: HashMap<(&str, &str), &'a Member<'m>> =
            members.iter().map(|m| (m.identity(), m)).collect();
        for slot in slots.iter_mut() {
            for old in meta::list(slot.old, "/endpoints") {
                let who = (meta::text(old, "/targetRef/uid"), meta::text(old, "/addresses/0"));
                slot.hold.extend(waiting.remove(&who));
            }
        }
        let mut rest: Vec<&'a Member<'m>> =
            members.iter().filter(|m| waiting.contains_key(&m.identity())).collect();
        if !rest.is_empty() {
            // What is new goes first where something changes anyway.
            slots.sort_by_cached_key(Slot::is_same);
        }
        for slot in slots.iter_mut() {
            let n = rest.len().min(MOST.saturating_sub(slot.hold.len()));
            slot.hold.extend(rest.drain(..n));
        }
        while !rest.is_empty() {
            let n = rest.len().min(MOST);
            create.push((*ports, rest.drain(..n).collect()));
        }
        // An emptied slice is free for others.
        slots.retain(|s| {
            if s.hold.is_empty() {
                spare.push(s.old);
            }
            !s.hold.is_empty()
        });
    }
    for ((ports, _), slots) in groups.iter().zip(&kept) {
        for s in slots {
            d.changes.extend(written(svc, family, Some(s.old), Some(ports), &s.hold));
        }
    }
    let full = kept.iter().any(|s| !s.is_empty());
    let mut spare = spare.into_iter();
    for (ports, hold) in &create {
        d.changes.extend(written(svc, family, spare.next(), Some(ports), hold));
    }
    if !full && create.is_empty() {
        // A Service without endpoints keeps one empty slice of each family.
        d.changes.extend(written(svc, family, spare.next(), None, &[]));
    }
    d.changes.extend(spare.map(|s| Change::delete(shelf::SLICES, s)));
}

/// The wish that makes a slice hold this, if it does not already.
fn written(
    svc: &Value,
    family: Family,
    old: Option<&Value>,
    ports: Option<&Value>,
    hold: &[&Member<'_>],
) -> Option<Change> {
    let mut labels: Map<String, Value> = meta::labels(svc).cloned().unwrap_or_default();
    labels.insert(SERVICE.into(), meta::name(svc).into());
    labels.insert(MANAGER.into(), ME.into());
    if meta::text(svc, "/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.into(), "".into());
    } else {
        labels.shift_remove(HEADLESS);
    }
    let null = Value::Null;
    if let Some(o) = old
        && meta::labels(o) == Some(&labels)
        && same(o.get("ports").unwrap_or(&null), ports.unwrap_or(&null))
        && holds(o, hold)
    {
        return None;
    }
    // All but the endpoints, which are many.
    let kept = old.and_then(Value::as_object).map(|o| {
        o.iter()
            .filter(|(k, _)| *k != "endpoints")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>()
    });
    let mut s = kept.map(Value::Object).unwrap_or_else(|| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", meta::name(svc)), "namespace": meta::namespace(svc),
                "ownerReferences": [owned_by(svc, "v1", "Service")],
            },
            "addressType": if family == Family::V4 { "IPv4" } else { "IPv6" },
        })
    });
    meta::map(&mut s, "metadata").insert("labels".into(), labels.into());
    s["endpoints"] = hold.iter().map(|m| m.endpoint()).collect();
    s["ports"] = ports.cloned().unwrap_or(Value::Null);
    Some(match old {
        Some(_) => Change::Update { shelf: shelf::SLICES, object: s },
        None => Change::Create { shelf: shelf::SLICES, object: s },
    })
}
