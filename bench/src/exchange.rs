//! Request/response over TCP: the two ends of a measurement, each its own process in its own namespace.
//!
//! `rr` sends one byte and waits for one byte on an open connection; `crr` opens a connection for each exchange, as a
//! client of a web server without keep-alive does. Both ends run on one CPU, so that a wake-up on another core is not
//! what is measured.
//!
//! With `crr` the server closes first, so that the connections that linger are its own: a client whose ports linger soon spends
//! its time looking for a free one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::latency::{Samples, Summary};

/// What one exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One byte there, one byte back.
    Rr,
    /// Connect, one byte there, one byte back, close.
    Crr,
    /// connect() and close only.
    Connect,
}

/// The byte that asks for an answer.
const ASK: u8 = 7;
/// The byte that asks for an answer and the end of the connection.
const LAST: u8 = 8;

/// Pins this thread, and those it starts, to one CPU.
pub fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).context("pin")?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to CPU {cpu}"))
}

/// Answers every byte on every connection, one connection after the other. Prints `listening` once it does.
pub fn serve(listen: SocketAddr, cpu: usize) -> anyhow::Result<()> {
    pin(cpu)?;
    let listener = TcpListener::bind(listen).with_context(|| format!("listening at {listen}"))?;
    println!("listening");
    std::io::stdout().flush()?;
    let mut byte = [0u8; 1];
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        stream.set_nodelay(true)?;
        while matches!(stream.read(&mut byte), Ok(1)) {
            if stream.write_all(&byte).is_err() || byte[0] == LAST {
                break;
            }
        }
    }
    Ok(())
}

/// Exchanges for `span`, bounded by `most` exchanges, and sums up.
pub fn run(to: SocketAddr, mode: Mode, span: Duration, most: usize, cpu: usize) -> anyhow::Result<Summary> {
    pin(cpu)?;
    let connect = || TcpStream::connect(to).with_context(|| format!("connecting to {to}"));
    let mut samples = Samples::with_capacity(most.min(1 << 21));
    let end = Instant::now() + span;
    let mut open = connect()?;
    open.set_nodelay(true)?;
    if mode != Mode::Rr {
        // One listener thread serves one connection at a time: leave the idle one first.
        finish(&mut open)?;
    }
    for _ in 0..most {
        let start = Instant::now();
        if start >= end {
            break;
        }
        match mode {
            Mode::Rr => exchange(&mut open, ASK)?,
            Mode::Crr => finish(&mut connect()?)?,
            Mode::Connect => drop(connect()?),
        }
        samples.push(start.elapsed());
    }
    samples.summary().context("no exchange was completed")
}

fn exchange(stream: &mut TcpStream, byte: u8) -> anyhow::Result<()> {
    stream.write_all(&[byte]).context("sending")?;
    stream.read_exact(&mut [0]).context("receiving")
}

/// The last exchange of a connection, until the other end has closed it.
fn finish(stream: &mut TcpStream) -> anyhow::Result<()> {
    exchange(stream, LAST)?;
    let more = stream.read(&mut [0]).context("waiting for the end")?;
    anyhow::ensure!(more == 0, "the other end goes on after the last answer");
    Ok(())
}
