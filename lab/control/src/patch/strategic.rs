//! Strategic merge: as RFC 7386, but lists whose members have a key merge by it, sets of scalars unite, and
//! `$` directives say what else is meant.

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};
use crate::schema::{ListKind, Schema, Shape};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Changes `v` by `diff`, with what `schema` says of its lists.
pub fn merge(v: &mut Value, diff: Value, schema: &Schema) -> Result<()> {
    let Value::Object(mut diff) = diff else {
        *v = diff;
        return Ok(());
    };
    match diff.shift_remove(PATCH).as_ref().and_then(Value::as_str) {
        Some("replace") => {
            *v = Value::Object(diff);
            return Ok(());
        }
        Some("delete") => {
            *v = Value::Object(Map::new());
            return Ok(());
        }
        _ => {}
    }
    if !v.is_object() {
        *v = Value::Object(Map::new());
    }
    let Value::Object(m) = v else { return Ok(()) };
    if let Some(keep) = diff.shift_remove(RETAIN).as_ref().and_then(Value::as_array) {
        m.retain(|k, _| keep.iter().any(|x| x == k));
    }
    let (mut orders, mut deletes, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for (k, x) in diff {
        if let Some(f) = k.strip_prefix(ORDER) {
            orders.push((f.to_owned(), x));
        } else if let Some(f) = k.strip_prefix(DELETE) {
            deletes.push((f.to_owned(), x));
        } else {
            plain.push((k, x));
        }
    }
    for (f, gone) in deletes {
        if let (Some(Value::Array(have)), Value::Array(gone)) = (m.get_mut(&f), gone) {
            have.retain(|x| !gone.contains(x));
        }
    }
    for (k, x) in plain {
        if x.is_null() {
            m.shift_remove(&k);
            continue;
        }
        let field = schema.field(&k).real();
        match (&field.shape, x) {
            (Shape::List(kind, item), Value::Array(items)) if *kind != ListKind::Atomic => {
                list(m.entry(k).or_insert(Value::Null), items, kind, item)?;
            }
            // An object merges, even when a server-side apply would take it as a whole.
            (_, x @ Value::Object(_)) => merge(m.entry(k).or_insert(Value::Null), x, field)?,
            (_, x) => {
                m.insert(k, x);
            }
        }
    }
    for (f, order) in orders {
        let field = schema.field(&f).real();
        if let (Some(Value::Array(have)), Value::Array(order)) = (m.get_mut(&f), order) {
            sort(have, &order, &key_of(&field.shape));
        }
    }
    Ok(())
}

fn key_of(shape: &Shape) -> Option<String> {
    match shape {
        Shape::List(ListKind::Keyed(keys), _) => keys.first().cloned(),
        _ => None,
    }
}

fn list(v: &mut Value, items: Vec<Value>, kind: &ListKind, item: &Schema) -> Result<()> {
    if !v.is_array() {
        *v = Value::Array(Vec::new());
    }
    let Value::Array(have) = v else { return Ok(()) };
    let ListKind::Keyed(keys) = kind else {
        for x in items {
            if !have.contains(&x) {
                have.push(x);
            }
        }
        return Ok(());
    };
    let Some(key) = keys.first() else { return Ok(()) };
    if items.iter().any(|x| x.get(PATCH).and_then(Value::as_str) == Some("replace")) {
        *have = items.into_iter().filter(|x| x.get(PATCH).is_none()).collect();
        return Ok(());
    }
    for mut x in items {
        let Some(id) = x.get(key).cloned() else {
            return Err(ApiError::bad_request(format!(
                "map: {x} does not contain declared merge key: {key}"
            )));
        };
        let at = have.iter().position(|h| h.get(key) == Some(&id));
        if x.get(PATCH).and_then(Value::as_str) == Some("delete") {
            have.retain(|h| h.get(key) != Some(&id));
            continue;
        }
        if let Some(m) = x.as_object_mut() {
            m.shift_remove(PATCH);
        }
        match at.and_then(|i| have.get_mut(i)) {
            Some(h) => merge(h, x, item)?,
            None => {
                let mut fresh = Value::Object(Map::new());
                merge(&mut fresh, x, item)?;
                have.push(fresh);
            }
        }
    }
    Ok(())
}

/// Puts members in the order given; those the order does not name keep their place behind.
fn sort(have: &mut [Value], order: &[Value], key: &Option<String>) {
    let id = |v: &Value| match key {
        Some(k) => v.get(k).cloned(),
        None => Some(v.clone()),
    };
    let wanted: Vec<Option<Value>> = order.iter().map(id).collect();
    have.sort_by_key(|h| wanted.iter().position(|w| *w == id(h)).unwrap_or(usize::MAX));
}
