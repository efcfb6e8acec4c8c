//! `log`, `exec` and `attach` of pods: from the query to the trait behind which the containers are.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{Request, Response, header};
use axum::response::IntoResponse;
use serde_json::Value;

use super::Call;
use crate::error::{ApiError, Result};
use crate::meta::{list, name, text};
use crate::streams::{ExecRequest, LogRequest, StreamError, websocket};

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
    let upgrade = c.headers.get(header::UPGRADE).and_then(|u| u.to_str().ok()).unwrap_or("");
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(ApiError::bad_request(format!(
            "this server streams over WebSocket only, not {upgrade:?}: use kubectl 1.31 or newer"
        )));
    }
    let (mut parts, _) = req.into_parts();
    let ws = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    Ok(ws
        .protocols(websocket::PROTOCOLS)
        .on_upgrade(move |s| websocket::run(s, streams, ask))
        .into_response())
}
