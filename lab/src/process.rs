//! Processes a lab owns, recorded so that a later run can end them and nothing else.
//!
//! A pid alone may have been given to a stranger since; pid and start time together name one process for good.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process, past doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub started: u64,
}

// === impl Owned ===

impl Owned {
    /// The running process `pid`, or `None` when there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: start_time(pid)? })
    }

    /// Reads a record; `None` when there is none or it is damaged.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Writes the record so that a reader sees all of it or nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension("new");
        fs::write(&beside, serde_json::to_vec(self)?)?;
        fs::rename(beside, path)
    }

    /// Whether this very process still runs. A zombie does not.
    #[must_use]
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Sends a signal; `false` when the process is gone. A pid given to somebody else is never hit.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        // The handle is of whoever has the pid now; only after this check it is known to be of ours.
        self.alive() && pidfd_send_signal(handle, signal).is_ok()
    }

    /// Waits until the process is gone; `false` when it still runs after `limit`.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.alive() {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// SIGTERM, then SIGKILL when that did not end it within `grace`.
    pub fn end(&self, grace: Duration) {
        if self.signal(Signal::TERM) && !self.wait(grace) {
            let _ = self.signal(Signal::KILL);
            let _ = self.wait(Duration::from_secs(2));
        }
    }
}

/// Start time of a process that is not a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, parentheses included.
    let rest = &stat[stat.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_one_process_only() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let owned = Owned::of(child.id().cast_signed()).expect("runs");
        assert!(owned.alive());
        let stranger = Owned { started: owned.started + 1, ..owned };
        assert!(!stranger.alive());
        assert!(!stranger.signal(Signal::KILL), "a signal went to a process with another start time");
        assert!(owned.signal(Signal::KILL));
        child.wait().expect("reaped");
        assert!(!owned.alive());
        assert!(!owned.signal(Signal::KILL));
    }

    #[test]
    fn a_record_survives_the_file() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("p.json");
        let owned = Owned::of(std::process::id().cast_signed()).expect("we run");
        owned.write(&path).expect("written");
        assert_eq!(Owned::read(&path), Some(owned));
        fs::write(&path, "{").expect("damaged");
        assert_eq!(Owned::read(&path), None);
    }
}
