//! The `pleopod` command line: asks a node's agent over its unix socket and prints what it says.
//!
//! It holds no state and decides nothing about the network. Output is for people by default and the same facts with
//! `-o json|yaml`; the exit code is 0 when all is well, 1 when something failed and 2 for wrong usage; an error is one
//! line. It never links the lab: `pleopod lab` becomes the `pleopod-lab` program.

mod agent;
mod args;
mod commands;
mod failure;
mod place;
mod print;

use std::io::Write;
use std::process::ExitCode;

pub use args::Cli;
use failure::Failure;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(answer) => return tell(&answer),
    };
    match commands::run(cli) {
        Ok(code) => code,
        // Whoever read our output has seen enough (`| head`).
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to tell it to when stderr is closed too.
            let _ = writeln!(std::io::stderr(), "pleopod: {failure}");
            failure.code()
        }
    }
}

/// Prints what is to be said in place of a command: help or version, which was asked for, or what is wrong with the words.
fn tell(answer: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(answer.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
        // If nobody reads it, nobody misses it.
        let _ = answer.print();
        return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
    }
    let failure = Failure::words(answer);
    let _ = writeln!(std::io::stderr(), "pleopod: {failure}");
    failure.code()
}
