//! Runs a program to its end, or to the end of our patience, and keeps all that it said.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Background;

/// How long a program may take unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program about to run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    line: String,
    input: Option<String>,
    within: Duration,
}

/// A program that has run.
#[derive(Clone, Debug)]
pub struct Said {
    /// As it was called.
    pub line: String,
    /// Its exit code; `None` when it was killed, by us when it took too long.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// How long it ran.
    pub took: Duration,
}

// === impl Run ===

impl Run {
    /// The program with no words yet.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let line = program.rsplit('/').next().unwrap_or(program).to_owned();
        Self { command: Command::new(program), line, input: None, within: PATIENCE }
    }

    /// Adds words to the command line.
    #[must_use]
    pub fn words(mut self, words: &[&str]) -> Self {
        self.command.args(words);
        for word in words {
            self.line.push(' ');
            self.line.push_str(word);
        }
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it something to read.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Kills it when it takes longer than this.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Runs it.
    #[must_use]
    pub fn run(mut self) -> Said {
        let input = self.input.take();
        self.command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let (mut child, began) = (self.spawn(), Instant::now());
        let out = read_all(child.stdout.take());
        let err = read_all(child.stderr.take());
        if let Some((mut stdin, text)) = child.stdin.take().zip(input) {
            // A program may end before it has read everything.
            let _ = stdin.write_all(text.as_bytes());
        }
        let mut code = None;
        loop {
            if let Some(status) = child.try_wait().expect("our child") {
                code = status.code();
                break;
            }
            if began.elapsed() > self.within {
                let _ = child.kill();
                let _ = child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let took = began.elapsed();
        let text = |reader: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
        };
        Said { line: self.line, code, out: text(out), err: text(err), took }
    }

    /// Runs it; it must succeed. Gives its standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        self.run().ok()
    }

    /// Starts it and goes on.
    #[must_use]
    pub fn start(mut self) -> Background {
        self.command.stdin(Stdio::null());
        let child = self.spawn();
        Background::new(self.line, child)
    }

    fn spawn(&mut self) -> Child {
        let child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        child.unwrap_or_else(|error| panic!("{}: {error}", self.line))
    }
}

// === impl Said ===

impl Said {
    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Its standard output; fails unless it ended with 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success(), "{self}");
        self.out
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("killed".to_owned(), |code| format!("exit code {code}"));
        write!(f, "$ {}\n{}{}({code} after {:.1} s)", self.line, self.out, self.err, self.took.as_secs_f32())
    }
}

/// Reads a pipe to its end, beside whatever else happens.
pub(crate) fn read_all<R: Read + Send + 'static>(pipe: Option<R>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
