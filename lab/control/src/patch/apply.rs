//! Server-side apply: the caller says what it wants; what it no longer says goes, unless others own it; what
//! others own it may not change, unless it insists.

use serde_json::{Map, Value};

use super::fields::{Set, Step, View, compare, member, view};
use super::managed::{self, Owner};
use crate::error::{ApiError, Result};
use crate::meta;
use crate::ops::{Place, Write};
use crate::schema::{ListKind, Schema, Shape};

/// The object that results from applying `applied` to `old`.
pub fn apply(p: &Place<'_>, old: Option<&Value>, applied: Value, w: &Write) -> Result<Value> {
    if !meta::list(&applied, "/metadata/managedFields").is_empty() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let schema = managed::schema(p);
    let wanted = managed::strip(Set::of(&applied, schema), p);
    let me = Owner::of(p, w);
    let Some(old) = old else {
        let mut new = applied;
        if meta::name(&new).is_empty() {
            meta::map(&mut new, "metadata").insert("name".into(), p.name.into());
        }
        managed::write(&mut new, &[Owner { set: wanted, ..me }]);
        return Ok(new);
    };
    let mut owners = managed::read(old);
    let mut new = old.clone();
    meta::map(&mut new, "metadata").shift_remove("resourceVersion");
    merge(&mut new, &applied, schema);

    let (changed, _) = compare(old, &new, schema);
    let changed = managed::strip(changed, p);
    let mut conflicts = Vec::new();
    let force = w.apply == Some(true) || taken_over(old, &changed, &owners, &me, schema);
    for o in owners.iter_mut().filter(|o| !o.is(&me)) {
        let clash = o.set.common(&changed);
        if clash.is_empty() {
            continue;
        }
        if force {
            o.set = o.set.minus(&clash);
        } else {
            conflicts.extend(clash.paths().into_iter().map(|f| (o.shown(), f)));
        }
    }
    if !conflicts.is_empty() {
        return Err(ApiError::apply_conflict(conflicts));
    }

    let mut others = Set::default();
    for o in owners.iter().filter(|o| !o.is(&me)) {
        others.add(&o.set);
    }
    if let Some(mine) = owners.iter().find(|o| o.is(&me)) {
        remove(&mut new, &mine.set.minus(&wanted).minus(&others), &wanted, &others, schema);
    }
    match owners.iter_mut().find(|o| o.is(&me)) {
        Some(o) => {
            if o.set != wanted || !changed.is_empty() {
                o.time = me.time;
            }
            o.version = me.version;
            o.set = wanted;
        }
        None => owners.push(Owner { set: wanted, ..me }),
    }
    managed::write(&mut new, &owners);
    Ok(new)
}

/// Whether all conflicts are about fields that a client-side `kubectl apply` set and nobody changed since: then a
/// server-side apply of kubectl goes on where the client side left off.
fn taken_over(old: &Value, changed: &Set, owners: &[Owner], me: &Owner, schema: &Schema) -> bool {
    if me.manager != "kubectl" {
        return false;
    }
    let last = meta::annotation(old, "kubectl.kubernetes.io/last-applied-configuration");
    let Ok(last) = serde_json::from_str::<Value>(last) else { return false };
    let (moved, gone) = compare(&last, old, schema);
    let allowed = Set::of(&last, schema).minus(&moved).minus(&gone);
    owners.iter().filter(|o| !o.is(me)).all(|o| o.set.common(changed).minus(&allowed).is_empty())
}

/// Puts what `applied` says into `v`.
fn merge(v: &mut Value, applied: &Value, schema: &Schema) {
    match view(applied, schema) {
        View::Leaf => *v = applied.clone(),
        View::Fields(m) => {
            if !v.is_object() {
                *v = Value::Object(Map::new());
            }
            if let Value::Object(have) = v {
                for (k, x) in m {
                    merge(have.entry(k.clone()).or_insert(Value::Null), x, schema.field(k));
                }
            }
        }
        View::Members(items, kind, item) => {
            if !v.is_array() {
                *v = Value::Array(Vec::new());
            }
            let Value::Array(have) = v else { return };
            for x in items {
                let step = member(x, kind);
                match have.iter_mut().find(|h| member(h, kind) == step) {
                    Some(h) if matches!(kind, ListKind::Keyed(_)) => merge(h, x, item),
                    Some(_) => {}
                    None => have.push(x.clone()),
                }
            }
        }
    }
}

/// Takes the fields of `gone` out of `v`; a place under which somebody still wants something stays.
fn remove(v: &mut Value, gone: &Set, wanted: &Set, others: &Set, schema: &Schema) {
    let none = Set::default();
    let schema = schema.real();
    for (step, sub) in &gone.below {
        let (w, o) = (wanted.at(step).unwrap_or(&none), others.at(step).unwrap_or(&none));
        let whole = sub.member && w.is_empty() && o.is_empty();
        match (step, &mut *v) {
            (Step::Field(f), Value::Object(m)) => {
                if whole {
                    m.shift_remove(f);
                } else if let Some(x) = m.get_mut(f) {
                    remove(x, sub, w, o, schema.field(f));
                    let empty =
                        x.as_object().is_some_and(Map::is_empty) || x.as_array().is_some_and(Vec::is_empty);
                    if empty && w.is_empty() && o.is_empty() {
                        m.shift_remove(f);
                    }
                }
            }
            (_, Value::Array(a)) => {
                let Shape::List(kind, item) = &schema.shape else { continue };
                if whole {
                    a.retain(|x| member(x, kind) != *step);
                } else if let Some(x) = a.iter_mut().find(|x| member(x, kind) == *step) {
                    remove(x, sub, w, o, item);
                }
            }
            _ => {}
        }
    }
}
