//! `pleopod-agent`: one on each node. Watches the cluster, plans, and makes the node's kernel match.

mod clock;
mod collect;
mod config;
mod core;
mod door;
mod hands;
mod health;
mod install;
mod journal;
mod links;
mod lock;
mod log;
mod metrics;
mod reading;
mod remembered;
mod reports;
mod run;
mod start;
mod tasks;

use std::process::ExitCode;

fn main() -> ExitCode {
    match config::Invocation::from_process() {
        Ok(config::Invocation::Run(config)) => finish(log::start(&config).and_then(|()| run::run(*config))),
        Ok(config::Invocation::Install(install)) => finish(install::install(&install)),
        Ok(config::Invocation::Uninstall(uninstall)) => finish(install::uninstall(&uninstall)),
        Ok(config::Invocation::Pause) => finish(install::pause()),
        Err(error) => {
            eprintln!("pleopod-agent: {}", log::one_line(&error));
            ExitCode::from(2)
        }
    }
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pleopod-agent: {}", log::one_line(&error));
            ExitCode::FAILURE
        }
    }
}
