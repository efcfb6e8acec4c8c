//! Rows of custom resources, as their definition asks for.

use serde_json::Value;

use super::{Column, age};
use crate::meta::{name, text};
use crate::resource::Resource;

/// Name, then what the definition adds; age when it adds nothing.
pub fn columns(r: &Resource, version: &str) -> Vec<Column> {
    let mut out = vec![Column::new("Name", "string", 0)];
    for c in r.version(version).map(|v| v.columns.as_slice()).unwrap_or_default() {
        out.push(Column {
            name: text(c, "/name").into(),
            kind: text(c, "/type").into(),
            priority: c.get("priority").and_then(Value::as_i64).unwrap_or(0),
            description: text(c, "/description").into(),
        });
    }
    if out.len() == 1 {
        out.push(Column::new("Age", "date", 0));
    }
    out
}

/// One cell for each column.
pub fn cells(r: &Resource, version: &str, v: &Value) -> Vec<Value> {
    let mut out = vec![name(v).into()];
    for c in r.version(version).map(|v| v.columns.as_slice()).unwrap_or_default() {
        let found = at(v, text(c, "/jsonPath"));
        out.push(match (text(c, "/type"), found) {
            (_, None) => Value::Null,
            ("date", Some(x)) => age(x.as_str().unwrap_or("")).into(),
            ("string", Some(Value::String(s))) => s.into(),
            ("string", Some(Value::Null)) => Value::Null,
            ("string", Some(x)) => x.to_string().into(),
            (_, Some(x)) => x,
        });
    }
    if out.len() == 1 {
        out.push(age(text(v, "/metadata/creationTimestamp")).into());
    }
    out
}

/// The first value at a simple JSON path: `.a.b`, `.a[0]`, `.a[*].b`, `.a['b.c']`, `.a[?(@.k=="v")].b`.
fn at(v: &Value, path: &str) -> Option<Value> {
    let mut here: Vec<&Value> = vec![v];
    let mut many = false;
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(r) = rest.strip_prefix('.') {
            let end = r.find(['.', '[']).unwrap_or(r.len());
            let key = r[..end].replace("\\", "");
            rest = &r[end..];
            if !key.is_empty() {
                here = here.into_iter().filter_map(|x| x.get(key.as_str())).collect();
            }
        } else if let Some(r) = rest.strip_prefix('[') {
            let end = r.find(']')?;
            let inner = &r[..end];
            rest = &r[end + 1..];
            if inner == "*" {
                many = true;
                here = here.into_iter().filter_map(Value::as_array).flatten().collect();
            } else if let Ok(i) = inner.parse::<usize>() {
                here = here.into_iter().filter_map(|x| x.get(i)).collect();
            } else if let Some(q) = inner.strip_prefix("?(@.").and_then(|q| q.strip_suffix(')')) {
                let (k, want) = q.split_once("==")?;
                let want = want.trim().trim_matches(['"', '\'']);
                here = here
                    .into_iter()
                    .filter_map(Value::as_array)
                    .flatten()
                    .filter(|x| x.get(k.trim()).and_then(Value::as_str) == Some(want))
                    .collect();
            } else {
                let key = inner.trim_matches(['"', '\'']);
                here = here.into_iter().filter_map(|x| x.get(key)).collect();
            }
        } else {
            return None;
        }
    }
    if many && here.len() > 1 {
        let all: Vec<String> =
            here.iter().map(|x| x.as_str().map_or_else(|| x.to_string(), str::to_owned)).collect();
        return Some(all.join(",").into());
    }
    here.first().map(|x| (*x).clone())
}
