//! SPDY/3.1, as far as kubectl uses it: many streams over one connection, opened by the client.
//!
//! Older kubectl runs exec over it, and port-forward of every kubectl does. Header blocks are zlib with a dictionary
//! that the protocol fixes ([`dictionary`]); ours are never compressed, only framed.
//!
//! ```text
//! control  1 | version 15 | type 16 | flags 8 | length 24 | ...
//! data     0 | stream id 31         | flags 8 | length 24 | ...
//! ```

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

mod dictionary;
mod exec;
mod forward;
mod headers;
pub use exec::exec;
pub use forward::{PROTOCOL as FORWARD, TUNNEL as FORWARD_TUNNEL, forward};

/// The largest frame that is read: clients send much smaller ones.
const MAX_FRAME: usize = 1 << 20;
/// How much a data frame of ours carries at most.
const CHUNK: usize = 32 << 10;
const FIN: u8 = 1;

/// A stream the client opened.
#[derive(Debug)]
pub struct Opened {
    /// Its number.
    pub id: u32,
    /// Header names in lower case.
    pub headers: HashMap<String, String>,
    /// What it sends; closed when it says it is done.
    pub data: mpsc::Receiver<Bytes>,
}

/// Where frames are written.
#[derive(Debug, Clone)]
pub struct Writer(mpsc::Sender<Vec<u8>>);

/// What the reading side remembers of a connection.
struct Reader {
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
    inflate: headers::Inflate,
    opened: mpsc::Sender<Opened>,
    replied: bool,
}

/// Speaks SPDY on a connection: opened streams come out of the receiver, which closes when the client is gone. The
/// connection ends when the writer and all of its clones are dropped.
pub fn serve<S>(connection: S) -> (mpsc::Receiver<Opened>, Writer)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(connection);
    let (frames, mut frames_rx) = mpsc::channel::<Vec<u8>>(64);
    let (opened, opened_rx) = mpsc::channel(8);
    let weak = frames.downgrade();
    let reading = tokio::spawn(async move {
        let mut state =
            Reader { streams: HashMap::new(), inflate: headers::Inflate::new(), opened, replied: false };
        while let Ok((head, body)) = frame(&mut reader).await {
            let Some(out) = weak.upgrade() else { return };
            if !state.take(head, body, &Writer(out)).await {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(f) = frames_rx.recv().await {
            if writer.write_all(&f).await.is_err() {
                break;
            }
            if frames_rx.is_empty() && writer.flush().await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
        reading.abort();
    });
    (opened_rx, Writer(frames))
}

async fn frame<R: AsyncRead + Unpin>(r: &mut R) -> io::Result<([u8; 8], Vec<u8>)> {
    let mut head = [0; 8];
    r.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a SPDY frame of more than a megabyte"));
    }
    let mut body = vec![0; length];
    r.read_exact(&mut body).await?;
    Ok((head, body))
}

fn number(b: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*b.first_chunk::<4>()?) & 0x7fff_ffff)
}

// === impl Reader ===

impl Reader {
    /// Handles one frame; `false` ends the connection.
    async fn take(&mut self, head: [u8; 8], body: Vec<u8>, out: &Writer) -> bool {
        let fin = head[4] & FIN != 0;
        if head[0] & 0x80 == 0 {
            let Some(id) = number(&head) else { return false };
            if let Some(tx) = self.streams.get(&id)
                && !body.is_empty()
            {
                // A stream whose reader is gone swallows what comes.
                let _ = tx.send(Bytes::from(body)).await;
            }
            if fin {
                self.streams.remove(&id);
            }
            return true;
        }
        match u16::from_be_bytes([head[2], head[3]]) {
            1 => {
                let (Some(id), Some(block)) = (number(&body), body.get(10..)) else { return false };
                let Some(headers) = self.inflate.block(block) else { return false };
                let (tx, data) = mpsc::channel(super::session::DEPTH);
                if !fin {
                    self.streams.insert(id, tx);
                }
                out.reply(id, !std::mem::replace(&mut self.replied, true)).await
                    && self.opened.send(Opened { id, headers, data }).await.is_ok()
            }
            // A compressed block must be read even when nobody wants it: the next one builds on it.
            2 | 8 => self.inflate.block(body.get(4..).unwrap_or(&[])).is_some(),
            3 => {
                if let Some(id) = number(&body) {
                    self.streams.remove(&id);
                }
                true
            }
            6 => {
                // A ping goes back as it came.
                let mut f = vec![0x80, 3, 0, 6, 0, 0, 0, 4];
                f.extend_from_slice(body.get(..4).unwrap_or(&[0; 4]));
                out.0.send(f).await.is_ok()
            }
            7 => false,
            _ => true,
        }
    }
}

// === impl Writer ===

impl Writer {
    async fn reply(&self, id: u32, first: bool) -> bool {
        let block = headers::empty(first);
        let length = u32::try_from(4 + block.len()).unwrap_or(0).to_be_bytes();
        let mut f = vec![0x80, 3, 0, 2, 0, length[1], length[2], length[3]];
        f.extend_from_slice(&id.to_be_bytes());
        f.extend_from_slice(block);
        self.0.send(f).await.is_ok()
    }

    /// Sends data on a stream; `false` when the client is gone.
    pub async fn data(&self, id: u32, bytes: &[u8]) -> bool {
        for part in bytes.chunks(CHUNK) {
            if !self.send(id, part, 0).await {
                return false;
            }
        }
        true
    }

    /// Ends our side of a stream.
    pub async fn end(&self, id: u32) -> bool {
        self.send(id, &[], FIN).await
    }

    async fn send(&self, id: u32, part: &[u8], flags: u8) -> bool {
        let length = u32::try_from(part.len()).unwrap_or(0).to_be_bytes();
        let mut f = Vec::with_capacity(8 + part.len());
        f.extend_from_slice(&id.to_be_bytes());
        f.extend_from_slice(&[flags, length[1], length[2], length[3]]);
        f.extend_from_slice(part);
        self.0.send(f).await.is_ok()
    }
}
