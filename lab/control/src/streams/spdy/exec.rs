//! Exec and attach over SPDY: one stream each for error, stdin, stdout, stderr and resize.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Opened, serve};
use crate::streams::session::{self, DEPTH, Input, Output};
use crate::streams::{ExecRequest, PodStreams};

/// How long a client may take to open the streams it asked for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs an exec on a connection until the program ends or the client goes away.
pub async fn exec<S>(connection: S, streams: Arc<dyn PodStreams>, req: ExecRequest)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut opened, out) = serve(connection);
    let want = 1 + [req.stdin, req.stdout, req.stderr, req.tty].iter().filter(|w| **w).count();
    let mut all: Vec<(String, Opened)> = Vec::new();
    let gather = async {
        while all.len() < want {
            let Some(o) = opened.recv().await else { return false };
            all.push((o.headers.get("streamtype").cloned().unwrap_or_default(), o));
        }
        true
    };
    if !matches!(tokio::time::timeout(PATIENCE, gather).await, Ok(true)) {
        return;
    }
    let id = |kind: &str| all.iter().find(|(k, _)| k == kind).map(|(_, o)| o.id);
    let (error, stdout, stderr) = (id("error"), id("stdout"), id("stderr"));
    let (from, from_rx) = mpsc::channel(DEPTH);
    let (to, mut to_rx) = mpsc::channel(DEPTH);
    for (kind, mut o) in all {
        let from = from.clone();
        match kind.as_str() {
            "stdin" => tokio::spawn(async move {
                while let Some(b) = o.data.recv().await {
                    if from.send(Input::Stdin(b)).await.is_err() {
                        return;
                    }
                }
                let _ = from.send(Input::EndOfStdin).await;
            }),
            "resize" => tokio::spawn(async move {
                // One JSON document may come in one frame or several; kubectl sends one.
                while let Some(b) = o.data.recv().await {
                    if let Some(size) = session::size(b.trim_ascii()) {
                        let _ = from.send(Input::Resize(size)).await;
                    }
                }
            }),
            _ => continue,
        };
    }
    // Holding this end open until the client is gone keeps the program running when all streams it sends on are done.
    tokio::spawn(async move {
        while opened.recv().await.is_some() {}
        drop(from);
    });
    let writing = async {
        while let Some(o) = to_rx.recv().await {
            let (id, bytes) = match o {
                Output::Stdout(b) => (stdout, b),
                Output::Stderr(b) => (stderr, b),
                Output::Ended(v) => (error, v.to_string().into()),
            };
            if let Some(id) = id
                && !out.data(id, &bytes).await
            {
                return;
            }
        }
    };
    tokio::join!(session::run(streams, req, from_rx, to), writing);
    for id in [stdout, stderr, error].into_iter().flatten() {
        out.end(id).await;
    }
}
