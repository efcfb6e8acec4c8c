//! `pleopod service`: frontends and the backends a connection may be given.

use std::net::SocketAddr;
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
            let which = Which::from(id.as_str());
            let mut found = list(agent, which.number()).await?;
            found.retain(|service| which.is(service));
            match (found.as_slice(), output.output, &which) {
                ([], ..) => {
                    return Err(Failure::failed(format!("no service {id}: see `pleopod service list`")));
                }
                (all, Format::Table, _) => print::facts(Format::Table, &found, || columns(all))?,
                // A number is one frontend.
                ([one], format, Which::Number(_)) => print::document(format, one)?,
                (_, format, _) => print::document(format, &found)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person calls frontends by.
enum Which {
    Number(u32),
    /// `address:port`, whatever the protocol.
    Address(SocketAddr),
    /// `namespace/name` of the Service.
    Name(String),
}

// === impl Which ===

impl From<&str> for Which {
    fn from(text: &str) -> Self {
        if let Ok(number) = text.parse() {
            return Self::Number(number);
        }
        if let Ok(address) = text.parse() {
            return Self::Address(address);
        }
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Self::Name(format!("{namespace}/{name}"))
    }
}

impl Which {
    /// What to ask the agent for; 0 for all.
    fn number(&self) -> u32 {
        if let Self::Number(number) = self { *number } else { 0 }
    }

    fn is(&self, service: &agent::Service) -> bool {
        match self {
            Self::Number(number) => service.id == *number,
            Self::Address(address) => service.frontend.parse() == Ok(*address),
            Self::Name(name) => service.name == *name,
        }
    }
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
