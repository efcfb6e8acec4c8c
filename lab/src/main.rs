//! `pleopod-lab`: clusters of network namespaces on one machine.
//!
//! Commands that become another process stay single-threaded until they do; only the others start a runtime.

use std::process::ExitCode;

use clap::Parser;
use pleopod_lab::enter::Entry;
use pleopod_lab::workload::Workload;

mod door;

use door::args::{Args, Command};

fn main() -> ExitCode {
    let mut words = std::env::args();
    // Inside a container this program may be a built-in workload, by its first word.
    if let Some(workload) = words.next().as_deref().and_then(Workload::of_program) {
        let args: Vec<String> = words.collect();
        return ExitCode::from(workload.run(&args));
    }
    let args = Args::parse();
    match run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("pleopod-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<u8> {
    let name = args.name.as_deref();
    match args.command {
        Command::Enter { inner, spec } => Ok(Entry::parse(&spec)?.become_it(&spec, inner)),
        Command::Exec(exec) => door::inside::exec(name, exec),
        Command::Node(node) => door::inside::node(name, node),
        Command::Outside(outside) => door::inside::outside(name, outside),
        Command::Workload { name, args } => {
            let workload = Workload::of_program(&name);
            let workload = workload.ok_or_else(|| anyhow::anyhow!("no built-in workload {name}"))?;
            Ok(workload.run(&args))
        }
        other => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(door::run(name, other)).map(|()| 0)
        }
    }
}
