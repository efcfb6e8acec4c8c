//! The lab's part of the cgroup2 tree: a subtree for the lab, one below it for each node, one below that for each pod.
//!
//! The tree is also the lab's register of processes: `cgroup.kill` (kernel 5.14) ends all of a subtree at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a killed subtree may take to become empty.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Where cgroup2 is mounted, by the kernel's own list of mounts.
///
/// # Errors
/// `NotFound` when it is mounted nowhere, and what reading the list says.
pub fn mount_point() -> io::Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    find_mount(&table).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "cgroup2 is mounted nowhere; mount it: mount -t cgroup2 none DIR",
        )
    })
}

/// The first mount of type cgroup2 in the text of `/proc/self/mountinfo` whose root is the tree's root.
fn find_mount(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (right.split(' ').next()? == "cgroup2" && root == "/").then(|| PathBuf::from(unescape(point)))
    })
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Ends every process of the subtree and removes it. A subtree that isn't there is fine.
///
/// # Errors
/// When processes outlive SIGKILL, or a directory can't be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let end = Instant::now() + EMPTY_WITHIN;
    loop {
        match remove_tree(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match remove_tree(&entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    fs::remove_dir(path)
}

/// Ends every process of the subtree, leaving the subtree.
///
/// # Errors
/// What the kernel says to the write.
pub fn kill(path: &Path) -> io::Result<()> {
    fs::write(path.join("cgroup.kill"), "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_beside_version_1() {
        let table = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     40 31 0:38 /sub /mnt/part rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
                     41 31 0:38 / /sys/fs/my\\040cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(find_mount(table), Some(PathBuf::from("/sys/fs/my cgroup")));
        assert_eq!(find_mount("1 2 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn a_subtree_goes_with_its_processes() {
        let top = mount_point().expect("cgroup2").join(format!("pleo-t-{}-cg", std::process::id()));
        let leaf = top.join("a/b");
        fs::create_dir_all(&leaf).expect("made");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        fs::write(leaf.join("cgroup.procs"), child.id().to_string()).expect("moved");
        remove(&top).expect("removed");
        assert!(!top.exists());
        assert!(!child.wait().expect("reaped").success());
        remove(&top).expect("nothing to remove is fine");
    }
}
