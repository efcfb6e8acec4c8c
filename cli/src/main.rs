//! `pleopod`: the command line of a Pleopod node and lab.

use std::process::ExitCode;

fn main() -> ExitCode {
    pleopod_cli::main()
}
