//! `pleopod identity`: numbers and the labels they stand for.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args::{self, Format};
use crate::failure::{Failure, Result};
use crate::print::{self, Columns};

/// Runs `identity ...`.
pub async fn run(agent: &mut Agent, command: args::Identity) -> Result<ExitCode> {
    match command {
        args::Identity::List(flags) => {
            let all = list(agent, 0).await?;
            print::facts(flags.output, &all, || columns(&all))?;
        }
        args::Identity::Get { id, output } => {
            let all = list(agent, id).await?;
            let Some(one) = all.iter().find(|i| i.id == id) else {
                return Err(Failure::failed(format!("no identity {id}: see `pleopod identity list`")));
            };
            match output.output {
                Format::Table => print::facts(Format::Table, one, || columns(std::slice::from_ref(one)))?,
                format => print::document(format, one)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Identities by number; 0 for all.
pub async fn list(agent: &mut Agent, id: u32) -> Result<Vec<agent::Identity>> {
    let answer = agent.client.list_identities(agent::ListIdentitiesRequest { id }).await;
    let mut all = agent.answer("list identities", answer)?.identities;
    all.sort_by_key(|i| i.id);
    Ok(all)
}

/// The table of `identity list`.
pub fn columns(all: &[agent::Identity]) -> Columns {
    let mut columns = Columns::new(["ID", "LABELS"]);
    for i in all {
        columns.row([i.id.to_string(), i.labels.join("\n")]);
    }
    columns
}
