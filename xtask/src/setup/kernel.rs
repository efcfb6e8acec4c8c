//! What the lab and the tests need of the kernel that runs, each with a line of its own.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::place::{self, Place};
use crate::steps::Step;

/// tcx links came with 6.6.
const OLDEST: (u32, u32) = (6, 6);

/// Looks and reports; fails when something is missing.
pub fn look(place: &Place, step: Step) -> Result<()> {
    let looks: [(&str, Result<String, String>); 5] = [
        ("Linux 6.6 or newer (tcx links)", version(&read("/proc/sys/kernel/osrelease"))),
        ("BTF (/sys/kernel/btf/vmlinux)", btf()),
        ("bpffs", filesystem(&read("/proc/filesystems"), "bpf")),
        ("cgroup2", cgroup2(&read("/proc/self/mountinfo"), &read("/proc/filesystems"))),
        ("network namespaces and veth, as root", namespaces(place)),
    ];
    let mut missing = 0;
    for (need, found) in &looks {
        match found {
            Ok(how) => step.note(&format!("{need}: {how}")),
            Err(why) => {
                missing += 1;
                step.note(&format!("{need}: MISSING, {why}"));
            }
        }
    }
    if missing > 0 {
        bail!("this machine lacks {missing} of what the lab and the tests need (see above)");
    }
    step.done("has what the lab and the tests need");
    Ok(())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn version(release: &str) -> Result<String, String> {
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Ok(release.to_owned()),
        _ => Err(format!("this is `{release}`: boot a newer kernel")),
    }
}

fn btf() -> Result<String, String> {
    let size = fs::metadata("/sys/kernel/btf/vmlinux").map(|m| m.len());
    size.map(|size| format!("{} KiB", size / 1024)).map_err(|_| "needs CONFIG_DEBUG_INFO_BTF".into())
}

fn filesystem(known: &str, name: &str) -> Result<String, String> {
    let there = known.lines().any(|line| line.split_whitespace().last() == Some(name));
    if there { Ok("known to the kernel".into()) } else { Err(format!("/proc/filesystems has no {name}")) }
}

/// Where cgroup2 is mounted. Nowhere is no failure as long as the kernel has it: the agent mounts its own.
fn cgroup2(mounts: &str, known: &str) -> Result<String, String> {
    let mounted = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        (kind.split(' ').next() == Some("cgroup2")).then(|| place.split(' ').nth(4)).flatten()
    });
    match mounted {
        Some(point) => Ok(format!("mounted at {point}")),
        None => filesystem(known, "cgroup2").map(|_| "not mounted, agents mount their own".into()),
    }
}

/// Makes a namespace with a pair of interfaces in it, which goes away with the command.
fn namespaces(place: &Place) -> Result<String, String> {
    if !place::is_root() {
        return Err("this is not root: the lab and the tests make namespaces, run as root".into());
    }
    let pair = ["link", "add", "pleo-a", "type", "veth", "peer", "name", "pleo-b"];
    let ip = place.which("ip").unwrap_or_else(|| Path::new("ip").into());
    place::output(place.command("unshare").arg("--net").arg(ip).args(pair))
        .map(|_| "made and gone again".into())
        .map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::{cgroup2, filesystem, version};

    #[test]
    fn a_kernel_older_than_tcx_is_refused() {
        for good in ["6.6.0\n", "6.18.44-fc-v657", "7.0-rc1"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["6.5.13", "5.15.0-91-generic", "", "linux"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cgroup2_is_found_where_it_is_mounted() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2(hybrid, "").as_deref(), Ok("mounted at /sys/fs/cgroup/unified"));
        assert!(cgroup2("", "nodev\tcgroup2\n").is_ok());
        assert!(cgroup2("", "nodev\tcgroup\n").is_err());
    }

    #[test]
    fn a_filesystem_is_known_by_its_whole_name() {
        assert!(filesystem("nodev\tbpf\n\text4\n", "bpf").is_ok());
        assert!(filesystem("nodev\tbpfx\n", "bpf").is_err());
    }
}
