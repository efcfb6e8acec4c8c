//! Streams of an exec over one WebSocket: each message begins with the number of its channel.
//!
//! ```text
//! 0 stdin   1 stdout   2 stderr   3 how it ended (metav1.Status)   4 terminal size
//! 255 N     channel N is closed (v5 only)
//! ```

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{ExecIo, ExecOutcome, ExecRequest, PodStreams, StreamError, TermSize};

/// Subprotocols spoken, best first.
pub const PROTOCOLS: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];

/// How many chunks wait in each direction before the sender has to.
const DEPTH: usize = 32;

/// Runs an exec over a socket until the program ends or the client goes away.
pub async fn run(socket: WebSocket, streams: Arc<dyn PodStreams>, req: ExecRequest) {
    let (mut out, input) = socket.split();
    let (stdin, stdin_rx) = mpsc::channel(DEPTH);
    let (stdout_tx, mut stdout) = mpsc::channel::<Bytes>(DEPTH);
    let (stderr_tx, mut stderr) = mpsc::channel::<Bytes>(DEPTH);
    let (resize, resize_rx) = mpsc::channel(4);
    let io = ExecIo { stdin: stdin_rx, stdout: stdout_tx, stderr: stderr_tx, resize: resize_rx };
    let mut program = streams.exec(req, io);
    let mut reader = tokio::spawn(read(input, stdin, resize));
    let mut ended = None;
    // The program is over when it has said how it ended and both outputs are closed.
    let (mut open1, mut open2) = (true, true);
    while ended.is_none() || open1 || open2 {
        let sent = tokio::select! {
            r = &mut program, if ended.is_none() => {
                ended = Some(r);
                continue;
            }
            b = stdout.recv(), if open1 => match b {
                Some(b) => frame(&mut out, 1, &b).await,
                None => { open1 = false; continue }
            },
            b = stderr.recv(), if open2 => match b {
                Some(b) => frame(&mut out, 2, &b).await,
                None => { open2 = false; continue }
            },
            // The client is gone: dropping the program's future is how it hears of it.
            _ = &mut reader => return,
        };
        if !sent {
            return;
        }
    }
    if let Some(r) = ended {
        let _ = frame(&mut out, 3, status(&r).to_string().as_bytes()).await;
    }
    let _ = out.send(Message::Close(Some(CloseFrame { code: 1000, reason: "".into() }))).await;
    // The client closes its side; a client that does not is not waited for.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), &mut reader).await;
    reader.abort();
}

async fn frame(out: &mut SplitSink<WebSocket, Message>, channel: u8, data: &[u8]) -> bool {
    let mut b = BytesMut::with_capacity(data.len() + 1);
    b.put_u8(channel);
    b.put_slice(data);
    out.send(Message::Binary(b.freeze())).await.is_ok()
}

async fn read(mut input: SplitStream<WebSocket>, stdin: mpsc::Sender<Bytes>, resize: mpsc::Sender<TermSize>) {
    let mut stdin = Some(stdin);
    while let Some(Ok(m)) = input.next().await {
        let data: Bytes = match m {
            Message::Binary(b) => b,
            Message::Text(t) => Bytes::copy_from_slice(t.as_bytes()),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        match data.split_first() {
            Some((0, rest)) if !rest.is_empty() => {
                if let Some(tx) = &stdin
                    && tx.send(data.slice(1..)).await.is_err()
                {
                    stdin = None;
                }
            }
            Some((4, rest)) => {
                if let Some(size) = size(rest) {
                    let _ = resize.try_send(size);
                }
            }
            Some((255, [0])) => stdin = None,
            _ => {}
        }
    }
}

/// `{"Width":80,"Height":24}`
pub fn size(b: &[u8]) -> Option<TermSize> {
    let v: Value = serde_json::from_slice(b).ok()?;
    let get = |k: &str| v.get(k).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
    Some(TermSize { width: get("Width")?, height: get("Height")? })
}

/// How a program ended, as clients read it.
pub fn status(r: &Result<ExecOutcome, StreamError>) -> Value {
    match r {
        Ok(ExecOutcome::Exited(0)) => json!({"metadata": {}, "status": "Success"}),
        Ok(ExecOutcome::Exited(code)) => {
            json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
        }
        Err(e) => {
            json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": e.to_string(),
            "details": {"causes": [{"message": e.to_string()}]}, "code": 500})
        }
    }
}
