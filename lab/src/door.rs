//! The commands.

use anyhow::{Context, bail};
use pleopod_lab::daemon;
use pleopod_lab::layout::{DEFAULT_LAB, Layout};
use pleopod_lab::topology::{self, Topology, TopologyError};

pub mod args;
mod fault;
pub mod inside;
mod objects;
mod show;
mod up;
mod walk;

use args::Command;

pub async fn run(name: Option<&str>, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => up::up(name, args).await,
        Command::Down { all } => up::down(name, all).await,
        Command::Daemon => {
            let _ = nix::unistd::setsid();
            let filter = tracing_subscriber::EnvFilter::try_from_env("PLEOPOD_LAB_LOG");
            let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).init();
            daemon::run(Layout::new(name.unwrap_or(DEFAULT_LAB))).await
        }
        Command::Host { topology, host } => {
            let topology = Topology::from_file(&topology)?;
            pleopod_lab::outside::run(&topology, &host).await
        }
        Command::Apply(args) => objects::apply(name, args).await,
        Command::Get(args) => objects::get(name, args).await,
        Command::Kubeconfig => {
            let path = running(name)?.kubeconfig();
            println!("{}", path.display());
            Ok(())
        }
        Command::Fault(fault) => fault::run(name, fault).await,
        Command::Walk { which } => walk::walk(name, which).await,
        Command::List => show::list(),
        Command::Status => show::status(name),
        Command::Enter { .. }
        | Command::Exec(_)
        | Command::Node(_)
        | Command::Outside(_)
        | Command::Workload { .. } => bail!("this command runs without a runtime"),
    }
}

/// The lab that is meant: the named one, else the only one.
pub fn running(name: Option<&str>) -> anyhow::Result<Layout> {
    let layout = Layout::new(name.unwrap_or(DEFAULT_LAB));
    let labs = layout.labs();
    match (name, labs.as_slice()) {
        (_, []) => bail!("no lab is up; make one with `pleopod lab up`"),
        (Some(name), labs) if labs.iter().any(|lab| lab == name) => Ok(layout),
        (Some(name), labs) => bail!("no lab named {name} is up; there is {}", labs.join(", ")),
        (None, [only]) => Ok(Layout::new(only)),
        (None, labs) if labs.iter().any(|lab| lab == DEFAULT_LAB) => Ok(layout),
        (None, labs) => bail!("several labs are up: {}; name one with --name", labs.join(", ")),
    }
}

/// The topology a lab was made from.
pub fn topology_of(layout: &Layout) -> anyhow::Result<Topology> {
    Topology::from_file(&layout.topology()).context("the lab's own topology")
}

/// Checks the name of a lab to be made.
pub fn check_lab_name(name: &str) -> anyhow::Result<()> {
    match topology::check_name("--name", name) {
        Err(TopologyError::Invalid { field, problem }) => bail!("{field}: {problem}"),
        outcome => Ok(outcome?),
    }
}
