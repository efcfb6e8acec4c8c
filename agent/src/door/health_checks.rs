//! Health check node ports: whether this node has endpoints of a Service, for the load balancer in front.
//!
//! ```text
//!  load balancer ── GET / ──► every node, healthCheckNodePort ──► 200: endpoints are here, 503: go elsewhere
//! ```
//!
//! Paths, headers and bodies are those of kube-proxy. Whoever reaches the node can ask, so a connection gets one answer,
//! a few seconds and one of a few places.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use pleopod_model::Problem;
use pleopod_model::desired::HealthCheck;
use rustix::net::sockopt::set_ipv6_v6only;
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::health::Health;

/// How soon a port that was taken is tried again.
pub const AGAIN: Duration = Duration::from_secs(5);
/// How long a connection may last.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Connections to one port at the same time; others wait.
const AT_ONCE: usize = 64;
/// After an `accept` that failed, for want of file descriptors for one.
const PAUSE: Duration = Duration::from_millis(100);

/// A port that is listened at. Dropping it closes it; an answer that was begun is finished.
struct Port {
    check: watch::Sender<HealthCheck>,
    accepting: JoinHandle<()>,
}

/// What a load balancer reads, in this order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Name<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// Answers at the ports that are wanted, until nobody wants any more. Ports that can't be listened at are told, all of
/// them whenever they change, and tried every `again`; `tell` says whether somebody heard.
pub async fn serve(
    mut wanted: watch::Receiver<BTreeMap<u16, HealthCheck>>,
    health: Arc<Health>,
    again: Duration,
    tell: impl Fn(BTreeMap<u16, String>) -> bool,
) {
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    let mut told = BTreeMap::new();
    loop {
        let checks = wanted.borrow_and_update().clone();
        ports.retain(|number, _| checks.contains_key(number));
        let mut unheard = BTreeMap::new();
        for (number, check) in checks {
            if let Some(port) = ports.get(&number) {
                port.check.send_replace(check);
                continue;
            }
            match listen(number) {
                Ok(listener) => {
                    ports.insert(number, Port::open(listener, check, health.clone()));
                }
                Err(error) => {
                    unheard.insert(number, error.to_string());
                }
            }
        }
        if unheard != told {
            if !tell(unheard.clone()) {
                return;
            }
            told = unheard;
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
            () = sleep_until(Instant::now() + again), if !told.is_empty() => {}
        }
    }
}

/// What the owner of the Service is told of a port that can't be listened at.
pub fn problem(check: &HealthCheck, port: u16, why: &str) -> Problem {
    Problem::new(
        "Service",
        check.service.clone(),
        "spec.healthCheckNodePort",
        format!(
            "port {port} of the node can't be listened at ({why}); load balancers get no answer from this node"
        ),
        "end what holds the port on the node, or give the Service another healthCheckNodePort",
    )
}

/// At all addresses of the node, of both families where there are two.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    let at = |socket: TcpSocket, address: SocketAddr| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(128)
    };
    match TcpSocket::new_v6() {
        Ok(socket) => {
            set_ipv6_v6only(&socket, false)?;
            at(socket, (Ipv6Addr::UNSPECIFIED, port).into())
        }
        // The kernel has no IPv6.
        Err(_) => at(TcpSocket::new_v4()?, (Ipv4Addr::UNSPECIFIED, port).into()),
    }
}

// === impl Port ===

impl Port {
    fn open(listener: TcpListener, check: HealthCheck, health: Arc<Health>) -> Self {
        let (check, present) = watch::channel(check);
        Self { check, accepting: tokio::spawn(accept(listener, present, health)) }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, check: watch::Receiver<HealthCheck>, health: Arc<Health>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (check, health) = (check.clone(), health.clone());
                tokio::spawn(async move {
                    // A client that is too slow or makes no sense gets nothing.
                    let _ = timeout(ANSWER_WITHIN, converse(stream, check, health)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accepting at a health check node port");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(
    stream: TcpStream,
    check: watch::Receiver<HealthCheck>,
    health: Arc<Health>,
) -> Result<(), hyper::Error> {
    let service = service_fn(|_| {
        let response = answer(&check.borrow(), health.live().is_ok());
        async { Ok::<_, Infallible>(response) }
    });
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(check: &HealthCheck, healthy: bool) -> Response<String> {
    let body = Body {
        service: Name { namespace: &check.service.namespace, name: &check.service.name },
        local_endpoints: check.local_endpoints,
        service_proxy_healthy: healthy,
    };
    // Strings and numbers can always be written.
    let mut response = Response::new(serde_json::to_string(&body).unwrap_or_default());
    if check.local_endpoints == 0 || !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", HeaderValue::from(check.local_endpoints));
    response
}

#[cfg(test)]
mod tests;
