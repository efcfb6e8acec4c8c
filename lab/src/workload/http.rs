//! A small HTTP/1.1 server: one handler, keep-alive, and an end that lets requests in flight finish.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest request body taken.
const BODY_MAX: usize = 64 << 20;
/// How long requests in flight may take once the server was told to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// A request with its whole body.
pub struct Request {
    /// Method, path, headers.
    pub head: hyper::http::request::Parts,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub peer: SocketAddr,
}

/// An answer.
pub type Response = hyper::Response<Full<Bytes>>;

// === impl Request ===

impl Request {
    /// A header's value as text; absent or not text is `None`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The request line as it was sent.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {} {:?}", self.head.method, self.head.uri, self.head.version)
    }
}

/// Accepts until `stop`, then finishes what was begun.
pub async fn serve<H, F>(listener: TcpListener, stop: CancellationToken, handler: H)
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let handler = Arc::new(handler);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (handler, stop) = (Arc::clone(&handler), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let handler = Arc::clone(&handler);
                async move { Ok::<_, Infallible>(answer(&*handler, request, peer).await) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).title_case_headers(true);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = tokio::time::timeout(DRAIN, connection).await;
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn answer<H, F>(handler: &H, request: hyper::Request<Incoming>, peer: SocketAddr) -> Response
where
    H: Fn(Request) -> F,
    F: Future<Output = Response>,
{
    let (head, body) = request.into_parts();
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => handler(Request { head, body: body.to_bytes(), peer }).await,
        Err(_) => status(413, "request body too large\n"),
    }
}

/// An answer of plain text.
#[must_use]
pub fn text(body: impl Into<Bytes>) -> Response {
    let body = body.into();
    let response = hyper::Response::builder()
        .header("Date", date())
        .header("Content-Length", body.len())
        .header("Content-Type", "text/plain; charset=utf-8")
        .body(Full::new(body));
    response.unwrap_or_default()
}

/// An answer of plain text with a status other than 200.
#[must_use]
pub fn status(code: u16, body: &str) -> Response {
    let mut response = text(body.to_owned());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    response
}

/// The time now, as HTTP writes it (RFC 9110 section 5.6.7).
#[must_use]
pub fn date() -> String {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
