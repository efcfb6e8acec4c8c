//! `cargo xtask test`: every test of the workspace, counted.
//!
//! Binaries and tests share the `dev` profile and are built by one call of cargo. The tests find the binaries through
//! `PLEOPOD_BIN_DIR`. cargo-nextest runs them where it is installed (a process for each test), plain `cargo test` elsewhere;
//! documentation tests always run under cargo. The last line of output is `N passed, N failed, N skipped`, summed from what
//! the runners said.

mod count;

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use self::count::{Count, Runner};
use crate::place::Place;
use crate::setup::{self, Extent};
use crate::{Outcome, Stop, compile};

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    packages: Vec<String>,
    names: Vec<String>,
    runner: Vec<String>,
}

/// Sets up, builds, runs, counts.
pub fn run(place: &Place, args: &[String]) -> Outcome {
    let choice = Choice::from_args(args)?;
    setup::run(place, Extent::All)?;
    compile::for_tests(place)?;
    let bins = place.target()?.join("debug");
    let nextest = place.which("cargo-nextest").is_some();
    let mut runs = Vec::new();
    if nextest {
        runs.push((choice.nextest(place), Runner::Nextest));
        if choice == Choice::default() {
            runs.push((choice.cargo(place, &["--doc"]), Runner::Cargo));
        }
    } else {
        runs.push((choice.cargo(place, &[]), Runner::Cargo));
    }
    let mut total = Count::default();
    let mut good = true;
    for (mut command, runner) in runs {
        let (status, mut count) = watch(command.env("PLEOPOD_BIN_DIR", &bins), runner)?;
        if !status.success() && count.failed == 0 {
            eprintln!("xtask test: the runner ended with {status} and counted no failure: that is one");
            count.failed = 1;
        }
        good &= status.success();
        total += count;
    }
    if total.passed + total.failed == 0 {
        eprintln!("xtask test: no test ran; is the name right?");
        good = false;
    }
    println!("{total}");
    if good && total.failed == 0 { Ok(()) } else { Err(Stop::Reported) }
}

/// Runs a runner, shows what it says as it says it, and counts.
fn watch(command: &mut Command, runner: Runner) -> Result<(ExitStatus, Count)> {
    let (out, err) = match runner {
        Runner::Cargo => (Stdio::piped(), Stdio::inherit()),
        Runner::Nextest => (Stdio::inherit(), Stdio::piped()),
    };
    let mut child =
        command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().context("cannot run the test runner")?;
    let mut count = Count::default();
    match runner {
        Runner::Cargo => {
            let said = child.stdout.take().context("no pipe")?;
            pump(said, &mut std::io::stdout(), |line| count.read(runner, line))?;
        }
        Runner::Nextest => {
            let said = child.stderr.take().context("no pipe")?;
            pump(said, &mut std::io::stderr(), |line| count.read(runner, line))?;
        }
    }
    Ok((child.wait().context("the test runner is gone")?, count))
}

fn pump(from: impl std::io::Read, to: &mut impl Write, mut read: impl FnMut(&str)) -> Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

// === impl Choice ===

impl Choice {
    fn from_args(args: &[String]) -> Result<Self, Stop> {
        let mut choice = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--" => choice.runner.extend(args.by_ref().cloned()),
                "-p" | "--package" => {
                    let name = args.next().ok_or_else(|| Stop::Usage(format!("`{arg}` wants a package")))?;
                    choice.packages.push(name.clone());
                }
                flag if flag.starts_with('-') => {
                    return Err(Stop::Usage(format!(
                        "`test` doesn't know `{flag}`; what the runner knows goes after --"
                    )));
                }
                name => choice.names.push(name.to_owned()),
            }
        }
        Ok(choice)
    }

    /// Packages are chosen by a filter, not by `-p`: that would settle on other features and compile again.
    fn nextest(&self, place: &Place) -> Command {
        let mut command = place.cargo();
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=warn"]);
        command.args(["--color", if std::io::stderr().is_terminal() { "always" } else { "never" }]);
        if !self.packages.is_empty() {
            let any: Vec<String> = self.packages.iter().map(|p| format!("package(={p})")).collect();
            command.args(["-E", &any.join(" + ")]);
        }
        command.args(&self.names).args(&self.runner);
        command
    }

    fn cargo(&self, place: &Place, what: &[&str]) -> Command {
        let mut command = place.cargo();
        command.args(["test", "--no-fail-fast"]);
        if self.packages.is_empty() {
            command.arg("--workspace");
        }
        for package in &self.packages {
            command.args(["-p", package]);
        }
        command.args(what).arg("--").args(&self.names).args(&self.runner);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::Choice;

    fn choice(args: &[&str]) -> Option<Choice> {
        Choice::from_args(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn packages_names_and_the_runners_own_arguments_are_told_apart() {
        let read = choice(&["-p", "pleopod-abi", "layout", "--", "--nocapture"]).expect("a choice");
        assert_eq!(read.packages, ["pleopod-abi"]);
        assert_eq!(read.names, ["layout"]);
        assert_eq!(read.runner, ["--nocapture"]);
        assert_eq!(choice(&[]), Some(Choice::default()));
        assert_eq!(choice(&["-p"]), None);
        assert_eq!(choice(&["--release"]), None);
    }
}
