//! One agent a node: a lock on what two agents would fight over, the directory of pins.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Held as long as the agent lives; the kernel drops it with the process, however that ends.
#[derive(Debug)]
pub struct NodeLock {
    _pins: OwnedFd,
}

/// Takes the lock, or says who may have it.
pub fn take(pins: &Path, run_dir: &Path) -> anyhow::Result<NodeLock> {
    let dir = File::open(pins).with_context(|| format!("lock: opening {}", pins.display()))?;
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let pid = std::fs::read_to_string(run_dir.join("agent.pid")).unwrap_or_default();
            let who = match pid.trim() {
                "" => "its process id is not known".to_owned(),
                pid => format!("process {pid}"),
            };
            bail!(
                "another pleopod-agent runs on this node ({who}) and holds {}; two would undo each other's work, so this one ends. Stop the other first",
                pins.display()
            );
        }
        Err(e) => return Err(e).with_context(|| format!("lock: {}", pins.display())),
    }
    let pid_file = run_dir.join("agent.pid");
    std::fs::write(&pid_file, format!("{}\n", std::process::id()))
        .with_context(|| format!("lock: writing {}", pid_file.display()))?;
    Ok(NodeLock { _pins: dir.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_by_name_and_may_come_when_the_first_is_gone() {
        let pins = tempfile::tempdir().expect("a directory");
        let run = tempfile::tempdir().expect("a directory");
        let first = take(pins.path(), run.path()).expect("the first");
        let error = take(pins.path(), run.path()).expect_err("the second").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        take(pins.path(), run.path()).expect("after the first is gone");
    }
}
