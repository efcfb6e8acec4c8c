//! One walk as it goes on: runs lines, prints them, keeps count of what held.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::page::{self, WIDTH};
use super::seen::{Outcome, Seen};
use crate::layout::Layout;

/// Longest a single line may run.
const LINE_WITHIN: &str = "60";
/// How long the world may take to become what a check wants.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);
/// Lines of output that are printed of one command unless the walk says otherwise.
const LINES: usize = 40;

/// A terminal session that is being written.
pub struct Session<W> {
    out: W,
    directory: PathBuf,
    /// What the shell knows before each line: variables and short names.
    known: String,
    environment: Vec<(String, String)>,
    heading: usize,
    tally: Tally,
    began: Instant,
    /// Whether the reader's terminal shows colours.
    colour: bool,
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy)]
enum Kind {
    Heading,
    Command,
    Held,
    Failed,
}

/// How a walk went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that held.
    pub held: usize,
    /// Checks that did not: claim and reason.
    pub failed: Vec<String>,
}

// === impl Session ===

impl<W: Write> Session<W> {
    /// A session about the lab of `layout`, with the binaries in `programs`, in `directory`.
    pub fn new(
        mut out: W,
        layout: &Layout,
        programs: &Path,
        directory: &Path,
        colour: bool,
    ) -> anyhow::Result<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        let kubeconfig = layout.kubeconfig().display().to_string();
        let environment = vec![
            ("PATH".to_owned(), format!("{}:{path}", programs.display())),
            ("KUBECONFIG".to_owned(), kubeconfig),
            ("PLEOPOD_LAB".to_owned(), layout.lab.clone()),
            ("COLUMNS".to_owned(), WIDTH.to_string()),
        ];
        writeln!(out, "# To repeat any of this by hand, in a shell of your own:")?;
        for line in [
            format!("export PATH={}:$PATH PLEOPOD_LAB={}", programs.display(), layout.lab),
            "export KUBECONFIG=$(pleopod lab kubeconfig)".to_owned(),
            format!("cd {}", directory.display()),
        ] {
            writeln!(out, "$ {line}")?;
        }
        let (known, tally) = (String::new(), Tally::default());
        let directory = directory.to_owned();
        Ok(Self { out, directory, known, environment, heading: 0, tally, began: Instant::now(), colour })
    }

    /// Says what to look at next.
    pub fn look(&mut self, title: &str, at: &str) -> anyhow::Result<()> {
        self.heading += 1;
        let heading = self.paint(Kind::Heading, &format!("=== {}. {title}", self.heading));
        writeln!(self.out, "\n{heading}")?;
        self.note(at)
    }

    /// Defines a short name for a command, for all lines that follow.
    pub fn define(&mut self, line: &str) -> anyhow::Result<()> {
        self.known.push_str(line);
        self.known.push('\n');
        self.prompt(line)
    }

    /// Sets a variable to what a command prints, for all lines that follow.
    pub fn set(&mut self, name: &str, command: &str) -> anyhow::Result<String> {
        let value = self.ask(command)?.text.trim().to_owned();
        writeln!(self.out, "$ {name}=$({command})   # {value}")?;
        self.environment.push((name.to_owned(), value.clone()));
        Ok(value)
    }

    /// The value of a variable that was set.
    #[must_use]
    pub fn value(&self, name: &str) -> String {
        let found = self.environment.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// Runs a line, prints it and what it said.
    pub fn run(&mut self, line: &str) -> anyhow::Result<Seen> {
        self.prompt(line)?;
        let seen = self.ask(line)?;
        self.print(&seen, LINES)?;
        Ok(seen)
    }

    /// As [`Session::run`], printing no more than the first `lines` lines.
    pub fn run_cut(&mut self, line: &str, lines: usize) -> anyhow::Result<Seen> {
        self.prompt(line)?;
        let seen = self.ask(line)?;
        self.print(&seen, lines)?;
        Ok(seen)
    }

    /// Runs a line again and again until what it says satisfies `check` or time is up; prints the last time. For what
    /// arrives a moment after its cause.
    pub fn run_until(&mut self, line: &str, check: impl Fn(&Seen) -> Outcome) -> anyhow::Result<Seen> {
        self.prompt(line)?;
        let end = Instant::now() + SETTLES_WITHIN;
        let mut seen = self.ask(line)?;
        while check(&seen).is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            seen = self.ask(line)?;
        }
        self.print(&seen, LINES)?;
        Ok(seen)
    }

    /// Prints whether a claim held.
    pub fn check(&mut self, claim: &str, outcome: Outcome) -> anyhow::Result<()> {
        match outcome {
            Ok(()) => {
                self.tally.held += 1;
                self.verdict(Kind::Held, &format!("  ✓ {claim}"))?;
            }
            Err(reason) => {
                self.verdict(Kind::Failed, &format!("  ✗ {claim}: {reason}"))?;
                self.tally.failed.push(format!("{claim}: {reason}"));
            }
        }
        Ok(())
    }

    fn verdict(&mut self, kind: Kind, line: &str) -> anyhow::Result<()> {
        for part in page::fold(line) {
            let part = self.paint(kind, &part);
            writeln!(self.out, "{part}")?;
        }
        Ok(self.out.flush()?)
    }

    /// Prints the sum.
    pub fn end(mut self) -> anyhow::Result<Tally> {
        let Tally { held, failed } = self.tally.clone();
        let took = self.began.elapsed().as_secs_f32();
        let sum = format!("=== {held} checks held, {} did not ({took:.1} s)", failed.len());
        let sum = self.paint(Kind::Heading, &sum);
        writeln!(self.out, "\n{sum}")?;
        for reason in &failed {
            self.verdict(Kind::Failed, &format!("  ✗ {reason}"))?;
        }
        self.out.flush()?;
        Ok(self.tally)
    }

    /// Runs a line whose output the reader need not see.
    pub fn ask_quietly(&self, line: &str) -> anyhow::Result<Seen> {
        self.ask(line)
    }

    /// Says something in between.
    pub fn note(&mut self, text: &str) -> anyhow::Result<()> {
        for line in page::fill(text) {
            writeln!(self.out, "# {line}")?;
        }
        Ok(())
    }

    fn ask(&self, line: &str) -> anyhow::Result<Seen> {
        let script = format!("exec 2>&1\n{}{line}\n", self.known);
        let out = Command::new("timeout")
            .args(["--foreground", LINE_WITHIN, "sh", "-c", &script])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running `{line}`"))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        Ok(Seen { code: out.status.code().unwrap_or(-1), text })
    }

    fn paint(&self, kind: Kind, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match kind {
            Kind::Heading => "1;36",
            Kind::Command => "1",
            Kind::Held => "32",
            Kind::Failed => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn prompt(&mut self, line: &str) -> anyhow::Result<()> {
        for (number, line) in line.lines().enumerate() {
            let line = self.paint(Kind::Command, line);
            writeln!(self.out, "{} {line}", if number == 0 { "$" } else { ">" })?;
        }
        Ok(self.out.flush()?)
    }

    fn print(&mut self, seen: &Seen, lines: usize) -> anyhow::Result<()> {
        let all: Vec<&str> = seen.text.trim_end().lines().collect();
        for line in all.iter().take(lines).flat_map(|line| page::fold(line)) {
            writeln!(self.out, "{line}")?;
        }
        if let Some(more @ 1..) = all.len().checked_sub(lines) {
            writeln!(self.out, "      ... {more} more lines")?;
        }
        if seen.code != 0 {
            writeln!(self.out, "      (exit code {})", seen.code)?;
        }
        Ok(self.out.flush()?)
    }
}
