//! `cargo xtask setup`: what a fresh Debian machine with rustup lacks. Each step looks first, so a second run only looks.

mod kernel;
mod linker;
mod packages;
mod source;

pub use self::source::Compiler;
use crate::place::Place;
use crate::steps::Steps;
use crate::{Outcome, Stop};

/// How much to set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What building takes, for a packager or an image.
    Build,
    /// That and what the tests and the lab use.
    All,
}

impl Extent {
    /// Reads the verb's arguments.
    pub fn from_args(args: &[String]) -> Result<Self, Stop> {
        match args {
            [] => Ok(Self::All),
            [flag] if flag == "--build-only" => Ok(Self::Build),
            [other, ..] => Err(Stop::Usage(format!("`setup` knows only --build-only, got `{other}`"))),
        }
    }
}

/// Looks at everything and installs what is missing.
pub fn run(place: &Place, extent: Extent) -> Outcome {
    let mut steps = Steps::new("setup", if extent == Extent::All { 4 } else { 3 });
    packages::install(place, extent, steps.next("Debian packages"))?;
    let compiler = Compiler::ask(place)?;
    source::install(place, &compiler, steps.next("rust-src"))?;
    linker::install(place, &compiler, steps.next("bpf-linker"))?;
    if extent == Extent::All {
        kernel::look(place, steps.next("kernel"))?;
    }
    Ok(())
}
