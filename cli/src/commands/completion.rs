//! `pleopod completion` and the hidden `pleopod man`, both made from the definitions of the flags.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::Cli;
use crate::failure::{Failure, Result};
use crate::print;

/// Prints a completion script.
pub fn print(shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pleopod", &mut script);
    print::text(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a man page for every command.
pub fn man(directory: &Path) -> Result<ExitCode> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| {
            Failure::failed(format!("cannot write man pages to {}: {error}", directory.display()))
        })?;
    Ok(ExitCode::SUCCESS)
}
