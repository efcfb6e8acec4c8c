//! Takes away everything a lab made, whatever state it was left in.
//!
//! Works from names and the kernel's own registers, not from what a daemon remembered: the daemon may have been killed.
//! Errors are gathered; one thing that can't be removed does not keep the rest.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::cgroup;
use crate::layout::Layout;
use crate::pod::sandbox::{RECORD, Sandbox};
use crate::process::Owned;

/// What could not be removed.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Leftovers(Vec<String>);

// === impl Leftovers ===

impl Leftovers {
    fn note<E: std::fmt::Display>(&mut self, what: &str, outcome: Result<(), E>) {
        if let Err(error) = outcome {
            self.0.push(format!("{what}: {error}"));
        }
    }
}

/// Ends the lab's processes and removes its namespaces, mounts, cgroups and files.
///
/// # Errors
/// Everything that is still there, in one error.
pub fn remove(layout: &Layout) -> Result<(), Leftovers> {
    let mut left = Leftovers::default();
    if let Some(daemon) = Owned::read(&layout.daemon_record())
        && daemon.pid != std::process::id().cast_signed()
    {
        daemon.end(Duration::from_secs(10));
    }
    match cgroup::mount_point() {
        Ok(mount) => left.note("cgroup", cgroup::remove(&mount.join(layout.cgroup()))),
        Err(error) => left.note("cgroup", Err(error)),
    }
    let state = layout.state();
    for name in pod_namespaces(&state).into_iter().chain(own_namespaces(layout)) {
        left.note("namespace", pleopod_sys_netns::delete(&name));
    }
    left.note("mounts", unmount_below(&state));
    if let Err(error) = fs::remove_dir_all(&state)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        left.note(&state.display().to_string(), Err(error));
    }
    // The directory of all labs goes with the last one.
    let _ = fs::remove_dir(&layout.root);
    if left.0.is_empty() { Ok(()) } else { Err(left) }
}

/// Namespaces of the lab's fabric, nodes and outside hosts.
fn own_namespaces(layout: &Layout) -> Vec<String> {
    let prefix = layout.netns("");
    let others: Vec<String> = layout
        .labs()
        .into_iter()
        .filter(|lab| *lab != layout.lab)
        .map(|lab| format!("pleo-{lab}-"))
        .collect();
    let all = pleopod_sys_netns::list().unwrap_or_default();
    all.into_iter()
        // A lab `a` must not take those of a lab `a-b`.
        .filter(|name| name.starts_with(&prefix))
        .filter(|name| !others.iter().any(|other| other.len() > prefix.len() && name.starts_with(other)))
        .collect()
}

/// Namespaces of pods, by the sandboxes on record.
fn pod_namespaces(state: &Path) -> Vec<String> {
    let entries = |dir: &Path| -> Vec<std::path::PathBuf> {
        fs::read_dir(dir)
            .map(|all| all.filter_map(Result::ok).map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    entries(&state.join("nodes"))
        .iter()
        .flat_map(|node| entries(&node.join("pods")))
        .filter_map(|pod| fs::read(pod.join(RECORD)).ok())
        .filter_map(|record| serde_json::from_slice::<Sandbox>(&record).ok())
        .filter(|sandbox| sandbox.attached.is_some())
        .filter_map(|sandbox| Some(sandbox.netns.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.starts_with("cni-"))
        .collect()
}

/// Unmounts everything mounted below `dir`, innermost first.
fn unmount_below(dir: &Path) -> std::io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<&Path> =
        table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new).collect();
    points.retain(|point| point.starts_with(dir));
    for point in points.into_iter().rev() {
        nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH).map_err(std::io::Error::from)?;
    }
    Ok(())
}
