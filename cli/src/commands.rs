//! What each command does.

mod bpf;
mod bugtool;
mod completion;
mod config;
mod endpoint;
mod identity;
mod ip;
mod lab;
mod map;
mod monitor;
mod node;
mod observe;
mod service;
mod status;
mod version;

use std::process::ExitCode;

use crate::agent::Agent;
use crate::args::{Cli, Command};
use crate::failure::{Failure, Result};

/// Runs one command.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Lab { args } => lab::become_lab(&cli.place, &args),
        Command::Completion { shell } => completion::print(shell),
        Command::Man { directory } => completion::man(&directory),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
            runtime.block_on(ask(&cli.place, command))
        }
    }
}

async fn ask(place: &crate::args::Place, command: Command) -> Result<ExitCode> {
    match command {
        Command::Version(flags) => return version::print(place, &flags).await,
        Command::Status(flags) if flags.wait => return status::wait(place, &flags).await,
        Command::Observe(flags) => return observe::run(place, &flags).await,
        Command::Bugtool(flags) => return bugtool::collect(place, &flags).await,
        _ => {}
    }
    let mut agent = Agent::connect(place).await?;
    match command {
        Command::Status(flags) => status::print(&mut agent, &flags).await,
        Command::Endpoint(command) => endpoint::run(&mut agent, command).await,
        Command::Identity(command) => identity::run(&mut agent, command).await,
        Command::Ip(command) => ip::run(&mut agent, command).await,
        Command::Service(command) => service::run(&mut agent, command).await,
        Command::Node(command) => node::run(&mut agent, command).await,
        Command::Bpf(command) => bpf::run(&mut agent, command).await,
        Command::Map(command) => map::run(&mut agent, command).await,
        Command::Config(command) => config::run(&mut agent, command).await,
        Command::Monitor(flags) => monitor::run(&mut agent, &flags).await,
        // Handled above, before a connection is made.
        Command::Lab { .. }
        | Command::Completion { .. }
        | Command::Man { .. }
        | Command::Version(_)
        | Command::Observe(_)
        | Command::Bugtool(_) => Ok(ExitCode::SUCCESS),
    }
}
