//! `pleopod-bench`: measurements of Pleopod beside reference paths.
//!
//! Every measurement takes turns between what it compares, prints both sides, their ratio and the load of the machine. The
//! numbers they last gave stand in SPECIFICATION.md.

mod ends;
mod exchange;
mod knock;
mod lab;
mod latency;
mod load;
mod p1;
mod p2;
mod p4;
mod p7;
mod p8;
mod rounds;
mod synthetic;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::rounds::Turns;

/// Measures Pleopod beside reference paths. Needs root and release binaries of the agent, the CNI plugin and the lab.
#[derive(Debug, Parser)]
#[command(name = "pleopod-bench", version, max_term_width = 110)]
struct Args {
    /// Rounds in which every side has its turn
    #[arg(long, global = true, default_value_t = 10)]
    rounds: usize,
    /// Seconds of one turn
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
    /// The CPU both ends run on
    #[arg(long, global = true, default_value_t = 1)]
    cpu: usize,
    /// Directory of pleopod-lab, pleopod-agent and pleopod-cni [default: that of this program]
    #[arg(long, global = true, env = "PLEOPOD_BIN_DIR")]
    bins: Option<PathBuf>,
    /// Directory of other binaries to measure beside these, in p1 and p2
    #[arg(long, global = true, value_name = "DIR")]
    against: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pod to pod across nodes beside node to node, a bare redirect and the kernel's forwarding
    P1,
    /// Pod to pod on a node, open connections and new ones
    P2,
    /// A Service's address beside the pod's own, with few, 10,000 and 100,000 Services
    P4,
    /// How long Services take to be in force
    P7,
    /// How long a pod takes to be connected and disconnected
    P8,
    /// All of them
    All,
    /// One end of an exchange: answers
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        place: ends::Place,
        #[arg(long)]
        listen: SocketAddr,
    },
    /// One end of an exchange: asks, and prints what it took
    #[command(hide = true)]
    Ask {
        #[command(flatten)]
        place: ends::Place,
        #[arg(long)]
        to: SocketAddr,
        #[arg(long, value_enum)]
        mode: exchange::Mode,
    },
    /// Plans Services and writes them to maps, without an API
    #[command(hide = true)]
    Cold,
    /// Connects to every address read from standard input until it is answered
    #[command(hide = true)]
    Knock {
        #[command(flatten)]
        place: ends::Place,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pleopod-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let turns = Turns { rounds: args.rounds, span: Duration::from_secs_f64(args.seconds), cpu: args.cpu };
    let bins = || lab::Bins::find(args.bins.clone());
    let against = args.against.clone().map(|dir| lab::Bins::find(Some(dir))).transpose()?;
    let against = against.as_ref();
    match args.command.unwrap_or(Command::All) {
        Command::Serve { place, listen } => {
            place.enter()?;
            exchange::serve(listen, args.cpu)
        }
        Command::Ask { place, to, mode } => {
            place.enter()?;
            let summary = exchange::run(to, mode, turns.span, usize::MAX, args.cpu)?;
            println!("{}", serde_json::to_string(&summary)?);
            Ok(())
        }
        Command::Cold => {
            ends::Place::default().enter()?;
            p7::in_memory(&turns)
        }
        Command::Knock { place } => {
            place.enter()?;
            knock::answer()
        }
        Command::P1 => p1::run(&bins()?, against, &turns).context("p1"),
        Command::P2 => p2::run(&bins()?, against, &turns).context("p2"),
        Command::P4 => p4::run(&bins()?, &turns).context("p4"),
        Command::P7 => p7::run(&bins()?, &turns).context("p7"),
        Command::P8 => p8::run(&bins()?, &turns).context("p8"),
        Command::All => {
            let bins = bins()?;
            p1::run(&bins, against, &turns).context("p1")?;
            p2::run(&bins, against, &turns).context("p2")?;
            p4::run(&bins, &turns).context("p4")?;
            p7::run(&bins, &turns).context("p7")?;
            p8::run(&bins, &turns).context("p8")
        }
    }
}
