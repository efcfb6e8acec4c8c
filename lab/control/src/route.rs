//! From a request to an operation, and from its outcome to an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::Value;

use crate::auth::{Deed, User, allowed};
use crate::core::Core;
use crate::error::{ApiError, Result};
use crate::form::Form;
use crate::query::{Query, decode};
use crate::resource::Resource;
use crate::{discovery, openapi};

mod read;
mod stream;
mod sub;
mod write;

/// The largest body the server reads.
const MAX_BODY: usize = 3 << 20;

/// A request for a resource, taken apart.
pub struct Call {
    pub core: Arc<Core>,
    pub user: User,
    pub resource: Arc<Resource>,
    pub version: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub sub: String,
    pub query: Query,
    pub method: Method,
    pub form: Form,
    pub headers: HeaderMap,
}

/// Answers one request.
pub async fn handle(State(core): State<Arc<Core>>, req: Request<Body>) -> Response<Body> {
    match answer(core, req).await {
        Ok(r) => r,
        Err(e) => failure(&e),
    }
}

/// The answer that says what went wrong.
pub fn failure(e: &ApiError) -> Response<Body> {
    let mut r = json(e.code, Bytes::from(e.to_status().to_string()));
    if e.code == 429 {
        r.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    r
}

/// A JSON answer.
pub fn json(code: u16, body: impl Into<Body>) -> Response<Body> {
    typed(code, "application/json", body)
}

fn typed(code: u16, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut r = Response::new(body.into());
    *r.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    r.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    r.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
    r
}

async fn answer(core: Arc<Core>, req: Request<Body>) -> Result<Response<Body>> {
    let path = decode(req.uri().path(), false);
    if core.away.load(Ordering::Relaxed) {
        return Err(ApiError::unavailable("the API server is away"));
    }
    if matches!(path.as_str(), "/healthz" | "/livez" | "/readyz" | "/healthz/ping") {
        return Ok(typed(200, "text/plain", "ok"));
    }
    if path == "/version" {
        return Ok(json(200, discovery::version().to_string()));
    }
    let user = caller(&core, req.headers())?;
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let accept = header_text(req.headers(), header::ACCEPT).to_owned();
    if let Some(r) = documents(&core, &user, &parts, &accept, req.method(), req.uri().query())? {
        return Ok(r);
    }
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(ApiError::no_such_path()),
    };
    let query = Query::parse(req.uri().query().unwrap_or(""));
    let call = call(core, user, group, version, rest, query, &req, &accept)?;
    authorize(&call)?;
    dispatch(call, req).await
}

fn caller(core: &Core, headers: &HeaderMap) -> Result<User> {
    let auth = header_text(headers, header::AUTHORIZATION);
    let mut token = auth.strip_prefix("Bearer ").unwrap_or("").trim().to_owned();
    if token.is_empty() {
        // Browsers' WebSockets can only carry a token as a subprotocol.
        use base64::Engine as _;
        let protocols = header_text(headers, header::SEC_WEBSOCKET_PROTOCOL);
        let bearer = protocols
            .split(',')
            .find_map(|p| p.trim().strip_prefix("base64url.bearer.authorization.k8s.io."));
        if let Some(b) = bearer {
            let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(b).unwrap_or_default();
            token = String::from_utf8_lossy(&raw).into_owned();
        }
    }
    if token.is_empty() {
        return Ok(User::anonymous());
    }
    let user = core.auth.who(&token).ok_or_else(ApiError::unauthorized)?;
    let as_user = headers.get("impersonate-user").and_then(|v| v.to_str().ok());
    match as_user {
        Some(name) if user.is_master() => {
            let mut u = User::named(name);
            u.groups.extend(
                headers
                    .get_all("impersonate-group")
                    .iter()
                    .filter_map(|g| g.to_str().ok().map(str::to_owned)),
            );
            Ok(u)
        }
        Some(name) => {
            Err(ApiError::forbidden("", "users", name, "only members of system:masters may impersonate"))
        }
        None => Ok(user),
    }
}

fn header_text(h: &HeaderMap, name: header::HeaderName) -> &str {
    h.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

/// Discovery and OpenAPI.
fn documents(
    core: &Core,
    user: &User,
    parts: &[&str],
    accept: &str,
    method: &Method,
    query: Option<&str>,
) -> Result<Option<Response<Body>>> {
    let reg = core.registry();
    let known = match parts {
        ["api"] => Some(discovery::root(&reg, true, accept)),
        ["apis"] => Some(discovery::root(&reg, false, accept)),
        ["api", v] => {
            Some(("application/json", discovery::resources(&reg, "", v).ok_or_else(ApiError::no_such_path)?))
        }
        ["apis", g] => {
            Some(("application/json", discovery::group(&reg, g).ok_or_else(ApiError::no_such_path)?))
        }
        ["apis", g, v] => {
            Some(("application/json", discovery::resources(&reg, g, v).ok_or_else(ApiError::no_such_path)?))
        }
        ["openapi", "v2"] if accept.contains("protobuf") => {
            // An empty protobuf message is an empty document.
            return Ok(Some(typed(
                200,
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                Bytes::new(),
            )));
        }
        ["openapi", "v2"] => Some(("application/json", openapi::v2())),
        ["openapi", "v3"] => Some(("application/json", openapi::index(&reg))),
        ["openapi", "v3", path @ ..] => {
            let doc = openapi::documents(&reg).get(&path.join("/")).ok_or_else(ApiError::no_such_path)?;
            let mut r = json(200, doc.text.clone());
            let tag = header::HeaderValue::from_str(&format!("{:?}", doc.hash));
            if let (Ok(tag), true) = (tag, query.is_some_and(|q| q.contains(&doc.hash))) {
                // A text that is asked for by its hash never changes.
                let keep = header::HeaderValue::from_static("public, max-age=31536000, immutable");
                r.headers_mut().insert(header::CACHE_CONTROL, keep);
                r.headers_mut().insert(header::ETAG, tag);
            }
            return Ok(Some(r));
        }
        [] => Some((
            "application/json",
            serde_json::json!({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
        )),
        _ => None,
    };
    let Some((kind, doc)) = known else { return Ok(None) };
    let path = format!("/{}", parts.join("/"));
    let deed = Deed { verb: method.as_str().to_lowercase(), path: Some(path.clone()), ..Deed::default() };
    if !allowed(core, user, &deed) {
        let why = format!("User {:?} cannot {} path {path:?}", user.name, deed.verb);
        return Err(ApiError::forbidden_path(&why));
    }
    Ok(Some(typed(200, kind, doc.to_string())))
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request")]
fn call(
    core: Arc<Core>,
    user: User,
    group: &str,
    version: &str,
    rest: &[&str],
    query: Query,
    req: &Request<Body>,
    accept: &str,
) -> Result<Call> {
    let reg = core.registry();
    let (namespace, tail): (Option<&str>, &[&str]) = match rest {
        // `namespaces/x`, `namespaces/x/status` and `namespaces/x/finalize` are about the namespace itself.
        ["namespaces", _, "status" | "finalize"] | ["namespaces", _] | ["namespaces"] => (None, rest),
        ["namespaces", ns, tail @ ..] => (Some(ns), tail),
        tail => (None, tail),
    };
    let (plural, name, sub) = match tail {
        [plural] => (*plural, None, ""),
        [plural, name] => (*plural, Some(*name), ""),
        [plural, name, sub] => (*plural, Some(*name), *sub),
        _ => return Err(ApiError::no_such_path()),
    };
    let resource = reg.get(group, plural).ok_or_else(ApiError::no_such_path)?;
    let v = resource.version(version).ok_or_else(ApiError::no_such_path)?;
    let has_sub = match sub {
        "" => true,
        "status" => v.status,
        "scale" => v.scale.is_some(),
        s => resource.subresources.iter().any(|(n, _)| *n == s),
    };
    if !has_sub
        || (namespace.is_some() && !resource.namespaced)
        || (resource.namespaced && name.is_some() && namespace.is_none())
    {
        return Err(ApiError::no_such_path());
    }
    let form = Form::negotiate(accept, query.get("includeObject"));
    Ok(Call {
        user,
        version: version.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        sub: sub.to_owned(),
        query,
        method: req.method().clone(),
        form,
        headers: req.headers().clone(),
        resource,
        core,
    })
}

impl Call {
    /// The verb, as RBAC knows it.
    pub fn verb(&self) -> &'static str {
        let one = self.name.is_some();
        match self.method {
            Method::GET | Method::HEAD if self.query.is("watch") => "watch",
            Method::GET | Method::HEAD if one => "get",
            Method::GET | Method::HEAD => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if one => "delete",
            Method::DELETE => "deletecollection",
            _ => "",
        }
    }

    /// The place the call speaks of; for a whole collection the name is empty.
    pub fn place(&self) -> crate::ops::Place<'_> {
        crate::ops::Place {
            resource: &self.resource,
            version: &self.version,
            namespace: self.namespace.as_deref().unwrap_or(""),
            name: self.name.as_deref().unwrap_or(""),
            sub: &self.sub,
        }
    }
}

fn authorize(c: &Call) -> Result<()> {
    let resource =
        if c.sub.is_empty() { c.resource.plural.clone() } else { format!("{}/{}", c.resource.plural, c.sub) };
    let deed = Deed {
        verb: c.verb().into(),
        group: c.resource.group.clone(),
        resource: resource.clone(),
        namespace: c.namespace.clone().unwrap_or_default(),
        name: c.name.clone().or_else(|| named_by_selector(c)).unwrap_or_default(),
        path: None,
    };
    if allowed(&c.core, &c.user, &deed) {
        return Ok(());
    }
    let place = if deed.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", deed.namespace)
    };
    let why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        c.user.name, deed.verb, c.resource.group
    );
    Err(ApiError::forbidden(&c.resource.group, &c.resource.plural, &deed.name, &why))
}

/// A list or watch of exactly one object is a request for that object: rules that name it hold.
fn named_by_selector(c: &Call) -> Option<String> {
    let only = c.query.get("fieldSelector")?.split(',').find_map(|d| d.strip_prefix("metadata.name="))?;
    Some(only.trim_start_matches('=').to_owned())
}

async fn dispatch(c: Call, req: Request<Body>) -> Result<Response<Body>> {
    if !matches!(c.sub.as_str(), "" | "status" | "ephemeralcontainers") {
        return sub::dispatch(c, req).await;
    }
    match c.verb() {
        _ if c.resource.ephemeral && c.method != Method::POST => Err(ApiError::method_not_allowed()),
        "get" => read::get(&c),
        "list" if c.sub.is_empty() => read::list(&c),
        "watch" => read::watch(c),
        "create" if c.name.is_none() => write::create(&c, body(req).await?),
        "update" => write::update(&c, body(req).await?),
        "patch" => write::patch(&c, body(req).await?),
        "delete" if c.sub.is_empty() => write::delete(&c, body(req).await?),
        "deletecollection" => write::delete_all(&c, body(req).await?),
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn body(req: Request<Body>) -> Result<Bytes> {
    axum::body::to_bytes(req.into_body(), MAX_BODY).await.map_err(|_| {
        let mut e = ApiError::bad_request(format!("the body of the request is larger than {MAX_BODY} bytes"));
        e.code = 413;
        e.reason = "RequestEntityTooLarge";
        e
    })
}

/// Reads a body that is JSON, YAML, or the protobuf of a built-in kind.
pub fn parse(body: &[u8]) -> Result<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    if body.starts_with(crate::wire::MAGIC) {
        return crate::wire::decode(body).ok_or_else(|| {
            ApiError::bad_request("the body of the request is no protobuf message of a known kind")
        });
    }
    serde_json::from_slice(body).or_else(|e| {
        if body.trim_ascii_start().starts_with(b"{") {
            return Err(ApiError::bad_request(format!("the body of the request is no JSON: {e}")));
        }
        let text = std::str::from_utf8(body)
            .map_err(|_| ApiError::bad_request("the body of the request is no text"))?;
        serde_saphyr::from_str(text).map_err(|e| {
            ApiError::bad_request(format!("the body of the request is neither JSON nor YAML: {e}"))
        })
    })
}

fn timeout(q: &Query) -> Duration {
    let asked = q.get("timeoutSeconds").and_then(|t| t.parse::<u64>().ok()).filter(|t| *t > 0);
    Duration::from_secs(asked.unwrap_or_else(|| 1800 + crate::random::below(1800)))
}
