//! Subresources other than status.

use axum::body::Body;
use axum::http::{Method, Request, Response};
use serde_json::{Value, json as j};

use super::{Call, body, json, parse, stream, write};
use crate::error::{ApiError, FieldError, Result};
use crate::meta::{self, dig, text};
use crate::ops::{DeleteOptions, Write};
use crate::select::Labels;

/// Answers a call to a subresource.
pub async fn dispatch(c: Call, req: Request<Body>) -> Result<Response<Body>> {
    match c.sub.as_str() {
        "log" if c.method == Method::GET => stream::log(&c).await,
        "exec" | "attach" if matches!(c.method, Method::GET | Method::POST) => stream::exec(&c, req).await,
        "portforward" if matches!(c.method, Method::GET | Method::POST) => stream::forward(&c, req).await,
        "eviction" if c.method == Method::POST => evict(&c, parse(&body(req).await?)?),
        "scale" => scale(&c, req).await,
        "binding" if c.method == Method::POST => bind(&c, parse(&body(req).await?)?),
        "token" if c.method == Method::POST => token(&c, parse(&body(req).await?)?),
        "finalize" if c.method == Method::PUT => finalize(&c, parse(&body(req).await?)?),
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn scale(c: &Call, req: Request<Body>) -> Result<Response<Body>> {
    let p = c.place();
    let whole = crate::ops::Place { sub: "", ..p };
    let at =
        c.resource.version(&c.version).and_then(|v| v.scale.clone()).ok_or_else(ApiError::no_such_path)?;
    let show = |v: &Value| {
        let selector = at.selector.as_deref().and_then(|s| v.pointer(s)).map(|s| match s {
            Value::String(s) => s.clone(),
            other => selector_text(other),
        });
        j!({"kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {"name": p.name, "namespace": p.namespace, "uid": meta::uid(v),
                "resourceVersion": meta::rv(v), "creationTimestamp": v["metadata"]["creationTimestamp"]},
            "spec": {"replicas": meta::int(v, &at.spec).unwrap_or(0)},
            "status": {"replicas": meta::int(v, &at.status).unwrap_or(0), "selector": selector.unwrap_or_default()}})
    };
    let old = c.core.store.get(&c.resource.shelf, p.namespace, p.name).ok_or_else(|| p.not_found())?;
    if c.method == Method::GET {
        return Ok(json(200, show(&old.value).to_string()));
    }
    let content = c.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let sent = parse(&body(req).await?)?;
    let mut new = show(&old.value);
    if c.method == Method::PATCH {
        let kind = crate::patch::Kind::of(content.split(';').next().unwrap_or(""))
            .unwrap_or(crate::patch::Kind::Merge);
        let kind = if kind == crate::patch::Kind::Apply { crate::patch::Kind::Merge } else { kind };
        kind.patch(&mut new, sent, &crate::schema::ANY)?;
    } else {
        new = sent;
    }
    let want = meta::int(&new, "/spec/replicas").unwrap_or(0);
    if want < 0 {
        let e = FieldError::invalid("spec.replicas", &want.into(), "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", p.name, &[e]));
    }
    let w = write::manner(c)?;
    let done = c.core.mutate(&whole, &w, |old, _| {
        let mut v = old.ok_or_else(|| p.not_found())?.clone();
        let sent_rv = meta::rv(&new);
        if c.method == Method::PUT && !sent_rv.is_empty() {
            meta::map(&mut v, "metadata").insert("resourceVersion".into(), sent_rv.into());
        }
        let path: Vec<&str> = at.spec.split('/').filter(|s| !s.is_empty()).collect();
        if let Some((last, up)) = path.split_last() {
            dig(&mut v, up).insert((*last).to_owned(), want.into());
        }
        Ok(v)
    })?;
    Ok(json(200, show(&done.object.value).to_string()))
}

/// A delete that heeds disruption budgets.
fn evict(c: &Call, b: Value) -> Result<Response<Body>> {
    let p = c.place();
    let pod = c.core.store.get("pods", p.namespace, p.name).ok_or_else(|| p.not_found())?;
    let (budgets, _) = c.core.store.list("poddisruptionbudgets.policy", Some(p.namespace));
    let held = budgets.iter().find(|d| {
        Labels::from_selector(d.value.pointer("/spec/selector"))
            .is_some_and(|s| s.matches(meta::labels(&pod.value)))
            && meta::int(&d.value, "/status/disruptionsAllowed").unwrap_or(0) < 1
    });
    if held.is_some() && meta::is_true(&pod.value, "Ready") {
        return Err(ApiError::too_many("Cannot evict pod as it would violate the pod's disruption budget."));
    }
    let options = b.get("deleteOptions").cloned().unwrap_or(Value::Null);
    c.core.delete(&crate::ops::Place { sub: "", ..p }, &DeleteOptions::read(&options, &c.query)?)?;
    Ok(json(
        201,
        j!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
            .to_string(),
    ))
}

/// What a scheduler does with a pod.
fn bind(c: &Call, b: Value) -> Result<Response<Body>> {
    let node = text(&b, "/target/name").to_owned();
    if node.is_empty() {
        let e = FieldError::required("target.name", "");
        return Err(ApiError::invalid("", "Binding", c.name.as_deref().unwrap_or(""), &[e]));
    }
    let p = c.place();
    c.core.bind(&p, &node, &Write::by("scheduler"))?;
    Ok(json(
        201,
        j!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
            .to_string(),
    ))
}

fn token(c: &Call, mut b: Value) -> Result<Response<Body>> {
    let p = c.place();
    c.core.store.get("serviceaccounts", p.namespace, p.name).ok_or_else(|| p.not_found())?;
    let seconds = meta::int(&b, "/spec/expirationSeconds").unwrap_or(3600);
    let until = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds)
        .map(|t| t.to_string())
        .unwrap_or_else(|_| meta::now());
    let token = c.core.auth.service_account(p.namespace, p.name);
    b["kind"] = "TokenRequest".into();
    b["apiVersion"] = "authentication.k8s.io/v1".into();
    b["status"] = j!({"token": token, "expirationTimestamp": until});
    Ok(json(201, b.to_string()))
}

fn finalize(c: &Call, b: Value) -> Result<Response<Body>> {
    let p = c.place();
    let w = write::manner(c)?;
    let done = c.core.mutate(&p, &w, |old, _| {
        let mut v = old.ok_or_else(|| p.not_found())?.clone();
        let left = b.pointer("/spec/finalizers").cloned().unwrap_or_else(|| j!([]));
        meta::map(&mut v, "spec").insert("finalizers".into(), left);
        Ok(v)
    })?;
    Ok(write::answer(c, &done))
}

impl crate::core::Core {
    /// Puts a pod on a node.
    pub fn bind(&self, p: &crate::ops::Place<'_>, node: &str, w: &Write) -> Result<()> {
        let p = crate::ops::Place { sub: "binding", ..*p };
        self.mutate(&p, w, |old, _| {
            let old = old.ok_or_else(|| p.not_found())?;
            let now = text(old, "/spec/nodeName");
            if !now.is_empty() {
                let why = format!("pod {} is already assigned to node {now:?}", p.name);
                return Err(ApiError::conflict("", "pods/binding", p.name, &why));
            }
            let mut v = old.clone();
            meta::map(&mut v, "spec").insert("nodeName".into(), node.into());
            crate::ops::set_condition(&mut v, "PodScheduled", "True", "", "");
            Ok(v)
        })?;
        Ok(())
    }
}

/// A selector as the text that `/scale` shows.
pub fn selector_text(v: &Value) -> String {
    let s = Labels::from_selector(Some(v)).unwrap_or_default();
    if s.0.is_empty() { String::new() } else { crate::table::selector(Some(v)) }
}
