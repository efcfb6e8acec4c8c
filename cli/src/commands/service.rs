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
        args::Service::List { verbose, output } => {
            let all = list(agent, 0).await?;
            print::facts(output.output, &all, || if verbose { wide(&all) } else { columns(&all) })?;
        }
        args::Service::Get { id, output } => {
            let which = Which::from(id.as_str());
            let mut found = list(agent, which.number()).await?;
            found.retain(|service| which.is(service));
            match (found.as_slice(), output.output, &which) {
                ([], ..) => {
                    return Err(Failure::failed(format!("no service {id}: see `pleopod service list`")));
                }
                (all, Format::Table, _) => print::text(&details(all))?,
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

/// The table of `service list`: backends that somebody is given, or that still have connections.
pub fn columns(all: &[agent::Service]) -> Columns {
    let mut columns = Columns::new(["ID", "FRONTEND", "SERVICE TYPE", "BACKEND", "NAME"]);
    for s in all {
        let listed = s.backends.iter().filter(|b| b.inside || b.outside || b.state != ACTIVE);
        let backends: Vec<_> = listed.map(backend).collect();
        columns.row([s.id.to_string(), frontend(s), s.r#type.clone(), backends.join("\n"), name(s)]);
    }
    columns
}

/// The table of `service list --verbose`: all backends, a line each.
fn wide(all: &[agent::Service]) -> Columns {
    let mut columns = Columns::new([
        "ID",
        "FRONTEND",
        "SERVICE TYPE",
        "ALGORITHM",
        "INSIDE",
        "OUTSIDE",
        "AFFINITY",
        "BACKEND",
        "WEIGHT",
        "NODE",
        "CHOSEN",
        "NAME",
    ]);
    for s in all {
        let each =
            |what: fn(&agent::Backend) -> String| s.backends.iter().map(what).collect::<Vec<_>>().join("\n");
        columns.row([
            s.id.to_string(),
            frontend(s),
            s.r#type.clone(),
            s.algorithm.clone(),
            s.inside.clone(),
            s.outside.clone(),
            affinity(s),
            each(backend),
            each(|b| b.weight.to_string()),
            each(|b| or_dash(&b.node)),
            each(chosen),
            name(s),
        ]);
    }
    columns
}

/// What `service get` prints: each frontend, and a table of its backends.
fn details(all: &[agent::Service]) -> String {
    all.iter().map(|s| fields(s).text() + "\n" + &backends(s).text()).collect::<Vec<_>>().join("\n")
}

fn fields(s: &agent::Service) -> Columns {
    let mut columns = Columns::new(["FIELD", "VALUE"]);
    let outside = match s.outside.as_str() {
        "Local" => "Local: backends of this node, which see the client's address",
        "Cluster" => "Cluster: all backends, which see the node's address",
        "Refused" => "Refused: not served",
        other => other,
    };
    let inside = match s.inside.as_str() {
        "Local" => "Local: backends of this node",
        "Cluster" => "Cluster: all backends",
        other => other,
    };
    let hints = match s.topology.as_str() {
        "zone" => "followed: backends for this node's zone",
        "node" => "followed: backends for this node",
        _ => "none to follow",
    };
    let ranges = if s.source_ranges.is_empty() { "all".into() } else { s.source_ranges.join("\n") };
    for (field, value) in [
        ("id", s.id.to_string()),
        ("frontend", frontend(s)),
        ("service type", s.r#type.clone()),
        ("name", name(s)),
        ("algorithm", s.algorithm.clone()),
        ("clients inside", inside.into()),
        ("clients outside", outside.into()),
        ("affinity", affinity(s)),
        ("hints", hints.into()),
        ("source ranges", ranges),
        ("removed backends", s.removed_backend.clone()),
    ] {
        columns.row([field.to_owned(), value]);
    }
    columns
}

fn backends(s: &agent::Service) -> Columns {
    let mut columns =
        Columns::new(["BACKEND", "ADDRESS", "STATE", "WEIGHT", "NODE", "ZONE", "POD", "CHOSEN"]);
    for b in &s.backends {
        columns.row([
            b.id.to_string(),
            b.address.clone(),
            b.state.clone(),
            b.weight.to_string(),
            or_dash(&b.node) + if b.local { " (this)" } else { "" },
            or_dash(&b.zone),
            or_dash(&b.pod),
            chosen(b),
        ]);
    }
    columns
}

const ACTIVE: &str = "active";

fn frontend(s: &agent::Service) -> String {
    format!("{}/{}", s.frontend, s.protocol)
}

fn name(s: &agent::Service) -> String {
    if s.port_name.is_empty() { s.name.clone() } else { format!("{}:{}", s.name, s.port_name) }
}

fn affinity(s: &agent::Service) -> String {
    if s.affinity == 0 { "-".into() } else { format!("{}s", s.affinity) }
}

fn backend(b: &agent::Backend) -> String {
    format!("{} => {} ({})", b.id, b.address, b.state)
}

/// Who is given it.
fn chosen(b: &agent::Backend) -> String {
    match (b.inside, b.outside) {
        (true, true) => "inside, outside",
        (true, false) => "inside",
        (false, true) => "outside",
        (false, false) => "-",
    }
    .into()
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.to_owned() }
}
