//! `pleopod config`: every setting of the agent with where it came from.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args;
use crate::failure::Result;
use crate::print::{self, Columns};

/// Runs `config ...`.
pub async fn run(agent: &mut Agent, command: args::Config) -> Result<ExitCode> {
    let args::Config::View(flags) = command;
    let all = view(agent).await?;
    print::facts(flags.output, &all, || columns(&all))?;
    Ok(ExitCode::SUCCESS)
}

/// Every setting, by key.
pub async fn view(agent: &mut Agent) -> Result<Vec<agent::ConfigItem>> {
    let answer = agent.client.get_config(agent::ConfigRequest {}).await;
    let mut all = agent.answer("read the configuration", answer)?.items;
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

/// The table of `config view`.
pub fn columns(all: &[agent::ConfigItem]) -> Columns {
    let mut columns = Columns::new(["KEY", "VALUE", "SOURCE", "DESCRIPTION"]);
    for item in all {
        columns.row([item.key.clone(), item.value.clone(), item.source.clone(), item.description.clone()]);
    }
    columns
}
