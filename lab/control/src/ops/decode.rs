//! From what was sent to the object that is worked with.

use serde_json::Value;

use super::{Place, Strictness};
use crate::error::{ApiError, Result};
use crate::form;
use crate::meta::{map, text};
use crate::schema::{Findings, prune};

/// Checks that what was sent is what the path speaks of, fills in kind, version and namespace, and takes away
/// what the kind does not know. Gives the object in the version it is stored in.
pub fn decode(
    p: &Place<'_>,
    mut v: Value,
    strictness: Strictness,
    warnings: &mut Vec<String>,
) -> Result<Value> {
    let (r, api) = (p.resource, p.resource.api_version(p.version));
    if !v.is_object() {
        return Err(ApiError::bad_request("the body of the request is no object"));
    }
    let (sent_api, sent_kind) = (text(&v, "/apiVersion").to_owned(), text(&v, "/kind").to_owned());
    if !sent_kind.is_empty() && sent_kind != r.kind {
        return Err(ApiError::bad_request(format!(
            "{sent_kind} in version {sent_api:?} cannot be handled as a {}: no kind {sent_kind:?} is registered for version {sent_api:?}",
            r.kind
        )));
    }
    if !sent_api.is_empty() && sent_api != api {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({sent_api}) does not match the expected API version ({api})"
        )));
    }
    if let Some(version) = r.version(p.version) {
        let mut found = Findings::default();
        prune(&mut v, version.schema(), "", !r.custom, &mut found);
        if let (false, Some((_, say))) = (r.custom, found.mistyped.first()) {
            return Err(ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {say}",
                r.kind, p.version, r.kind
            )));
        }
        if !found.unknown.is_empty() {
            let say: Vec<String> = found.unknown.iter().map(|f| format!("unknown field {f:?}")).collect();
            match strictness {
                Strictness::Strict => {
                    return Err(ApiError::bad_request(format!(
                        "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                        r.kind,
                        p.version,
                        r.kind,
                        say.join(", ")
                    )));
                }
                Strictness::Warn => warnings.extend(say),
                Strictness::Ignore => {}
            }
        }
    }
    v["apiVersion"] = api.into();
    v["kind"] = r.kind.clone().into();
    let m = map(&mut v, "metadata");
    if r.namespaced {
        match m.get("namespace").and_then(Value::as_str) {
            Some(ns) if !ns.is_empty() && ns != p.namespace => {
                return Err(ApiError::bad_request(format!(
                    "the namespace of the provided object does not match the namespace sent on the request ({ns} is not {})",
                    p.namespace
                )));
            }
            _ => m.insert("namespace".into(), p.namespace.into()),
        };
    } else {
        m.shift_remove("namespace");
    }
    m.shift_remove("selfLink");
    Ok(form::incoming(v, r))
}
