//! Where bpffs and cgroup2 are, and mounting them where they are not.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::Error;

/// `BPF_FS_MAGIC`.
const BPF_FS: i128 = 0xcafe_4a11;
/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: i128 = 0x6367_7270;

/// Sees to it that `at` is bpffs: mounts one when it is not. Answers whether it had to.
pub fn ensure_bpffs(at: &Path) -> Result<bool, Error> {
    ensure(at, BPF_FS, c"bpf", "mounting bpffs at")
}

/// Sees to it that `at` is cgroup2: mounts one when it is not. Answers whether it had to. All mounts of cgroup2 show the
/// same tree.
pub fn ensure_cgroup2(at: &Path) -> Result<bool, Error> {
    ensure(at, CGROUP2, c"cgroup2", "mounting cgroup2 at")
}

/// Where this mount namespace shows the whole tree of cgroup2: `/sys/fs/cgroup` on unified systems,
/// `/sys/fs/cgroup/unified` on hybrid ones.
pub fn find_cgroup2() -> Result<Option<PathBuf>, Error> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(path).map_err(Error::path("reading", path))?;
    Ok(cgroup2_of(&text))
}

/// Whether `at` is cgroup2.
pub fn is_cgroup2(at: &Path) -> bool {
    matches!(magic(at), Ok(CGROUP2))
}

/// proc_pid_mountinfo(5): `36 35 98:0 /root /mount/point options - type source options`.
///
/// The root is told as seen from the reader's cgroup namespace (kernel/cgroup/cgroup.c, `cgroup_show_path`). A container
/// has a namespace of its own: the node's tree, mounted into it, reads `/../../..` there, and `/` is the container alone.
/// So the mount that goes up furthest is the one with the whole tree.
fn cgroup2_of(mountinfo: &str) -> Option<PathBuf> {
    let whole = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let mut steps = root.split('/').filter(|step| !step.is_empty());
        let upwards = steps.clone().count();
        (right.split(' ').next() == Some("cgroup2") && steps.all(|step| step == ".."))
            .then_some((upwards, point))
    });
    // The first of the best: `max_by_key` alone would give the last.
    let best = whole.enumerate().max_by_key(|(nth, (upwards, _))| (*upwards, usize::MAX - nth));
    best.map(|(_, (_, point))| PathBuf::from(point.replace("\\040", " ")))
}

fn ensure(at: &Path, wanted: i128, kind: &std::ffi::CStr, doing: &'static str) -> Result<bool, Error> {
    fs::create_dir_all(at).map_err(Error::path("making", at))?;
    if magic(at).map_err(Error::path("reading", at))? == wanted {
        return Ok(false);
    }
    let target = cstring(at).map_err(Error::path(doing, at))?;
    // SAFETY: every pointer is to a string that ends in zero and lives until the call returns; no data is passed.
    let result = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    if result == 0 { Ok(true) } else { Err(Error::path(doing, at)(io::Error::last_os_error())) }
}

/// The magic number of the file system at `at`. C libraries differ in the type of `f_type`; it fits either.
fn magic(at: &Path) -> io::Result<i128> {
    let path = cstring(at)?;
    // SAFETY: statfs is a C struct of integers; all zero is a value of it.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in zero, `stat` is live and of the type the call fills in.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut stat) };
    if result == 0 { Ok(i128::from(stat.f_type)) } else { Err(io::Error::last_os_error()) }
}

fn cstring(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_on_unified_and_hybrid_systems() {
        let hybrid = "30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 29 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_of(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let unified = "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_of(unified), Some("/sys/fs/cgroup".into()));
        let inside_a_container = "30 29 0:26 /kubepods/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_of(inside_a_container), None);
        let own = "30 29 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let mounted_into_it = format!("{own}31 29 0:26 /../../.. /host/cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!(cgroup2_of(&mounted_into_it), Some("/host/cgroup".into()));
        let twice = format!("{unified}31 29 0:26 / /run/pleopod/cgroup2 rw - cgroup2 cgroup2 rw\n");
        assert_eq!(cgroup2_of(&twice), Some("/sys/fs/cgroup".into()), "the first of equals");
        assert_eq!(cgroup2_of(""), None);
    }
}
