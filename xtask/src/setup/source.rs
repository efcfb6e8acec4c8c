//! The pinned compiler and the source of its `core`, which the BPF target is built from (`-Zbuild-std=core`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::place::{self, Place};
use crate::steps::Step;

/// What `rustc` says about itself.
pub struct Compiler {
    /// `1.95.0`
    pub release: String,
    /// Major version of its LLVM, `22`.
    pub llvm: u32,
    sysroot: PathBuf,
}

impl Compiler {
    /// Asks the compiler that `rust-toolchain.toml` pins.
    pub fn ask(place: &Place) -> Result<Self> {
        let version = place::output(place.command("rustc").arg("-vV"))
            .context("no Rust compiler: install rustup, then the toolchain of rust-toolchain.toml")?;
        let sysroot = place::output(place.command("rustc").args(["--print", "sysroot"]))?;
        Self::read(&version, sysroot.trim())
    }

    fn read(version: &str, sysroot: &str) -> Result<Self> {
        let field = |name: &str| version.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        let release = field("release:").context("rustc -vV names no release")?.to_owned();
        let llvm = field("LLVM version:").and_then(|v| v.split('.').next()?.parse().ok());
        let llvm = llvm.context("rustc -vV names no LLVM version")?;
        Ok(Self { release, llvm, sysroot: sysroot.into() })
    }

    /// Whether programs for the kernel can be compiled.
    pub fn has_source(&self) -> bool {
        is_library(&self.library())
    }

    /// Where `rust-src` lies when it is there.
    fn library(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }
}

/// `rustup component add rust-src`, else Debian's package of exactly the same version, else an error with both reasons.
pub fn install(place: &Place, compiler: &Compiler, step: Step) -> Result<()> {
    let library = compiler.library();
    if compiler.has_source() {
        step.done(&format!("there for {}", compiler.release));
        return Ok(());
    }
    step.doing(&format!("rustup component add rust-src ({})", compiler.release));
    let rustup = match from_rustup(place) {
        Ok(()) if is_library(&library) => {
            step.done("added by rustup");
            return Ok(());
        }
        Ok(()) => "rustup says it is there, but it is not".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    step.doing(&format!("{rustup}; trying Debian's rust-src"));
    match from_debian(place, compiler) {
        Ok(()) if is_library(&library) => {
            step.done("unpacked from Debian's package");
            Ok(())
        }
        result => {
            let debian =
                result.err().map_or("its package has no library with core and Cargo.lock".to_owned(), |e| {
                    format!("{e:#}")
                });
            bail!(
                "rust-src of rustc {} can't be had. rustup: {rustup}. Debian: {debian}. Put the folder `library` of that \
                 release's source at {}, or build with PLEOPOD_BPF_OBJECT=FILE",
                compiler.release,
                library.display()
            )
        }
    }
}

fn is_library(library: &Path) -> bool {
    library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file()
}

/// Runs in the checkout, so rustup takes the toolchain that is pinned there.
fn from_rustup(place: &Place) -> Result<()> {
    place::output(place.command("rustup").args(["component", "add", "rust-src"])).map(drop)
}

/// Takes `library` out of Debian's package without installing it: its dependencies would bring a second compiler.
fn from_debian(place: &Place, compiler: &Compiler) -> Result<()> {
    let known = place::output(place.command("apt-cache").args(["madison", "rust-src"]))?;
    let versions: Vec<&str> =
        known.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
    let Some(version) = versions.iter().find(|v| is_release(v, &compiler.release)) else {
        bail!("has no rust-src {} (it has: {})", compiler.release, versions.join(", "));
    };
    let work = compiler.sysroot.join(format!("rust-src-{}", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let done = unpack(place, version, &work, &compiler.library());
    let swept = std::fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()));
    done.and(swept)
}

fn unpack(place: &Place, version: &str, work: &Path, library: &Path) -> Result<()> {
    let download = format!("rust-src={version}");
    place::output(
        place
            .command("apt-get")
            .current_dir(work)
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["download", download.as_str()]),
    )?;
    let package = entry(work, |name| name.ends_with(".deb")).context("apt-get left no package")?;
    place::output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(work.join("files")))?;
    let source = entry(&work.join("files/usr/src"), |name| name.starts_with("rustc-"))
        .context("the package has no usr/src/rustc-*")?;
    let parent = library.parent().context("the library has no parent")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    place::output(Command::new("cp").arg("-aT").arg(source.join("library")).arg(library)).map(drop)
}

/// The first entry of a directory whose name fits.
fn entry(dir: &Path, fits: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    entries.find(|e| e.file_name().to_str().is_some_and(&fits)).map(|e| e.path())
}

/// Whether a Debian version (`1.95.0+dfsg1-2`) packages this release.
fn is_release(debian: &str, release: &str) -> bool {
    debian.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

#[cfg(test)]
mod tests {
    use super::{Compiler, is_release};

    #[test]
    fn a_compiler_tells_its_release_and_llvm() {
        let said = "rustc 1.95.0 (59807616e 2026-04-14)\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        let compiler = Compiler::read(said, "/toolchain").expect("a compiler");
        assert_eq!((compiler.release.as_str(), compiler.llvm), ("1.95.0", 22));
        assert!(Compiler::read("rustc 1.95.0\n", "/toolchain").is_err());
    }

    #[test]
    fn only_the_same_release_of_debian_will_do() {
        assert!(is_release("1.95.0+dfsg1-2", "1.95.0"));
        assert!(!is_release("1.63.0+dfsg1-2", "1.95.0"));
        assert!(!is_release("1.95.01-1", "1.95.0"));
    }
}
