//! Connects until somebody answers: how long a Service takes from the API's answer to its first connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::ends::Place;

/// How long one try may take: an address that nobody has yet answers nothing.
const TRY: Duration = Duration::from_millis(2);
/// How long all tries may take.
const ALL: Duration = Duration::from_secs(5);

/// A process in a pod that knocks at addresses.
#[derive(Debug)]
pub struct Knocker {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

/// Reads addresses from standard input, one a line; answers each with the nanoseconds until a connection was made.
pub fn answer() -> anyhow::Result<()> {
    for line in std::io::stdin().lines() {
        let to: SocketAddr = line?.trim().parse()?;
        let start = Instant::now();
        while TcpStream::connect_timeout(&to, TRY).is_err() {
            if start.elapsed() > ALL {
                anyhow::bail!("{to} did not answer within {ALL:?}");
            }
        }
        println!("{}", start.elapsed().as_nanos());
        std::io::stdout().flush()?;
    }
    Ok(())
}

// === impl Knocker ===

impl Knocker {
    /// Starts one at a place.
    pub fn start(place: &Place) -> anyhow::Result<Self> {
        let mut command: Command = place.command("knock")?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, answers })
    }

    /// Knocks at `to` until somebody answers. The time is the caller's, the way to the process and back included.
    pub fn knock(&mut self, to: SocketAddr) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let stdin = self.child.stdin.as_mut().context("no standard input")?;
        writeln!(stdin, "{to}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let _: u64 = line.trim().parse().with_context(|| format!("nobody answered at {to}"))?;
        Ok(start.elapsed())
    }
}

impl Drop for Knocker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
