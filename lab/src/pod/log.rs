//! A container's output, kept as a container runtime keeps it: one line a record, with time, stream and a mark for
//! lines that were cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::sync::Mutex;

/// Longest piece of a line in one record, as containerd cuts it.
const PIECE: usize = 16 << 10;

/// One record of a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was read, as the runtime wrote it (RFC 3339).
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// The line goes on in the next record.
    pub partial: bool,
    /// The text, without the line's end.
    pub text: &'a str,
}

/// Path of the log of a container's `restart`th run.
#[must_use]
pub fn path(container: &Path, restart: u32) -> PathBuf {
    container.join(format!("{restart}.log"))
}

/// Writes both streams to `file` until both end.
pub async fn keep(
    file: PathBuf,
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
) {
    let log = match File::create(&file).await {
        Ok(log) => Arc::new(Mutex::new(log)),
        Err(error) => {
            tracing::error!(file = %file.display(), %error, "a container's log can't be kept");
            return;
        }
    };
    tokio::join!(copy(stdout, "stdout", &log), copy(stderr, "stderr", &log));
}

async fn copy(from: Option<impl AsyncRead + Unpin>, stream: &str, log: &Mutex<File>) {
    let Some(from) = from else { return };
    let mut from = BufReader::with_capacity(PIECE, from);
    loop {
        let Ok(available) = from.fill_buf().await else { return };
        if available.is_empty() {
            return;
        }
        // A chunk may hold several lines; what follows the last line's end is a piece of a line unless more comes.
        let end = available.iter().position(|byte| *byte == b'\n');
        let (piece, used) = match end {
            Some(end) => (available[..end].to_vec(), end + 1),
            None => (available.to_vec(), available.len()),
        };
        from.consume(used);
        let mark = if end.is_some() { 'F' } else { 'P' };
        let now = jiff::Timestamp::now();
        let mut record = format!("{now:.9} {stream} {mark} ").into_bytes();
        record.extend_from_slice(&piece);
        record.push(b'\n');
        let mut log = log.lock().await;
        if log.write_all(&record).await.is_err() || log.flush().await.is_err() {
            return;
        }
    }
}

/// Reads one record's line.
#[must_use]
pub fn parse(line: &str) -> Option<Record<'_>> {
    let mut parts = line.splitn(4, ' ');
    let (time, stream, mark) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Record { time, stream, partial: mark == "P", text: parts.next().unwrap_or("") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_become_records() {
        let dir = tempfile::tempdir().expect("dir");
        let file = path(dir.path(), 0);
        keep(file.clone(), Some(&b"one\ntwo words\n\nrest"[..]), Some(&b"bad\n"[..])).await;
        let text = std::fs::read_to_string(file).expect("log");
        let mut seen: Vec<_> =
            text.lines().filter_map(parse).map(|one| (one.stream, one.partial, one.text)).collect();
        seen.sort_by_key(|one| one.0 == "stderr");
        assert_eq!(
            seen,
            [
                ("stdout", false, "one"),
                ("stdout", false, "two words"),
                ("stdout", false, ""),
                ("stdout", true, "rest"),
                ("stderr", false, "bad")
            ]
        );
        let time = text.split(' ').next().expect("time");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{time}");
    }
}
