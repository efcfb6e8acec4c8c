//! Streams of an exec over one WebSocket: each message begins with the number of its channel.
//!
//! ```text
//! 0 stdin   1 stdout   2 stderr   3 how it ended (metav1.Status)   4 terminal size
//! 255 N     channel N is closed (v5 only)
//! ```

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::SplitStream;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::session::{self, DEPTH, Input, Output};
use super::{ExecRequest, PodStreams};

/// Subprotocols spoken, best first.
pub const PROTOCOLS: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];

/// Runs an exec over a socket until the program ends or the client goes away.
pub async fn run(socket: WebSocket, streams: Arc<dyn PodStreams>, req: ExecRequest) {
    let (mut out, input) = socket.split();
    let (from, from_rx) = mpsc::channel(DEPTH);
    let (to, mut to_rx) = mpsc::channel(DEPTH);
    let mut reader = tokio::spawn(read(input, from));
    let running = session::run(streams, req, from_rx, to);
    let writing = async {
        while let Some(o) = to_rx.recv().await {
            let last = matches!(o, Output::Ended(_));
            let m = match o {
                Output::Stdout(b) => frame(1, &b),
                Output::Stderr(b) => frame(2, &b),
                Output::Ended(v) => frame(3, v.to_string().as_bytes()),
            };
            if out.send(m).await.is_err() {
                return;
            }
            if last {
                let close = CloseFrame { code: 1000, reason: "".into() };
                let _ = out.send(Message::Close(Some(close))).await;
                return;
            }
        }
    };
    tokio::join!(running, writing);
    // The client closes its side; a client that does not is not waited for.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), &mut reader).await;
    reader.abort();
}

fn frame(channel: u8, data: &[u8]) -> Message {
    let mut b = BytesMut::with_capacity(data.len() + 1);
    b.put_u8(channel);
    b.put_slice(data);
    Message::Binary(b.freeze())
}

fn payload(m: Message) -> Option<Bytes> {
    match m {
        Message::Binary(b) => Some(b),
        Message::Text(t) => Some(Bytes::copy_from_slice(t.as_bytes())),
        _ => None,
    }
}

async fn read(mut input: SplitStream<WebSocket>, to: mpsc::Sender<Input>) {
    while let Some(Ok(m)) = input.next().await {
        if matches!(m, Message::Close(_)) {
            return;
        }
        let Some(data) = payload(m) else { continue };
        let i = match data.split_first() {
            Some((0, rest)) if !rest.is_empty() => Input::Stdin(data.slice(1..)),
            Some((255, [0])) => Input::EndOfStdin,
            Some((4, rest)) => match session::size(rest) {
                Some(size) => Input::Resize(size),
                None => continue,
            },
            _ => continue,
        };
        if to.send(i).await.is_err() {
            return;
        }
    }
}

/// Carries the bytes of another protocol in the messages of a socket, until either side ends.
pub async fn tunnel(socket: WebSocket, inner: DuplexStream) {
    let (mut out, mut input) = socket.split();
    let (mut from, mut to) = tokio::io::split(inner);
    let up = async {
        while let Some(Ok(m)) = input.next().await {
            if matches!(m, Message::Close(_)) {
                return;
            }
            if let Some(b) = payload(m)
                && to.write_all(&b).await.is_err()
            {
                return;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            if out.send(Message::Binary(Bytes::copy_from_slice(&buffer[..n]))).await.is_err() {
                return;
            }
        }
        let _ = out.send(Message::Close(None)).await;
    };
    tokio::select! { () = up => {}, () = down => {} }
}
