//! `cargo xtask down`: takes labs down, and removes what test runs that were killed left behind.
//!
//! It removes only what is its own: labs through `pleopod-lab down --all`, and network namespaces named `pleo-t-PID-...`
//! whose process is gone. What it can't account for it names and leaves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::place::{self, Place};
use crate::steps::Steps;
use crate::{Outcome, Stop};

const NETNS: &str = "/run/netns";
const LABS: &str = "/run/pleopod-lab";
const TEST_PREFIX: &str = "pleo-t-";

/// Takes every lab down, then looks for leftovers.
pub fn run(place: &Place) -> Outcome {
    let mut steps = Steps::new("down", 2);
    let mut failed = false;

    let step = steps.next("labs");
    match program(place)? {
        Some(lab) => match every_lab(place, &lab) {
            Ok(()) => step.done("down"),
            Err(error) => {
                failed = true;
                step.done(&format!("FAILED, {error:#}"));
            }
        },
        None => step.done("pleopod-lab was never built here"),
    }

    let step = steps.next("leftovers");
    let mut removed = 0;
    for name in names(Path::new(NETNS)) {
        let Some(pid) = pid_of_test(&name) else { continue };
        if Path::new("/proc").join(pid.to_string()).exists() {
            step.note(&format!("namespace {name} belongs to process {pid}, which runs: left alone"));
            continue;
        }
        let ip = place.which("ip").unwrap_or_else(|| "ip".into());
        match place::output(place.command(ip).args(["netns", "delete", &name])) {
            Ok(_) => removed += 1,
            Err(error) => {
                failed = true;
                step.note(&format!("{error:#}"));
            }
        }
    }
    let labs = labs();
    if !labs.is_empty() {
        failed = true;
        step.note(&format!(
            "{LABS} still holds {}: pleopod-lab down must be able to remove it",
            labs.join(", ")
        ));
    }
    step.done(&format!("{removed} namespaces of dead test runs removed"));
    if failed { Err(Stop::Reported) } else { Ok(()) }
}

/// All at once, and one by one when that fails, so that one broken lab does not keep the others up.
fn every_lab(place: &Place, program: &Path) -> Result<()> {
    let Err(error) = place::run(place.command(program).args(["down", "--all"])) else { return Ok(()) };
    let labs = labs();
    let failed = labs
        .iter()
        .filter(|name| place::run(place.command(program).args(["down", "--name"]).arg(name)).is_err());
    let failed: Vec<&str> = failed.map(String::as_str).collect();
    if labs.is_empty() {
        return Err(error);
    }
    if failed.is_empty() { Ok(()) } else { bail!("pleopod-lab can't take down {}", failed.join(", ")) }
}

/// Directory that holds the state of all labs.
fn root() -> PathBuf {
    std::env::var_os("PLEOPOD_LAB_ROOT").map_or_else(|| LABS.into(), PathBuf::from)
}

/// Names of the labs that have state.
fn labs() -> Vec<String> {
    let root = root();
    names(&root).into_iter().filter(|name| root.join(name).is_dir()).collect()
}

/// The newest `pleopod-lab` that was built here.
fn program(place: &Place) -> Result<Option<PathBuf>, Stop> {
    let target = place.target()?;
    let built = ["release", "debug"].map(|profile| target.join(profile).join("pleopod-lab"));
    Ok(built.into_iter().filter(|file| file.is_file()).max_by_key(|file| {
        file.metadata().and_then(|m| m.modified()).unwrap_or(std::time::SystemTime::UNIX_EPOCH)
    }))
}

/// The process that made a test's namespace: `pleo-t-PID-...`.
fn pid_of_test(name: &str) -> Option<u32> {
    name.strip_prefix(TEST_PREFIX)?.split('-').next()?.parse().ok()
}

/// Names in a directory, sorted; none when it is not there.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::pid_of_test;

    #[test]
    fn only_namespaces_of_tests_have_a_process_to_ask_for() {
        assert_eq!(pid_of_test("pleo-t-4711-0-pod"), Some(4711));
        for other in ["pleo-t-x-0", "pleo-default-k8s-s", "cni-0b1c", "pleo-t-"] {
            assert_eq!(pid_of_test(other), None, "{other}");
        }
    }
}
