//! bpf-linker: links LLVM bitcode to a BPF object with the libLLVM that rustc brings.

use anyhow::{Context, Result, bail};

use super::source::Compiler;
use crate::place::{self, Place};
use crate::steps::Step;

/// The series this house builds with (`docs/guide` and the pinned rustc go with it).
const SERIES: &str = "0.10";
/// LLVM versions that this series knows how to borrow from rustc.
const LLVM: std::ops::RangeInclusive<u32> = 20..=22;

/// `cargo install`, when `bpf-linker --version` does not answer with the series.
pub fn install(place: &Place, compiler: &Compiler, step: Step) -> Result<()> {
    let found = version(place);
    if let Some(found) = found.as_deref().filter(|v| is_of_series(v)) {
        step.done(&format!("{found} there"));
        return Ok(());
    }
    let llvm = compiler.llvm;
    if !LLVM.contains(&llvm) {
        bail!(
            "bpf-linker {SERIES} can't use LLVM {llvm} of rustc {}: use the pinned toolchain",
            compiler.release
        );
    }
    let before = found.map_or("not there".to_owned(), |found| format!("{found} is not {SERIES}"));
    step.doing(&format!("{before}; cargo install, one to two minutes"));
    let features = format!("llvm-{llvm},rust-llvm-{llvm}");
    place::run(
        place
            .cargo()
            .args(["install", "bpf-linker", "--version", &format!("^{SERIES}"), "--locked", "--force"])
            .args(["--no-default-features", "--features", &features])
            // It asks for debug information by default, which nobody here reads and takes time to write.
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    )
    .context("bpf-linker")?;
    match version(place) {
        Some(found) if is_of_series(&found) => step.done(&format!("{found} installed")),
        Some(found) => {
            bail!("bpf-linker {found} comes first in PATH; remove it or put cargo's bin directory before it")
        }
        None => bail!("bpf-linker is installed but not in PATH: add cargo's bin directory to it"),
    }
    Ok(())
}

/// What the bpf-linker in PATH calls itself.
fn version(place: &Place) -> Option<String> {
    let said = place::output(place.command(place.which("bpf-linker")?).arg("--version")).ok()?;
    said.split_whitespace().nth(1).map(str::to_owned)
}

fn is_of_series(version: &str) -> bool {
    version.strip_prefix(SERIES).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_of_series;

    #[test]
    fn a_series_is_not_a_prefix_of_digits() {
        assert!(is_of_series("0.10.4"));
        assert!(!is_of_series("0.9.15"));
        assert!(!is_of_series("0.100.0"));
        assert!(!is_of_series("0.10"));
    }
}
