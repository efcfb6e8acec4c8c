//! What the API server asks of the containers: their logs, and programs run beside them.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use pleopod_lab_control::{ExecIo, ExecOutcome, ExecRequest, LogRequest, LogStream, PodStreams, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::enter::Entry;
use crate::pod::log;
use crate::pod::place::{self, Found, PlaceError};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Answers for the containers of a lab.
pub struct Streams {
    index: PathBuf,
}

// === impl Streams ===

impl Streams {
    /// Finds pods by the lab's index.
    #[must_use]
    pub fn new(index: PathBuf) -> Self {
        Self { index }
    }

    fn find(&self, namespace: &str, pod: &str, container: &str) -> Result<Found, StreamError> {
        let container = (!container.is_empty()).then_some(container);
        place::find(&self.index, namespace, pod, container).map_err(|error| match error {
            PlaceError::NoPod(..) => StreamError::NotFound(error.to_string()),
            _ => StreamError::BadRequest(error.to_string()),
        })
    }
}

impl PodStreams for Streams {
    fn logs(&self, req: LogRequest) -> BoxFuture<'static, Result<LogStream, StreamError>> {
        let found = self.find(&req.namespace, &req.pod, &req.container);
        async move {
            let found = found?;
            let newest = newest(&found.dir);
            let wanted = if req.previous { newest.and_then(|number| number.checked_sub(1)) } else { newest };
            let Some(wanted) = wanted else {
                let what = if req.previous { "previous terminated container" } else { "container" };
                let text = format!("{what} \"{}\" in pod \"{}\" has no log yet", found.container, req.pod);
                return Err(StreamError::BadRequest(text));
            };
            let (pieces, stream) = mpsc::channel(16);
            tokio::spawn(read_log(log::path(&found.dir, wanted), found, req, pieces));
            Ok(tokio_stream(stream))
        }
        .boxed()
    }

    fn exec(&self, req: ExecRequest, io: ExecIo) -> BoxFuture<'static, Result<ExecOutcome, StreamError>> {
        let found = self.find(&req.namespace, &req.pod, &req.container);
        async move {
            let Some(argv) = req.command.filter(|argv| !argv.is_empty()) else {
                let text = "a lab's containers can't be attached to; use exec or logs";
                return Err(StreamError::BadRequest(text.to_owned()));
            };
            let mut entry = found?.entry(argv).map_err(|error| StreamError::BadRequest(error.to_string()))?;
            if req.tty {
                entry.env.push(("TERM".to_owned(), "xterm".to_owned()));
            }
            let code = if req.tty { on_terminal(entry, io).await } else { on_pipes(&entry, io).await };
            code.map(ExecOutcome::Exited).map_err(|error| StreamError::Internal(error.to_string()))
        }
        .boxed()
    }
}

fn tokio_stream(receiver: mpsc::Receiver<io::Result<Bytes>>) -> LogStream {
    futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
        .boxed()
}

/// Number of the newest log.
fn newest(dir: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(dir).ok()?;
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).max()
}

/// Sends what was asked for of a log, and goes on as it grows.
async fn read_log(path: PathBuf, found: Found, req: LogRequest, to: mpsc::Sender<io::Result<Bytes>>) {
    let since =
        req.since_seconds.map(|seconds| jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds));
    let mut left = req.limit_bytes.unwrap_or(u64::MAX);
    let mut offset = 0;
    let mut first = true;
    loop {
        let running = found.runs();
        let (text, end) = match read_from(&path, offset).await {
            Ok(read) => read,
            Err(error) => {
                let _ = to.send(Err(error)).await;
                return;
            }
        };
        offset = end;
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        if first && let Some(tail) = req.tail {
            let tail = usize::try_from(tail).unwrap_or(usize::MAX);
            lines.drain(..lines.len().saturating_sub(tail));
        }
        first = false;
        for line in lines {
            let Some(record) = log::parse(line.trim_end_matches('\n')) else { continue };
            let old = |since: jiff::Timestamp| {
                record.time.parse::<jiff::Timestamp>().is_ok_and(|time| time < since)
            };
            if since.is_some_and(old) {
                continue;
            }
            let mut out = String::with_capacity(line.len());
            if req.timestamps {
                out.push_str(record.time);
                out.push(' ');
            }
            out.push_str(record.text);
            if !record.partial {
                out.push('\n');
            }
            let mut out = Bytes::from(out);
            out.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= out.len() as u64;
            if to.send(Ok(out)).await.is_err() || left == 0 {
                return;
            }
        }
        if !req.follow || (!running && text.is_empty()) {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = to.closed() => return,
        }
    }
}

/// The whole lines after `offset`, and where they end.
async fn read_from(path: &Path, offset: u64) -> io::Result<(String, u64)> {
    use tokio::io::AsyncSeekExt;
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        // The pod is gone, and its log with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((String::new(), offset)),
        Err(error) => return Err(error),
    };
    file.seek(io::SeekFrom::Start(offset)).await?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(whole);
    Ok((String::from_utf8_lossy(&bytes).into_owned(), offset + whole as u64))
}

async fn on_pipes(entry: &Entry, mut io: ExecIo) -> anyhow::Result<i32> {
    let mut command = tokio::process::Command::from(entry.command()?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feeding = tokio::spawn(async move {
        let Some(mut stdin) = stdin else { return };
        while let Some(bytes) = io.stdin.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let pass = |from: Option<_>, to: mpsc::Sender<Bytes>| pass(from, to);
    let stdout = tokio::spawn(pass(stdout.map(Output::Out), io.stdout));
    let stderr = tokio::spawn(pass(stderr.map(Output::Err), io.stderr));
    let status = child.wait().await?;
    let _ = tokio::join!(stdout, stderr);
    feeding.abort();
    Ok(status.code().unwrap_or(255))
}

/// One of a process's outputs.
enum Output {
    Out(tokio::process::ChildStdout),
    Err(tokio::process::ChildStderr),
}

async fn pass(from: Option<Output>, to: mpsc::Sender<Bytes>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = match &mut from {
            Output::Out(from) => from.read(&mut buffer).await,
            Output::Err(from) => from.read(&mut buffer).await,
        };
        match read {
            Ok(length @ 1..) => {
                if to.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Runs the program on a terminal of its own; everything it writes is standard output.
async fn on_terminal(mut entry: Entry, mut io: ExecIo) -> anyhow::Result<i32> {
    let flags =
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    entry.tty = Some(PathBuf::from(rustix::pty::ptsname(&ours, Vec::new())?.into_string()?));
    let mut command = tokio::process::Command::from(entry.command()?);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let (writer, sizes) = (ours.try_clone()?, ours.try_clone()?);
    let mut child = command.spawn()?;
    let stdout = io.stdout.clone();
    drop(io.stderr);
    let reading = tokio::task::spawn_blocking(move || read_terminal(ours, &stdout));
    let writing = tokio::spawn(async move {
        let mut writer = std::fs::File::from(writer);
        while let Some(bytes) = io.stdin.recv().await {
            let wrote = tokio::task::spawn_blocking(move || writer.write_all(&bytes).map(|()| writer)).await;
            match wrote {
                Ok(Ok(again)) => writer = again,
                _ => return,
            }
        }
    });
    let sizing = tokio::spawn(async move {
        while let Some(size) = io.resize.recv().await {
            let size = rustix::termios::Winsize {
                ws_row: size.height,
                ws_col: size.width,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = rustix::termios::tcsetwinsize(&sizes, size);
        }
    });
    let status = child.wait().await?;
    // The last process on the terminal may be another one that goes on; its output is no longer waited for.
    let _ = tokio::time::timeout(Duration::from_millis(300), reading).await;
    writing.abort();
    sizing.abort();
    Ok(status.code().unwrap_or(255))
}

/// Reads until nobody has the terminal open any more. Before the program opened it there is nobody either, which reads
/// as an error too: the first moments are waited out.
fn read_terminal(ours: OwnedFd, to: &mpsc::Sender<Bytes>) {
    let mut ours = std::fs::File::from(ours);
    let mut buffer = vec![0; 32 << 10];
    let begun = std::time::Instant::now();
    let mut seen = false;
    loop {
        match ours.read(&mut buffer) {
            Ok(length @ 1..) => {
                seen = true;
                if to.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                    return;
                }
            }
            Err(_) if !seen && begun.elapsed() < Duration::from_secs(2) && !to.is_closed() => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => return,
        }
    }
}
