//! One exec, whatever wire it comes over: what the client sends goes to the program, and back.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{ExecIo, ExecOutcome, ExecRequest, PodStreams, StreamError, TermSize};

/// How many chunks wait in each direction before the sender has to.
pub const DEPTH: usize = 32;

/// From the client.
#[derive(Debug)]
pub enum Input {
    /// Typed.
    Stdin(Bytes),
    /// No more will be typed.
    EndOfStdin,
    /// The terminal has another size.
    Resize(TermSize),
}

/// To the client.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
    /// How it ended: a `metav1.Status`. Nothing comes after.
    Ended(Value),
}

/// Runs a program until it ends or the client goes away, which is when `input` closes or `output` is dropped.
pub async fn run(
    streams: Arc<dyn PodStreams>,
    req: ExecRequest,
    mut input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
) {
    let (stdin, stdin_rx) = mpsc::channel(DEPTH);
    let (stdout_tx, mut stdout) = mpsc::channel::<Bytes>(DEPTH);
    let (stderr_tx, mut stderr) = mpsc::channel::<Bytes>(DEPTH);
    let (resize, resize_rx) = mpsc::channel(4);
    let mut program = streams
        .exec(req, ExecIo { stdin: stdin_rx, stdout: stdout_tx, stderr: stderr_tx, resize: resize_rx });
    // What is typed waits for the program here, not in the loop below: output must go on meanwhile.
    let typing = async {
        let mut stdin = Some(stdin);
        while let Some(i) = input.recv().await {
            match i {
                Input::Stdin(b) => {
                    if let Some(tx) = &stdin
                        && tx.send(b).await.is_err()
                    {
                        stdin = None;
                    }
                }
                Input::EndOfStdin => stdin = None,
                Input::Resize(size) => {
                    let _ = resize.try_send(size);
                }
            }
        }
    };
    tokio::pin!(typing);
    let mut ended = None;
    // The program is over when it has said how it ended and both outputs are closed.
    let (mut open1, mut open2) = (true, true);
    while ended.is_none() || open1 || open2 {
        let say = tokio::select! {
            r = &mut program, if ended.is_none() => {
                ended = Some(r);
                continue;
            }
            b = stdout.recv(), if open1 => match b {
                Some(b) => Output::Stdout(b),
                None => { open1 = false; continue }
            },
            b = stderr.recv(), if open2 => match b {
                Some(b) => Output::Stderr(b),
                None => { open2 = false; continue }
            },
            // The client is gone: dropping the program's future is how it hears of it.
            () = &mut typing => return,
        };
        if output.send(say).await.is_err() {
            return;
        }
    }
    if let Some(r) = ended {
        let _ = output.send(Output::Ended(status(&r))).await;
    }
}

/// How a program ended, as clients read it.
fn status(r: &Result<ExecOutcome, StreamError>) -> Value {
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

/// `{"Width":80,"Height":24}`
pub fn size(b: &[u8]) -> Option<TermSize> {
    let v: Value = serde_json::from_slice(b).ok()?;
    let get = |k: &str| v.get(k).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
    Some(TermSize { width: get("Width")?, height: get("Height")? })
}
