//! What can go wrong, as the one line a person reads: what failed, on what, why, and what to do.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The request makes no sense; exit code 2.
    Usage(String),
    /// It made sense and failed; exit code 1.
    Failed(String),
    /// The reader of our output went away. Not an error.
    OutputClosed,
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

// === impl Failure ===

impl Failure {
    /// A request that failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// A request that makes no sense.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// A call that the agent at `socket` answered with an error.
    pub fn call(doing: &str, socket: &str, status: &tonic::Status) -> Self {
        if cut_off(status) {
            let why = "the connection was cut; it has stopped or restarted, see its log";
            return Self::Failed(format!("cannot {doing}: agent at {socket}: {why}"));
        }
        let hint = match status.code() {
            tonic::Code::Unimplemented => "; the agent is older than this command, upgrade it",
            tonic::Code::Unavailable => "; is the agent still running? see its log",
            _ => "",
        };
        let why = if status.message().is_empty() { status.code().description() } else { status.message() };
        Self::Failed(format!("cannot {doing}: agent at {socket}: {}{hint}", one_line(why)))
    }

    /// Words on the command line that make no sense: what clap says of them, without the help that follows.
    pub fn words(error: &clap::Error) -> Self {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|part| text.find(part)).min();
        Self::Usage(format!("{}; see --help", one_line(&text[..end.unwrap_or(text.len())])))
    }

    /// The exit code for this failure.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) => f.write_str(&one_line(text)),
            Self::OutputClosed => f.write_str("output closed"),
        }
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing output.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("cannot write the output: {error}"))
        }
    }
}

/// Whether the call ended without an answer of the agent, which itself never says such things.
fn cut_off(status: &tonic::Status) -> bool {
    let said = |words: &&str| status.message().contains(*words);
    ["transport error", "h2 protocol error", "error reading a body", "broken pipe"].iter().any(said)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
