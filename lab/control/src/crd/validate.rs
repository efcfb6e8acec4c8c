//! The part of JSON Schema that structural schemas use.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use regex::Regex;
use serde_json::Value;

use crate::error::FieldError;
use crate::meta::{flag, list, text};

/// Fills in defaults, also inside what is there already.
pub fn defaults(v: &mut Value, schema: &Value) {
    match v {
        Value::Object(m) => {
            for (k, s) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if m.get(k).is_none_or(Value::is_null)
                    && let Some(d) = s.get("default")
                {
                    m.insert(k.clone(), d.clone());
                }
                if let Some(x) = m.get_mut(k) {
                    defaults(x, s);
                }
            }
            if let Some(s) = schema.get("additionalProperties").filter(|s| s.is_object()) {
                m.values_mut().for_each(|x| defaults(x, s));
            }
        }
        Value::Array(a) => {
            if let Some(s) = schema.get("items") {
                a.iter_mut().for_each(|x| defaults(x, s));
            }
        }
        _ => {}
    }
}

/// Complains of everything in `v` that `schema` does not allow.
pub fn check(path: &str, v: &Value, schema: &Value, errors: &mut Vec<FieldError>) {
    if v.is_null() && flag(schema, "/nullable") {
        return;
    }
    if !typed(path, v, schema, errors) {
        return;
    }
    let say = |why: String| FieldError::invalid(place(path), v, &format!("{} in body {why}", place(path)));
    if let Some(may) = schema.get("enum").and_then(Value::as_array)
        && !may.contains(v)
    {
        let shown: Vec<String> =
            may.iter().map(|x| x.as_str().map_or_else(|| x.to_string(), str::to_owned)).collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        errors.push(FieldError::unsupported(place(path), v, &shown));
    }
    match v {
        Value::String(s) => string(s, schema, &say, errors),
        Value::Number(n) => number(n.as_f64().unwrap_or(0.0), schema, &say, errors),
        Value::Array(a) => {
            bounds(a.len(), "Items", "items", schema, &say, errors);
            if flag(schema, "/uniqueItems") && a.iter().enumerate().any(|(i, x)| a[..i].contains(x)) {
                errors.push(say("shouldn't contain duplicates".into()));
            }
            if let Some(s) = schema.get("items") {
                a.iter().enumerate().for_each(|(i, x)| check(&format!("{path}[{i}]"), x, s, errors));
            }
            unique(path, a, schema, errors);
        }
        Value::Object(m) => {
            bounds(m.len(), "Properties", "properties", schema, &say, errors);
            for r in list(schema, "/required").iter().filter_map(Value::as_str) {
                if !m.contains_key(r) {
                    errors.push(FieldError::required(join(path, r), ""));
                }
            }
            for (k, x) in m {
                let known = schema.get("properties").and_then(|p| p.get(k));
                if let Some(s) =
                    known.or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()))
                {
                    check(&join(path, k), x, s, errors);
                }
            }
        }
        _ => {}
    }
    combined(path, v, schema, errors);
}

fn typed(path: &str, v: &Value, schema: &Value, errors: &mut Vec<FieldError>) -> bool {
    if flag(schema, "/x-kubernetes-int-or-string") {
        if v.is_string() || v.is_i64() {
            return true;
        }
        errors.push(FieldError::invalid(place(path), v, "must be an integer or a string"));
        return false;
    }
    let want = text(schema, "/type");
    let got = match v {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|f| f.fract() != 0.0) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if want.is_empty() || want == got || (want == "number" && got == "integer") {
        return true;
    }
    errors.push(FieldError {
        field: place(path),
        cause: "FieldValueTypeInvalid",
        detail: format!("Invalid value: {got:?}: {} in body must be of type {want}: {got:?}", place(path)),
    });
    false
}

fn string(s: &str, schema: &Value, say: &dyn Fn(String) -> FieldError, errors: &mut Vec<FieldError>) {
    let n = s.chars().count() as u64;
    let limit = |k: &str| schema.get(k).and_then(Value::as_u64);
    if let Some(min) = limit("minLength").filter(|min| n < *min) {
        errors.push(say(format!("should be at least {min} chars long")));
    }
    if let Some(max) = limit("maxLength").filter(|max| n > *max) {
        errors.push(say(format!("should be at most {max} chars long")));
    }
    let p = text(schema, "/pattern");
    if !p.is_empty() && !matches(p, s) {
        errors.push(say(format!("should match '{p}'")));
    }
    let good = match text(schema, "/format") {
        "ipv4" => s.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => s.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => s
            .split_once('/')
            .is_some_and(|(a, p)| a.parse::<std::net::IpAddr>().is_ok() && p.parse::<u8>().is_ok()),
        "date-time" => s.parse::<jiff::Timestamp>().is_ok(),
        _ => true,
    };
    if !good {
        errors.push(say(format!("must be of type {}: {s:?}", text(schema, "/format"))));
    }
}

/// A pattern that is no regular expression matches everything.
fn matches(pattern: &str, s: &str) -> bool {
    static SEEN: OnceLock<Mutex<HashMap<String, Option<Regex>>>> = OnceLock::new();
    let mut seen = SEEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let re = seen.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
    re.as_ref().is_none_or(|r| r.is_match(s))
}

fn number(n: f64, schema: &Value, say: &dyn Fn(String) -> FieldError, errors: &mut Vec<FieldError>) {
    let limit = |k: &str| schema.get(k).and_then(Value::as_f64);
    if let Some(min) = limit("minimum") {
        if flag(schema, "/exclusiveMinimum") && n <= min {
            errors.push(say(format!("should be greater than {min}")));
        } else if n < min {
            errors.push(say(format!("should be greater than or equal to {min}")));
        }
    }
    if let Some(max) = limit("maximum") {
        if flag(schema, "/exclusiveMaximum") && n >= max {
            errors.push(say(format!("should be less than {max}")));
        } else if n > max {
            errors.push(say(format!("should be less than or equal to {max}")));
        }
    }
    if let Some(step) = limit("multipleOf").filter(|s| *s > 0.0 && (n / s).fract() != 0.0) {
        errors.push(say(format!("should be a multiple of {step}")));
    }
}

fn bounds(
    n: usize,
    key: &str,
    what: &str,
    schema: &Value,
    say: &dyn Fn(String) -> FieldError,
    errors: &mut Vec<FieldError>,
) {
    let limit = |k: String| schema.get(k).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    if let Some(min) = limit(format!("min{key}")).filter(|min| n < *min) {
        errors.push(say(format!("should have at least {min} {what}")));
    }
    if let Some(max) = limit(format!("max{key}")).filter(|max| n > *max) {
        errors.push(say(format!("should have at most {max} {what}")));
    }
}

/// Members of sets and keyed lists may stand only once.
fn unique(path: &str, a: &[Value], schema: &Value, errors: &mut Vec<FieldError>) {
    let keys: Vec<&str> =
        list(schema, "/x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).collect();
    let id = |v: &Value| -> Vec<Value> {
        if keys.is_empty() {
            vec![v.clone()]
        } else {
            keys.iter().map(|k| v.get(k).cloned().unwrap_or(Value::Null)).collect()
        }
    };
    if matches!(text(schema, "/x-kubernetes-list-type"), "set" | "map") {
        for (i, x) in a.iter().enumerate() {
            if a[..i].iter().any(|y| id(y) == id(x)) {
                errors.push(FieldError::duplicate(format!("{path}[{i}]"), x));
            }
        }
    }
}

fn combined(path: &str, v: &Value, schema: &Value, errors: &mut Vec<FieldError>) {
    let fits = |s: &Value| {
        let mut e = Vec::new();
        check(path, v, s, &mut e);
        e.is_empty()
    };
    for s in list(schema, "/allOf") {
        check(path, v, s, errors);
    }
    let any = list(schema, "/anyOf");
    if !any.is_empty() && !any.iter().any(fits) {
        errors.push(FieldError::invalid(
            place(path),
            v,
            &format!("{} in body must validate at least one schema (anyOf)", place(path)),
        ));
    }
    let one = list(schema, "/oneOf");
    if !one.is_empty() && one.iter().filter(|s| fits(s)).count() != 1 {
        errors.push(FieldError::invalid(
            place(path),
            v,
            &format!("{} in body must validate one and only one schema (oneOf)", place(path)),
        ));
    }
    if schema.get("not").is_some_and(fits) {
        errors.push(FieldError::invalid(
            place(path),
            v,
            &format!("{} in body must not validate the schema (not)", place(path)),
        ));
    }
}

fn place(path: &str) -> String {
    if path.is_empty() { "<nil>".into() } else { path.to_owned() }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
