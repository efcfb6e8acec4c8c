//! `pleopod node`: the nodes of the cluster as this agent sees them.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args;
use crate::failure::Result;
use crate::print::{self, Columns};

/// Runs `node ...`.
pub async fn run(agent: &mut Agent, command: args::Node) -> Result<ExitCode> {
    let args::Node::List(flags) = command;
    let all = list(agent).await?;
    print::facts(flags.output, &all, || columns(&all))?;
    Ok(ExitCode::SUCCESS)
}

/// Every node, by name.
pub async fn list(agent: &mut Agent) -> Result<Vec<agent::Node>> {
    let answer = agent.client.list_nodes(agent::ListNodesRequest {}).await;
    let mut all = agent.answer("list nodes", answer)?.nodes;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The table of `node list`.
pub fn columns(all: &[agent::Node]) -> Columns {
    let mut columns = Columns::new(["NAME", "ADDRESS", "POD CIDR", "ROUTER", "HEALTH", "HERE"]);
    for n in all {
        columns.row([
            n.name.clone(),
            n.addresses.join("\n"),
            n.pod_cidrs.join("\n"),
            n.router_addresses.join("\n"),
            n.health_addresses.join("\n"),
            if n.local { "yes".to_owned() } else { String::new() },
        ]);
    }
    columns
}
