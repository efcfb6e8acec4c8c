//! `pleopod map`: the tables the agent keeps in the kernel, and whether the kernel agrees.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args;
use crate::failure::Result;
use crate::print::{self, Columns};

/// Runs `map ...`.
pub async fn run(agent: &mut Agent, command: args::Map) -> Result<ExitCode> {
    match command {
        args::Map::List(flags) => {
            let all = list(agent).await?;
            print::facts(flags.output, &all, || columns(&all))?;
        }
        args::Map::Get { name, output } => {
            let rows = get(agent, &name).await?;
            print::facts(output.output, &rows, || row_columns(&rows))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every table, by name.
pub async fn list(agent: &mut Agent) -> Result<Vec<agent::Map>> {
    let answer = agent.client.list_maps(agent::ListMapsRequest {}).await;
    let mut all = agent.answer("list maps", answer)?.maps;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The rows of one table, under either of its names.
pub async fn get(agent: &mut Agent, name: &str) -> Result<Vec<agent::MapRow>> {
    let short = name.strip_prefix("pleo_").unwrap_or(name).to_owned();
    let answer = agent.client.get_map(agent::GetMapRequest { name: short }).await;
    Ok(agent.answer(&format!("show map {name}"), answer)?.rows)
}

/// The table of `map list`.
pub fn columns(all: &[agent::Map]) -> Columns {
    let mut columns = Columns::new([
        "NAME",
        "KERNEL NAME",
        "ID",
        "TYPE",
        "ENTRIES",
        "MAX",
        "KEY",
        "VALUE",
        "ERRORS",
        "SYNC",
    ]);
    for m in all {
        columns.row([
            m.name.clone(),
            m.kernel_name.clone(),
            m.id.to_string(),
            m.r#type.clone(),
            m.entries.to_string(),
            m.max_entries.to_string(),
            format!("{}B", m.key_size),
            format!("{}B", m.value_size),
            m.errors.to_string(),
            if m.synced { "yes".to_owned() } else { "kernel".to_owned() },
        ]);
    }
    columns
}

/// The table of `map get`.
pub fn row_columns(rows: &[agent::MapRow]) -> Columns {
    let mut columns = Columns::new(["KEY", "VALUE", "STATE", "ERROR"]);
    for row in rows {
        columns.row([row.key.clone(), row.value.clone(), row.state.clone(), row.error.clone()]);
    }
    columns
}
