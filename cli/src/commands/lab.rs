//! `pleopod lab`: becomes the program that runs labs. Its arguments are passed on as they are.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::args::Place;
use crate::failure::{Failure, Result};

const PROGRAM: &str = "pleopod-lab";

/// Replaces this process by `pleopod-lab`: the one beside this program, else the one in PATH.
pub fn become_lab(place: &Place, args: &[OsString]) -> Result<ExitCode> {
    let sibling =
        env::current_exe().ok().map(|own| own.with_file_name(PROGRAM)).filter(|path| path.is_file());
    let program = sibling.clone().unwrap_or_else(|| PROGRAM.into());
    let mut command = Command::new(&program);
    command.args(args);
    if let Some(lab) = &place.lab {
        command.env("PLEOPOD_LAB", lab);
    }
    if let Some(root) = &place.lab_root {
        command.env("PLEOPOD_LAB_ROOT", root);
    }
    let error = command.exec();
    Err(Failure::failed(if error.kind() == io::ErrorKind::NotFound {
        format!(
            "cannot run the lab: {PROGRAM} is neither beside this program nor in PATH; build it with `cargo build -p {PROGRAM}`"
        )
    } else {
        format!("cannot run {}: {error}", program.display())
    }))
}
