//! `pleopod lab`: becomes the program that runs labs.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::failure::{Failure, Result};

const PROGRAM: &str = "pleopod-lab";

/// Replaces this process by `pleopod-lab`: the one beside this program, else the one in PATH.
pub fn become_lab(args: &[OsString]) -> Result<ExitCode> {
    let sibling =
        env::current_exe().ok().map(|own| own.with_file_name(PROGRAM)).filter(|path| path.is_file());
    let program = sibling.clone().unwrap_or_else(|| PROGRAM.into());
    let error = Command::new(&program).args(args).exec();
    Err(Failure::failed(if error.kind() == io::ErrorKind::NotFound {
        format!(
            "cannot run the lab: {PROGRAM} is neither beside this program nor in PATH; build it with `cargo build -p {PROGRAM}`"
        )
    } else {
        format!("cannot run {}: {error}", program.display())
    }))
}
