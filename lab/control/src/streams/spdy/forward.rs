//! Port-forward: a pair of streams for each connection, one for data and one for what went wrong.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Opened, Writer, serve};
use crate::streams::session::DEPTH;
use crate::streams::{ExecIo, ExecOutcome, PodStreams};

/// The stream protocol over plain SPDY.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// The WebSocket subprotocol that carries SPDY.
pub const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Forwards connections into a pod until the client goes away.
pub async fn forward<S>(connection: S, streams: Arc<dyn PodStreams>, namespace: String, pod: String)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut opened, out) = serve(connection);
    let mut waiting: HashMap<String, Opened> = HashMap::new();
    let mut running = tokio::task::JoinSet::new();
    while let Some(o) = opened.recv().await {
        let request = o.headers.get("requestid").cloned().unwrap_or_default();
        let Some(other) = waiting.remove(&request) else {
            waiting.insert(request, o);
            continue;
        };
        let is_data = |o: &Opened| o.headers.get("streamtype").is_some_and(|t| t == "data");
        let (data, error) = if is_data(&o) { (o, other) } else { (other, o) };
        let port = data.headers.get("port").and_then(|p| p.parse().ok()).unwrap_or(0);
        let (streams, ns, pod, out) = (streams.clone(), namespace.clone(), pod.clone(), out.clone());
        running.spawn(async move { one(streams, ns, pod, port, data, error.id, out).await });
        while running.try_join_next().is_some() {}
    }
    // Dropping the set ends what is still forwarded.
}

async fn one(
    streams: Arc<dyn PodStreams>,
    ns: String,
    pod: String,
    port: u16,
    data: Opened,
    error: u32,
    out: Writer,
) {
    let (stdout, mut said) = mpsc::channel::<Bytes>(DEPTH);
    let (stderr, mut complaint) = mpsc::channel::<Bytes>(DEPTH);
    let (_size, resize) = mpsc::channel(1);
    let io = ExecIo { stdin: data.data, stdout, stderr, resize };
    let copy = async {
        while let Some(b) = said.recv().await {
            if !out.data(data.id, &b).await {
                return;
            }
        }
    };
    let listen = async {
        let mut all = Vec::new();
        while let Some(b) = complaint.recv().await {
            all.extend_from_slice(&b);
        }
        String::from_utf8_lossy(&all).trim().to_owned()
    };
    let (ended, (), complaint) = tokio::join!(streams.forward(ns, pod.clone(), port, io), copy, listen);
    let wrong = match ended {
        Ok(ExecOutcome::Exited(0)) => None,
        Ok(ExecOutcome::Exited(_)) => Some(complaint),
        Err(e) => Some(e.to_string()),
    };
    if let Some(why) = wrong {
        out.data(error, format!("error forwarding port {port} to pod {pod}: {why}").as_bytes()).await;
    }
    out.end(data.id).await;
    out.end(error).await;
}
