//! `pleopod ip`: who has which address, in the whole cluster.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args;
use crate::failure::Result;
use crate::print::{self, Columns};

/// Runs `ip ...`.
pub async fn run(agent: &mut Agent, command: args::Ip) -> Result<ExitCode> {
    let args::Ip::List { numeric, output } = command;
    let all = list(agent).await?;
    print::facts(output.output, &all, || columns(&all, numeric))?;
    Ok(ExitCode::SUCCESS)
}

/// Every entry, in order of prefix.
pub async fn list(agent: &mut Agent) -> Result<Vec<agent::IpEntry>> {
    let answer = agent.client.list_ips(agent::ListIpsRequest {}).await;
    let mut all = agent.answer("list addresses", answer)?.entries;
    all.sort_by_key(|entry| order(&entry.prefix));
    Ok(all)
}

/// The table of `ip list`.
pub fn columns(all: &[agent::IpEntry], numeric: bool) -> Columns {
    let mut columns = Columns::new(["IP", "IDENTITY", "SOURCE"]);
    for entry in all {
        let labelled = !numeric && !entry.labels.is_empty();
        let identity = if labelled { entry.labels.join("\n") } else { entry.identity.to_string() };
        columns.row([entry.prefix.clone(), identity, entry.source.clone()]);
    }
    columns
}

/// Orders CIDR text by address, v4 first; text that is none comes last.
fn order(prefix: &str) -> (bool, Option<std::net::IpAddr>, u8, String) {
    let (address, length) = prefix.split_once('/').unwrap_or((prefix, "255"));
    let address = address.parse().ok();
    (address.is_none(), address, length.parse().unwrap_or(255), prefix.to_owned())
}
