//! `log`, `exec`, `attach` and `portforward` of pods: from the query to the trait behind which the containers are.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::Call;
use crate::error::{ApiError, Result};
use crate::meta::{list, name, text};
use crate::streams::{ExecRequest, LogRequest, StreamError, spdy, websocket};

/// The container meant: the one named, the default one, or the only one.
fn container(c: &Call, pod: &Value) -> Result<String> {
    let all = || {
        ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"]
            .iter()
            .flat_map(|p| list(pod, p))
            .map(|x| text(x, "/name"))
            .collect::<Vec<_>>()
    };
    match c.query.get("container").filter(|n| !n.is_empty()) {
        Some(n) if all().contains(&n) => Ok(n.to_owned()),
        Some(n) => Err(ApiError::bad_request(format!("container {n} is not valid for pod {}", name(pod)))),
        None => match list(pod, "/spec/containers") {
            [one] => Ok(text(one, "/name").to_owned()),
            many => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                name(pod),
                many.iter().map(|x| text(x, "/name")).collect::<Vec<_>>().join(" ")
            ))),
        },
    }
}

fn refused(e: StreamError) -> ApiError {
    match e {
        StreamError::NotFound(m) => {
            let mut e = ApiError::no_such_path();
            e.message = m;
            e
        }
        StreamError::BadRequest(m) => ApiError::bad_request(m),
        StreamError::Internal(m) => ApiError::internal(m),
    }
}

/// `kubectl logs`.
pub async fn log(c: &Call) -> Result<Response<Body>> {
    let p = c.place();
    let pod = c.core.store.get("pods", p.namespace, p.name).ok_or_else(|| p.not_found())?;
    let container = container(c, &pod.value)?;
    if text(&pod.value, "/spec/nodeName").is_empty() {
        return Err(ApiError::bad_request(format!("pod {} does not have a host assigned", p.name)));
    }
    let streams = c
        .core
        .streams()
        .ok_or_else(|| ApiError::unavailable("this cluster has no kubelets to ask for logs"))?;
    let q = |k: &str| c.query.get(k).and_then(|v| v.parse::<u64>().ok());
    let since = match c.query.get("sinceTime") {
        Some(t) => crate::meta::seconds_since(t),
        None => c.query.get("sinceSeconds").and_then(|s| s.parse().ok()),
    };
    let req = LogRequest {
        namespace: p.namespace.into(),
        pod: p.name.into(),
        container,
        follow: c.query.is("follow"),
        previous: c.query.is("previous"),
        timestamps: c.query.is("timestamps"),
        tail: q("tailLines"),
        since_seconds: since,
        limit_bytes: q("limitBytes"),
    };
    let body = Body::from_stream(streams.logs(req).await.map_err(refused)?);
    Ok(super::typed(200, "text/plain", body))
}

/// `kubectl exec` and `kubectl attach`.
pub async fn exec(c: &Call, req: Request<Body>) -> Result<Response<Body>> {
    let p = c.place();
    let pod = c.core.store.get("pods", p.namespace, p.name).ok_or_else(|| p.not_found())?;
    let container = container(c, &pod.value)?;
    if text(&pod.value, "/spec/nodeName").is_empty() {
        return Err(ApiError::bad_request(format!("pod {} does not have a host assigned", p.name)));
    }
    let command = c.query.all("command");
    if c.sub == "exec" && command.is_empty() {
        return Err(ApiError::bad_request("you must specify at least one command for the container"));
    }
    let ask = ExecRequest {
        namespace: p.namespace.into(),
        pod: p.name.into(),
        container,
        command: (c.sub == "exec").then_some(command),
        tty: c.query.is("tty"),
        stdin: c.query.is("stdin"),
        stdout: c.query.is("stdout"),
        // With a terminal both outputs are one.
        stderr: c.query.is("stderr") && !c.query.is("tty"),
    };
    let streams = c
        .core
        .streams()
        .ok_or_else(|| ApiError::unavailable("this cluster has no kubelets to run programs"))?;
    let first = |h: &str| PROTOCOLS_SPDY.into_iter().find(|p| h.split(',').any(|o| o.trim() == *p));
    match upgrade(c) {
        Upgrade::WebSocket => {
            let ws = websocket(req).await?.protocols(websocket::PROTOCOLS);
            Ok(ws.on_upgrade(move |s| websocket::run(s, streams, ask)).into_response())
        }
        Upgrade::Spdy(offered) => {
            let chosen = first(&offered).ok_or_else(|| {
                ApiError::bad_request(format!("none of the stream protocols {offered:?} is spoken here"))
            })?;
            Ok(switch(req, chosen, move |io| spdy::exec(io, streams, ask)))
        }
        Upgrade::None => Err(ApiError::bad_request("this request needs an upgrade to WebSocket or SPDY/3.1")),
    }
}

/// Versions of the exec protocol spoken over SPDY, best first.
const PROTOCOLS_SPDY: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// What a request wants to be upgraded to.
enum Upgrade {
    None,
    WebSocket,
    /// With the stream protocols offered.
    Spdy(String),
}

fn upgrade(c: &Call) -> Upgrade {
    let text = |h: &str| {
        let all: Vec<&str> = c.headers.get_all(h).iter().filter_map(|v| v.to_str().ok()).collect();
        all.join(",")
    };
    match text("upgrade") {
        u if u.eq_ignore_ascii_case("websocket") => Upgrade::WebSocket,
        u if u.eq_ignore_ascii_case("SPDY/3.1") => Upgrade::Spdy(text("x-stream-protocol-version")),
        _ => Upgrade::None,
    }
}

async fn websocket(req: Request<Body>) -> Result<WebSocketUpgrade> {
    let (mut parts, _) = req.into_parts();
    WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|e| ApiError::bad_request(e.to_string()))
}

/// Answers 101 and hands the connection to `then`.
fn switch<F, T>(req: Request<Body>, protocol: &'static str, then: F) -> Response<Body>
where
    F: FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> T + Send + 'static,
    T: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        match hyper::upgrade::on(req).await {
            Ok(io) => then(TokioIo::new(io)).await,
            Err(error) => tracing::debug!(%error, "upgrade to SPDY"),
        }
    });
    let mut r = Response::new(Body::empty());
    *r.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (k, v) in
        [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", protocol)]
    {
        r.headers_mut().insert(k, HeaderValue::from_static(v));
    }
    r
}

/// `kubectl port-forward`.
pub async fn forward(c: &Call, req: Request<Body>) -> Result<Response<Body>> {
    let p = c.place();
    let pod = c.core.store.get("pods", p.namespace, p.name).ok_or_else(|| p.not_found())?;
    if text(&pod.value, "/status/phase") != "Running" {
        return Err(ApiError::bad_request(format!("pod {} is not running", p.name)));
    }
    let streams = c
        .core
        .streams()
        .ok_or_else(|| ApiError::unavailable("this cluster has no kubelets to reach pods"))?;
    let (ns, name) = (p.namespace.to_owned(), p.name.to_owned());
    match upgrade(c) {
        Upgrade::WebSocket => {
            let ws = websocket(req).await?.protocols([spdy::FORWARD_TUNNEL]);
            Ok(ws
                .on_upgrade(move |s| async move {
                    let (near, far) = tokio::io::duplex(64 << 10);
                    tokio::join!(websocket::tunnel(s, far), spdy::forward(near, streams, ns, name));
                })
                .into_response())
        }
        Upgrade::Spdy(_) => Ok(switch(req, spdy::FORWARD, move |io| spdy::forward(io, streams, ns, name))),
        Upgrade::None => Err(ApiError::bad_request("this request needs an upgrade to WebSocket or SPDY/3.1")),
    }
}
