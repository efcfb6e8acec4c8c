//! A container's root: the machine's own root, seen through an overlay whose upper layer is a private tmpfs.
//!
//! So every tool of the machine is there, and whatever the container writes is gone with it. `/proc`, `/sys`, `/run` and
//! `/tmp` are its own; `/dev` is the machine's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

const NONE: Option<&str> = None;
/// File systems that hold programs, which the overlay of `/` alone would not show.
const HOLD_PROGRAMS: [&str; 8] = ["ext4", "xfs", "btrfs", "overlay", "squashfs", "erofs", "ext3", "virtiofs"];

/// What a container's root is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Root {
    /// An existing empty directory to mount it on.
    pub dir: PathBuf,
    /// Files to write: path, text.
    pub files: Vec<(PathBuf, String)>,
    /// Volumes: what of the host, where in the container, read-only.
    pub volumes: Vec<Volume>,
}

/// A directory or file of the host, shown in the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: PathBuf,
    /// Not writable there.
    pub read_only: bool,
}

// === impl Root ===

impl Root {
    /// Makes the root and moves into it, in a mount namespace and a pid namespace that were just made.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("detaching mounts")?;
        let others = mounts_with_programs()?;
        let dir = &self.dir;
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).context("tmpfs")?;
        let (upper, work, merged) = (dir.join("upper"), dir.join("work"), dir.join("root"));
        for part in [&upper, &work, &merged] {
            fs::create_dir(part).with_context(|| part.display().to_string())?;
        }
        let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
            .context("mounting an overlay on the machine's root (does the kernel have overlayfs?)")?;
        for other in others {
            let target = inside(&merged, &other);
            if target.is_dir() {
                mount(Some(&other), &target, NONE, MsFlags::MS_BIND, NONE)
                    .with_context(|| format!("showing {}", other.display()))?;
            }
        }
        own_mounts(&merged)?;
        self.write_files(&merged)?;
        for volume in &self.volumes {
            volume.mount(&merged)?;
        }
        std::env::set_current_dir(&merged).context("entering the root")?;
        nix::unistd::pivot_root(".", ".").context("changing the root")?;
        umount2(".", MntFlags::MNT_DETACH).context("leaving the old root")?;
        std::env::set_current_dir("/").context("entering /")
    }

    fn write_files(&self, merged: &Path) -> anyhow::Result<()> {
        for (path, text) in &self.files {
            let target = inside(merged, path);
            let write = || -> std::io::Result<()> {
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent)?;
                }
                // A link here may lead out of the root.
                match fs::remove_file(&target) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                fs::write(&target, text)?;
                fs::set_permissions(&target, fs::Permissions::from_mode(0o644))
            };
            write().with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

// === impl Volume ===

impl Volume {
    fn mount(&self, merged: &Path) -> anyhow::Result<()> {
        let target = inside(merged, &self.target);
        let shown = || format!("mounting {} at {}", self.source.display(), self.target.display());
        if self.source.is_dir() {
            fs::create_dir_all(&target).with_context(shown)?;
        } else if !target.exists() {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).with_context(shown)?;
            }
            fs::write(&target, "").with_context(shown)?;
        }
        mount(Some(&self.source), &target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
            .with_context(shown)?;
        if self.read_only {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(NONE, &target, NONE, flags, NONE).with_context(shown)?;
        }
        Ok(())
    }
}

/// `/proc` (of the new pid namespace), `/sys` (of the network namespace), `/dev`, `/run` and `/tmp`.
fn own_mounts(merged: &Path) -> anyhow::Result<()> {
    let at = |name: &str| -> anyhow::Result<PathBuf> {
        let path = merged.join(name);
        fs::create_dir_all(&path).with_context(|| format!("/{name}"))?;
        Ok(path)
    };
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &at("proc")?, Some("proc"), safe, NONE).context("mounting /proc")?;
    mount(Some("sysfs"), &at("sys")?, Some("sysfs"), safe | MsFlags::MS_RDONLY, NONE)
        .context("mounting /sys")?;
    mount(Some("/dev"), &at("dev")?, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .context("showing /dev")?;
    mount(Some("tmpfs"), &at("run")?, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755"))
        .context("mounting /run")?;
    mount(Some("tmpfs"), &at("tmp")?, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=1777"))
        .context("mounting /tmp")
}

/// `path`, below `merged`. `..` is refused its meaning, and the usual link `/var/run` is followed by hand.
fn inside(merged: &Path, path: &Path) -> PathBuf {
    let path =
        path.strip_prefix("/var/run").map_or_else(|_| path.to_owned(), |rest| Path::new("/run").join(rest));
    let mut target = merged.to_owned();
    target.extend(path.components().filter(|part| matches!(part, Component::Normal(_))));
    target
}

/// Mount points below `/` of file systems that hold programs.
fn mounts_with_programs() -> anyhow::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("list of mounts")?;
    Ok(table.lines().filter_map(program_mount).collect())
}

fn program_mount(line: &str) -> Option<PathBuf> {
    let (left, right) = line.split_once(" - ")?;
    let point = left.split(' ').nth(4)?;
    let kind = right.split(' ').next()?;
    let pseudo = ["/proc", "/sys", "/dev", "/run", "/tmp"];
    let wanted = HOLD_PROGRAMS.contains(&kind)
        && point != "/"
        && !pseudo.iter().any(|top| Path::new(point).starts_with(top))
        && !point.contains('\\');
    wanted.then(|| PathBuf::from(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let inside = |path: &str| inside(Path::new("/m"), Path::new(path)).display().to_string();
        assert_eq!(inside("/etc/resolv.conf"), "/m/etc/resolv.conf");
        assert_eq!(inside("/../../etc/x"), "/m/etc/x");
        assert_eq!(inside("/var/run/secrets/a"), "/m/run/secrets/a");
        assert_eq!(inside("/var/runner"), "/m/var/runner");
    }

    #[test]
    fn only_disks_below_the_root_are_shown() {
        let line = |point: &str, kind: &str| format!("1 2 0:1 / {point} rw shared:1 - {kind} src rw");
        assert_eq!(program_mount(&line("/usr", "ext4")), Some("/usr".into()));
        for (point, kind) in [("/", "ext4"), ("/run/x", "ext4"), ("/usr", "tmpfs"), ("/proc", "proc")] {
            assert_eq!(program_mount(&line(point, kind)), None, "{point} {kind}");
        }
    }
}
