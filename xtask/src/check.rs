//! `cargo xtask check`: what a change must pass besides the tests. All stages run, whatever the first of them says.

use anyhow::{Result, bail};

use crate::house::{self, Findings};
use crate::place::{self, Place};
use crate::setup::Compiler;
use crate::steps::{Step, Steps};
use crate::{Outcome, Stop};

type Stage = fn(&Place, &Step) -> Result<()>;

/// Cheapest first.
const STAGES: [(&str, Stage); 5] =
    [("fmt", fmt), ("house", rules), ("licences", licences), ("clippy", clippy), ("docs", docs)];

/// Runs the named stages, or all.
pub fn run(place: &Place, names: &[String]) -> Outcome {
    let known: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Stop::Usage(format!("`check` has no stage `{unknown}`; it has {}", known.join(", "))));
    }
    let stages: Vec<_> =
        STAGES.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|n| n == name)).collect();
    let mut steps = Steps::new("check", stages.len());
    let mut failed = Vec::new();
    for (name, stage) in stages {
        let step = steps.next(name);
        match stage(place, &step) {
            Ok(()) => step.done("good"),
            Err(error) => {
                step.done(&format!("FAILED, {error:#}"));
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    eprintln!("xtask check: failed: {}", failed.join(", "));
    Err(Stop::Reported)
}

fn fmt(place: &Place, _: &Step) -> Result<()> {
    place::run(place.cargo().args(["fmt", "--all", "--check"]))
}

fn rules(place: &Place, step: &Step) -> Result<()> {
    none(&house::rules(place)?, step)
}

fn licences(place: &Place, step: &Step) -> Result<()> {
    none(&house::licences(place)?, step)?;
    if place.which("cargo-deny").is_none() {
        step.note("cargo-deny is not installed: ADVISORIES WERE NOT LOOKED AT; licences and sources were");
        return Ok(());
    }
    place::run(place.cargo().args(["deny", "--all-features", "check"]))
}

/// The workspace for the host, then the programs for the kernel: on the host they are empty.
fn clippy(place: &Place, step: &Step) -> Result<()> {
    step.doing("cargo clippy");
    place::run(place.cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    if !Compiler::ask(place)?.has_source() {
        step.note("rust-src is not installed: THE PROGRAMS WERE NOT LOOKED AT (cargo xtask setup)");
        return Ok(());
    }
    step.doing("cargo clippy of datapath/programs for bpfel-unknown-none");
    let mut clippy = place.cargo();
    clippy
        .args(["clippy", "--locked", "--release", "-Zbuild-std=core", "--target", "bpfel-unknown-none"])
        .args(["--package", "pleopod-datapath-programs", "--target-dir"])
        .arg(place.target()?.join("bpf"))
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH));
    place::run(&mut clippy)
}

fn docs(place: &Place, step: &Step) -> Result<()> {
    step.doing("cargo doc");
    let mut doc = place.cargo();
    doc.args(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    place::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn none(findings: &Findings, step: &Step) -> Result<()> {
    for finding in findings {
        step.note(finding);
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings", findings.len())
}
