//! `pleopod service`: frontends and the backends a connection may be given.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args::{self, Format};
use crate::failure::{Failure, Result};
use crate::print::{self, Columns};

/// Runs `service ...`.
pub async fn run(agent: &mut Agent, command: args::Service) -> Result<ExitCode> {
    match command {
        args::Service::List(flags) => {
            let all = list(agent, 0).await?;
            print::facts(flags.output, &all, || columns(&all))?;
        }
        args::Service::Get { id, output } => {
            let all = list(agent, id).await?;
            let Some(one) = all.iter().find(|s| s.id == id) else {
                return Err(Failure::failed(format!("no service {id}: see `pleopod service list`")));
            };
            match output.output {
                Format::Table => print::facts(Format::Table, one, || columns(std::slice::from_ref(one)))?,
                format => print::document(format, one)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Services by number; 0 for all.
pub async fn list(agent: &mut Agent, id: u32) -> Result<Vec<agent::Service>> {
    let answer = agent.client.list_services(agent::ListServicesRequest { id }).await;
    let mut all = agent.answer("list services", answer)?.services;
    all.sort_by_key(|s| s.id);
    Ok(all)
}

/// The table of `service list`.
pub fn columns(all: &[agent::Service]) -> Columns {
    let mut columns = Columns::new(["ID", "FRONTEND", "SERVICE TYPE", "BACKEND", "NAME"]);
    for s in all {
        let backends: Vec<_> =
            s.backends.iter().map(|b| format!("{} => {} ({})", b.id, b.address, b.state)).collect();
        let frontend = format!("{}/{}", s.frontend, s.protocol);
        let name =
            if s.port_name.is_empty() { s.name.clone() } else { format!("{}:{}", s.name, s.port_name) };
        columns.row([s.id.to_string(), frontend, s.r#type.clone(), backends.join("\n"), name]);
    }
    columns
}
