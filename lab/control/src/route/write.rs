//! create, update, patch, delete.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use serde_json::{Value, json as j};

use super::{Call, json, parse, read};
use crate::error::{ApiError, FieldError, Result};
use crate::meta::{self, text};
use crate::ops::{self, DeleteOptions, Deleted, Strictness, Write, Written};
use crate::{auth, patch};

/// How the caller of `c` writes.
pub fn manner(c: &Call) -> Result<Write> {
    let dry_run = match c.query.get("dryRun") {
        None | Some("") => false,
        Some("All") => true,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "invalid dryRun {other:?}: supported values: \"All\""
            )));
        }
    };
    let strictness = match c.query.get("fieldValidation") {
        Some("Strict") => Strictness::Strict,
        Some("Ignore") => Strictness::Ignore,
        Some("Warn" | "") | None => Strictness::Warn,
        Some(other) => {
            return Err(ApiError::bad_request(format!("invalid fieldValidation {other:?}")));
        }
    };
    let agent = c.headers.get(header::USER_AGENT).and_then(|a| a.to_str().ok()).unwrap_or("unknown");
    let manager = match c.query.get("fieldManager") {
        Some(m) if !m.is_empty() => m.to_owned(),
        _ => agent.split(['/', ' ']).next().unwrap_or("unknown").to_owned(),
    };
    Ok(Write { manager, dry_run, strictness, apply: None })
}

/// The answer to a write.
pub fn answer(c: &Call, w: &Written) -> Response<Body> {
    let code = if w.created { 201 } else { 200 };
    let mut r = json(code, c.form.one(&w.object, &c.resource, &c.version, &mut true));
    for say in &w.warnings {
        let clean: String =
            say.chars().map(|ch| if ch == '"' { '\'' } else { ch }).filter(|ch| !ch.is_control()).collect();
        if let Ok(v) = HeaderValue::from_str(&format!("299 - \"{clean}\"")) {
            r.headers_mut().append(header::WARNING, v);
        }
    }
    r
}

/// POST to a collection.
pub fn create(c: &Call, body: Bytes) -> Result<Response<Body>> {
    let w = manner(c)?;
    let p = c.place();
    let mut warnings = Vec::new();
    if c.resource.namespaced && c.namespace.is_none() && !c.resource.ephemeral {
        return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
    }
    let sent = parse(&body)?;
    if c.resource.ephemeral {
        let mut w = Vec::new();
        let v = ops::decode(&p, sent, Strictness::Ignore, &mut w)?;
        return Ok(json(201, auth::review(&c.core, &c.user, &c.resource.kind, v).to_string()));
    }
    let v = ops::decode(&p, sent, w.strictness, &mut warnings)?;
    let mut made = c.core.create(&p, v, &w)?;
    warnings.append(&mut made.warnings);
    made.warnings = warnings;
    Ok(answer(c, &made))
}

/// PUT of an object.
pub fn update(c: &Call, body: Bytes) -> Result<Response<Body>> {
    let w = manner(c)?;
    let p = c.place();
    let mut warnings = Vec::new();
    let v = ops::decode(&p, parse(&body)?, w.strictness, &mut warnings)?;
    let blind = meta::rv(&v).is_empty() && (c.resource.custom || c.resource.plural == "leases");
    let mut done = c.core.mutate(&p, &w, |old, _| match old {
        Some(_) if blind => {
            let e =
                FieldError::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
            Err(ApiError::invalid(&c.resource.group, &c.resource.plural, p.name, &[e]))
        }
        Some(_) => Ok(v),
        None => Err(p.not_found()),
    })?;
    done.warnings.extend(warnings);
    Ok(answer(c, &done))
}

/// PATCH of an object, in one of the four ways.
pub fn patch(c: &Call, body: Bytes) -> Result<Response<Body>> {
    let mut w = manner(c)?;
    let p = c.place();
    let content = c.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let content = content.split(';').next().unwrap_or("").trim();
    let kind = patch::Kind::of(content)
        .filter(|k| *k != patch::Kind::Strategic || !c.resource.custom)
        .ok_or_else(|| ApiError::unsupported_media(content, patch::Kind::accepted(!c.resource.custom)))?;
    if kind == patch::Kind::Apply {
        if c.query.get("fieldManager").unwrap_or("").is_empty() {
            return Err(ApiError::bad_request(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        }
        w.apply = Some(c.query.is("force"));
    }
    let diff = parse(&body)?;
    let done = c.core.mutate(&p, &w, |old, warnings| {
        if kind == patch::Kind::Apply {
            let applied = ops::decode(&p, diff, w.strictness, warnings)?;
            if !c.sub.is_empty() && old.is_none() {
                return Err(p.not_found());
            }
            return patch::apply(&p, old, applied, &w);
        }
        let old = old.ok_or_else(|| p.not_found())?;
        let schema = c.resource.version(&c.version).map_or(&crate::schema::ANY, |v| v.schema());
        let mut new = old.clone();
        // A patch that does not speak of the version is for whatever version there is.
        let pinned = diff.is_array() || diff.pointer("/metadata/resourceVersion").is_some();
        kind.patch(&mut new, diff, schema)?;
        if !pinned || text(&new, "/metadata/resourceVersion").is_empty() {
            meta::map(&mut new, "metadata").shift_remove("resourceVersion");
        }
        ops::decode(&p, new, w.strictness, warnings)
    })?;
    Ok(answer(c, &done))
}

/// DELETE of one object.
pub fn delete(c: &Call, body: Bytes) -> Result<Response<Body>> {
    let o = DeleteOptions::read(&parse(&body)?, &c.query)?;
    let p = c.place();
    Ok(match c.core.delete(&p, &o)? {
        Deleted::Going(o) => json(200, c.form.one(&o, &c.resource, &c.version, &mut true)),
        // Pods answer with themselves, most others with a Status.
        Deleted::Gone(o) if c.resource.plural == "pods" && c.resource.group.is_empty() => {
            json(200, c.form.one(&o, &c.resource, &c.version, &mut true))
        }
        Deleted::Gone(o) => {
            let mut d =
                j!({"name": meta::name(&o.value), "kind": c.resource.plural, "uid": meta::uid(&o.value)});
            if !c.resource.group.is_empty() {
                d["group"] = c.resource.group.clone().into();
            }
            let s =
                j!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": d});
            json(200, s.to_string())
        }
    })
}

/// DELETE of a collection.
pub fn delete_all(c: &Call, body: Bytes) -> Result<Response<Body>> {
    let o = DeleteOptions::read(&parse(&body)?, &c.query)?;
    let (labels, fields) = read::selectors(c)?;
    let (all, rv) = c.core.store.list(&c.resource.shelf, c.namespace.as_deref());
    let mut gone = Vec::new();
    for x in all {
        if !labels.matches(meta::labels(&x.value)) || !fields.matches(&c.form.shown(&x.value, &c.resource)) {
            continue;
        }
        let mut p = c.place();
        p.namespace = meta::namespace(&x.value);
        p.name = meta::name(&x.value);
        match c.core.delete(&p, &o) {
            Ok(Deleted::Gone(d) | Deleted::Going(d)) => gone.push(d),
            Err(e) if e.code == 404 => {}
            Err(e) => return Err(e),
        }
    }
    let m: Value = j!({"resourceVersion": rv.to_string()});
    Ok(json(200, c.form.many(gone.iter().map(AsRef::as_ref), &c.resource, &c.version, m)))
}
