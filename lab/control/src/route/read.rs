//! get, list, watch.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use base64::Engine as _;
use serde_json::{Value, json};

use super::{Call, json, timeout};
use crate::error::{ApiError, Result};
use crate::meta;
use crate::select::{Fields, Labels};
use crate::store::Stored;
use crate::watch::{self, Ask, Start};

/// One object.
pub fn get(c: &Call) -> Result<Response<Body>> {
    let p = c.place();
    let o = c.core.store.get(&c.resource.shelf, p.namespace, p.name).ok_or_else(|| p.not_found())?;
    Ok(json(200, c.form.one(&o, &c.resource, &c.version, &mut true)))
}

/// Label and field selectors of a call.
pub fn selectors(c: &Call) -> Result<(Labels, Fields)> {
    let known = c
        .resource
        .version(&c.version)
        .filter(|_| c.resource.custom)
        .map_or(&c.resource.fields, |v| &v.selectable);
    Ok((
        Labels::parse(c.query.get("labelSelector").unwrap_or(""))?,
        Fields::parse(c.query.get("fieldSelector").unwrap_or(""), known)?,
    ))
}

/// Where a paged list goes on: the version it began at, and the last key given.
struct Continue {
    rv: u64,
    after: (String, String),
}

// === impl Continue ===

impl Continue {
    fn parse(text: &str) -> Result<Self> {
        let bad = || ApiError::bad_request(format!("continue key is not valid: {text:?}"));
        let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let v: Value = serde_json::from_slice(&raw).map_err(|_| bad())?;
        let rv = meta::int(&v, "/rv").and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)?;
        Ok(Self { rv, after: (meta::text(&v, "/ns").into(), meta::text(&v, "/name").into()) })
    }

    fn text(rv: u64, last: &Value) -> String {
        let v = json!({"rv": rv, "ns": meta::namespace(last), "name": meta::name(last)});
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(v.to_string())
    }
}

/// Objects of a collection, a page of them when asked for.
///
/// Later pages show the present state under the version of the first page. A watch from that version then
/// tells of every change since, so a client that lists and watches misses nothing.
pub fn list(c: &Call) -> Result<Response<Body>> {
    let (labels, fields) = selectors(c)?;
    let limit: usize = c.query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(0);
    let (all, now) = c.core.store.list(&c.resource.shelf, c.namespace.as_deref());
    let (mut rv, mut from) = (now, None);
    if let Some(t) = c.query.get("continue").filter(|t| !t.is_empty()) {
        let k = Continue::parse(t)?;
        if let crate::store::Next::Gone(_) = c.core.store.after(&c.resource.shelf, k.rv, 0) {
            return Err(ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
            ));
        }
        rv = k.rv;
        from = Some(k.after);
    }
    if let Some(want) = c.query.get("resourceVersion").and_then(|r| r.parse::<u64>().ok())
        && want > now
    {
        return Err(ApiError::expired(format!("Too large resource version: {want}, current: {now}")));
    }
    if c.query.get("resourceVersionMatch") == Some("Exact")
        && c.query.get("resourceVersion").is_some_and(|r| r != now.to_string() && r != "0")
    {
        return Err(ApiError::expired(
            "this server keeps only the present state: an exact older version cannot be listed",
        ));
    }
    let mut picked: Vec<Arc<Stored>> = all
        .into_iter()
        .filter(|o| {
            let key = (meta::namespace(&o.value), meta::name(&o.value));
            from.as_ref().is_none_or(|(ns, n)| key > (ns.as_str(), n.as_str()))
                && labels.matches(meta::labels(&o.value))
                && (fields.0.is_empty() || fields.matches(&c.form.shown(&o.value, &c.resource)))
        })
        .collect();
    let mut m = json!({"resourceVersion": rv.to_string()});
    if limit > 0 && picked.len() > limit {
        let remaining = picked.len() - limit;
        picked.truncate(limit);
        if let Some(last) = picked.last() {
            m["continue"] = Continue::text(rv, &last.value).into();
        }
        if labels.0.is_empty() && fields.0.is_empty() {
            m["remainingItemCount"] = remaining.into();
        }
    }
    Ok(json(200, c.form.many(picked.iter().map(AsRef::as_ref), &c.resource, &c.version, m)))
}

/// Changes of a collection, or of one object of it.
pub fn watch(c: Call) -> Result<Response<Body>> {
    let (labels, mut fields) = selectors(&c)?;
    if let Some(n) = &c.name {
        fields.0.push(crate::select::FieldDemand {
            path: "metadata.name".into(),
            value: n.clone(),
            equal: true,
        });
    }
    let initial = c.query.get("sendInitialEvents").map(|v| v == "true");
    if initial == Some(true) && c.query.get("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(ApiError::bad_request(
            "sendInitialEvents: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let rv = c.query.get("resourceVersion").unwrap_or("");
    let at: u64 = if rv.is_empty() {
        0
    } else {
        rv.parse().map_err(|_| ApiError::bad_request(format!("invalid resource version {rv:?}")))?
    };
    let bookmarks = c.query.is("allowWatchBookmarks");
    let start = match initial {
        Some(true) => Start::Everything(bookmarks),
        Some(false) if at == 0 => Start::After(c.core.store.version()),
        _ if at == 0 => Start::Everything(false),
        _ => Start::After(at),
    };
    let ask = Ask {
        namespace: c.namespace.clone(),
        labels,
        fields,
        start,
        bookmarks,
        form: c.form,
        timeout: timeout(&c.query),
        version: c.version.clone(),
        resource: c.resource.clone(),
    };
    let mut r = json(200, Body::from_stream(watch::stream(c.core.clone(), ask)));
    r.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(r)
}
