//! Building: the release binaries that people run, and everything the tests need.

use anyhow::Context as _;

use crate::place::{self, Place};
use crate::steps::Steps;
use crate::{Outcome, Stop};

/// Exactly the `cargo build --release` a person would type: it leaves the shipped binaries, `pleopod-lab` and the benches in
/// `target/release`, and builds the BPF object on the way (`sys/bpf/build.rs`).
pub fn release(place: &Place) -> Outcome {
    let step = Steps::new("build", 1).next("release binaries and the BPF object");
    step.doing("cargo build --release");
    place::run(place.cargo().args(["build", "--release"])).context("the binaries do not build")?;
    step.done("built");
    Ok(())
}

/// Binaries and tests in the one profile they share, in one call, so that cargo settles on one set of features and compiles
/// every dependency once.
pub fn for_tests(place: &Place) -> Result<(), Stop> {
    let step = Steps::new("build", 1).next("binaries and tests");
    step.doing("cargo build --workspace --bins --tests");
    place::run(place.cargo().args(["build", "--workspace", "--bins", "--tests"]))
        .context("the tests do not build")?;
    step.done("built");
    Ok(())
}
