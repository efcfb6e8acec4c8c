//! Labels and annotations: the syntax of keys and values.

use serde_json::Value;

use super::names::is_subdomain;
use crate::error::FieldError;

const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn is_name(s: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    s.len() <= 63
        && edge(s.chars().next())
        && edge(s.chars().last())
        && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_key(s: &str) -> bool {
    match s.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(s),
    }
}

/// Checks keys and values of `metadata.labels`, and keys of `metadata.annotations`.
pub fn check(v: &Value, errors: &mut Vec<FieldError>) {
    map("metadata.labels", v.pointer("/metadata/labels"), errors);
    for k in v.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flat_map(|m| m.keys())
    {
        if !is_key(&k.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &k.as_str().into(), NAME));
        }
    }
}

/// Checks a map of labels.
pub fn map(field: &str, v: Option<&Value>, errors: &mut Vec<FieldError>) {
    for (k, x) in v.and_then(Value::as_object).into_iter().flatten() {
        if !is_key(k) {
            errors.push(FieldError::invalid(field, &k.as_str().into(), NAME));
        }
        let x = x.as_str().unwrap_or("");
        if !x.is_empty() && !is_name(x) {
            let why = if x.len() > 63 { "must be no more than 63 characters" } else { VALUE };
            errors.push(FieldError::invalid(field, &x.into(), why));
        }
    }
}
