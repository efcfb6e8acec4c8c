//! What a command on a node sees: the node's own `/sys`, its bpffs at `/sys/fs/bpf`, its resolver and hosts files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

/// Mounts that make a node's view.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct View {
    /// The node's bpffs, shown at `/sys/fs/bpf`.
    pub bpffs: Option<PathBuf>,
    /// Files shown in place of others: what, where.
    pub files: Vec<(PathBuf, PathBuf)>,
}

// === impl View ===

impl View {
    /// Makes the mounts, in a mount namespace that was just made. The network namespace must be joined already:
    /// a sysfs mount shows the one it was made in.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).context("detaching mounts")?;
        // Held open so that they can be mounted again once the new /sys covers them.
        let cgroup = fs::File::open("/sys/fs/cgroup").ok();
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("mounting /sys")?;
        if let Some(handle) = &cgroup {
            use std::os::fd::AsRawFd;
            let source = format!("/proc/self/fd/{}", handle.as_raw_fd());
            bind(Path::new(&source), Path::new("/sys/fs/cgroup"))?;
        }
        if let Some(bpffs) = &self.bpffs {
            bind(bpffs, Path::new("/sys/fs/bpf"))?;
        }
        for (source, target) in &self.files {
            if target.exists() {
                bind(source, target)?;
            }
        }
        Ok(())
    }
}

/// Unmounts cgroup2 wherever it is, in a mount namespace that was just made.
pub(super) fn remove_cgroup2() -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).context("detaching mounts")?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        if let (Some(point), Some("cgroup2")) = (words.nth(1), words.next()) {
            umount2(point, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {point}"))?;
        }
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("showing {} at {}", source.display(), target.display()))
}
