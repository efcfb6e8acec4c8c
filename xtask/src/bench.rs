//! `cargo xtask bench [ARGS]`: the measurements of `bench/`, from release binaries.

use anyhow::anyhow;

use crate::place::{self, Place};
use crate::setup::{self, Extent};
use crate::{Outcome, compile};

/// Sets up, builds, and hands the arguments to the bench program.
pub fn run(place: &Place, args: &[String]) -> Outcome {
    setup::run(place, Extent::All)?;
    compile::release(place)?;
    let bins = place.target()?.join("release");
    let names = ["bench", "pleopod-bench"];
    let program = names.iter().map(|name| bins.join(name)).find(|file| file.is_file()).ok_or_else(|| {
        anyhow!("the crate pleopod-bench left neither {} in {}", names.join(" nor "), bins.display())
    })?;
    place::run(place.command(program).args(args).env("PLEOPOD_BIN_DIR", &bins))?;
    Ok(())
}
