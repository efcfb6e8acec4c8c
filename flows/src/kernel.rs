//! The kernel's ring of events, read by a thread of its own so that a flood of events starves nobody else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pleopod_sys_bpf::ring::Ring;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::Eyes;

/// Name of the ring's map.
pub const EVENTS: &str = "pleo_events";

/// Most records taken in before followers hear of them.
const BATCH: usize = 4096;

/// Pause between hearing of a record and reading on. The kernel wakes the reader whenever it writes into a ring that was read to
/// its end, which costs the writer, a packet on its way, more than the record: this way it does so once for all that come in the
/// pause. The ring holds far more than a flood writes meanwhile.
const GATHER: Duration = Duration::from_millis(2);

/// The thread that reads. Dropping this ends it.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Tells the thread to end: the one wakes it, the other ends a flood.
#[derive(Debug)]
struct Stop {
    wake: OwnedFd,
    asked: AtomicBool,
}

// === impl Reader ===

impl Reader {
    /// Reads the ring pinned under `pins` (`<bpffs>/pleopod`) into `eyes` from now on. There must be one reader of a
    /// node's ring.
    pub fn spawn(eyes: Eyes, pins: &Path) -> io::Result<Self> {
        let mut ring = Ring::open(pins, EVENTS).map_err(io::Error::other)?;
        let stop = Arc::new(Stop { wake: eventfd(0, EventfdFlags::CLOEXEC)?, asked: AtomicBool::new(false) });
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("flows".to_owned()).spawn(move || {
            loop {
                while eyes.drain(|each| ring.drain(BATCH, each)) == BATCH {
                    if stopped.asked.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                }
                if wait(&ring, &stopped.wake)? {
                    return Ok(());
                }
                thread::sleep(GATHER);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Why it ended, `None` while it reads. It only ends by itself when the kernel refuses to be waited for.
    pub fn ended(&mut self) -> Option<io::Error> {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return None;
        }
        Some(match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            Some(Err(_)) => io::Error::other("its thread panicked"),
            Some(Ok(Ok(()))) | None => io::Error::other("it was told to"),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::Relaxed);
        // Neither can fail in a way that leaves something to do.
        let _ = rustix::io::write(&self.stop.wake, &1u64.to_ne_bytes());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Waits for records, or for the end (`true`).
fn wait(ring: &Ring, stop: &OwnedFd) -> io::Result<bool> {
    let mut waits = [PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    match poll(&mut waits, None) {
        Ok(_) => Ok(waits[1].revents().contains(PollFlags::IN)),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
