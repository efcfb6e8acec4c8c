//! `cargo xtask VERB`: the only verbs of this house. CI runs the same ones (`.ci/run`).
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage. Errors are one line; progress goes to standard error, results to standard
//! output.

mod bench;
mod check;
mod compile;
mod down;
mod house;
mod lab;
mod place;
mod setup;
mod steps;
mod suite;

use std::process::ExitCode;

use place::Place;

const USAGE: &str = "\
Usage: cargo xtask VERB

  setup [--build-only]      install what is missing: Debian packages, rust-src, bpf-linker; look at the kernel
  build                     cargo build --release: pleopod, pleopod-agent, pleopod-cni, pleopod-lab and the BPF object
  lab [ARGS of lab up]      setup, build, bring a cluster up on this machine and walk through it
  test [-p PACKAGE]... [NAME]... [-- RUNNER ARGS]
                            setup, build, run the tests; the last line counts them
  check [STAGE]...          what a change must pass besides the tests; stages: fmt house licences clippy docs
  bench [ARGS]              setup, build, run the benches
  down                      take every lab of this machine down and remove what dead test runs left
";

/// Why a verb ended without its work done.
#[derive(Debug)]
enum Stop {
    /// The arguments make no sense: exit code 2.
    Usage(String),
    /// Something failed and was already reported where it happened: exit code 1.
    Reported,
    /// Something failed: exit code 1.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Outcome = Result<(), Stop>;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match run(&verb, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Usage(problem)) => {
            eprintln!("xtask: {problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Stop::Reported) => ExitCode::FAILURE,
        Err(Stop::Failed(error)) => {
            eprintln!("xtask {verb}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &str, args: &[String]) -> Outcome {
    if matches!(verb, "help" | "-h" | "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let place = Place::find()?;
    match verb {
        "setup" => setup::run(&place, setup::Extent::from_args(args)?),
        "build" => none(verb, args).and_then(|()| compile::release(&place)),
        "lab" => lab::run(&place, args),
        "test" => suite::run(&place, args),
        "check" => check::run(&place, args),
        "bench" => bench::run(&place, args),
        "down" => none(verb, args).and_then(|()| down::run(&place)),
        "" => Err(Stop::Usage("a verb is missing".into())),
        other => Err(Stop::Usage(format!("there is no verb `{other}`"))),
    }
}

/// For verbs that take no arguments.
fn none(verb: &str, args: &[String]) -> Outcome {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(Stop::Usage(format!("`{verb}` takes no argument, got `{arg}`"))),
    }
}
