//! `pleopod-cni`: the CNI plugin.
//!
//! A runtime runs this binary once for each verb with `CNI_*` variables and the network configuration on standard
//! input. It asks the node's agent over a unix socket and prints the result; it holds no state and touches no
//! kernel object itself. What it speaks: CNI specification 1.1.0, and 1.0.0, 0.4.0, 0.3.1 and 0.3.0 for runtimes
//! that still send them.

mod agent;
mod error;
mod input;
mod output;
mod verbs;

use std::io::Read as _;
use std::process::ExitCode;

use error::{Code, Error};

fn main() -> ExitCode {
    let mut stdin = Vec::new();
    let read = std::io::stdin().read_to_end(&mut stdin);
    let env = input::Env::from_process();
    let outcome = match read {
        Ok(_) => verbs::run(&env, &stdin),
        Err(e) => {
            Err(Error::new(Code::Io, format!("reading the network configuration from standard input: {e}")))
        }
    };
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(result)) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            // The specification puts errors on standard output; people look at standard error.
            println!("{}", error.to_json(&input::version_of(&stdin)));
            eprintln!("pleopod-cni: {error}");
            ExitCode::FAILURE
        }
    }
}
