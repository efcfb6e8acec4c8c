//! A program that runs while the test goes on: a capture, a load, a follower.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Said, until};

/// How long a program may take to end once it was asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Background {
    line: String,
    child: Child,
    began: Instant,
    out: Text,
    err: Text,
    readers: Vec<JoinHandle<()>>,
}

/// What has been read so far.
type Text = Arc<Mutex<String>>;

// === impl Background ===

impl Background {
    pub(crate) fn new(line: String, mut child: Child) -> Self {
        let (out, err) = (Text::default(), Text::default());
        let readers = vec![follow(child.stdout.take(), &out), follow(child.stderr.take(), &err)];
        Self { line, child, began: Instant::now(), out, err, readers }
    }

    /// What it has printed so far, in whole lines.
    #[must_use]
    pub fn so_far(&self) -> String {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has printed on standard error so far, in whole lines.
    #[must_use]
    pub fn complaints(&self) -> String {
        self.err.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until one of its outputs holds `text`.
    pub fn until_says(&self, text: &str) {
        until(&format!("`{}` says {text}", self.line), Duration::from_secs(10), || {
            (self.so_far().contains(text) || self.complaints().contains(text)).then_some(())
        });
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself.
    #[must_use]
    pub fn wait(mut self, within: Duration) -> Said {
        let end = Instant::now() + within;
        while self.runs() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        self.said()
    }

    /// Asks it to end, as ^C does.
    #[must_use]
    pub fn stop(mut self) -> Said {
        if self.runs()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::INT);
        }
        self.wait(ENDS_WITHIN)
    }

    fn said(&mut self) -> Said {
        let code = self.child.try_wait().ok().flatten().and_then(|status| status.code());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let took = self.began.elapsed();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Said { line: self.line.clone(), code, out: self.so_far(), err: self.complaints(), took }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe line by line into `text`.
fn follow<R: Read + Send + 'static>(pipe: Option<R>, text: &Text) -> JoinHandle<()> {
    let text = Arc::clone(text);
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
