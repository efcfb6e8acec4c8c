//! `pleopod endpoint`: pods (and the host) of a node, with identity, labels, addresses and state.

use std::process::ExitCode;

use pleopod_api::agent;

use crate::agent::Agent;
use crate::args::{self, Format};
use crate::failure::{Failure, Result};
use crate::print::{self, Columns};

/// Runs `endpoint ...`.
pub async fn run(agent: &mut Agent, command: args::Endpoint) -> Result<ExitCode> {
    let all = list(agent).await?;
    match command {
        args::Endpoint::List(flags) => print::facts(flags.output, &all, || columns(&all))?,
        args::Endpoint::Get { id, output } => {
            let one = choose(&all, &id, &agent.socket)?;
            match output.output {
                Format::Table => print::facts(Format::Table, one, || details(one))?,
                format => print::document(format, one)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every endpoint of the agent, by number.
pub async fn list(agent: &mut Agent) -> Result<Vec<agent::Endpoint>> {
    let answer = agent.client.list_endpoints(agent::ListEndpointsRequest {}).await;
    let mut all = agent.answer("list endpoints", answer)?.endpoints;
    all.sort_by_key(|e| e.id);
    Ok(all)
}

/// The endpoint a person means by a number, `pod` or `namespace/pod`.
fn choose<'a>(all: &'a [agent::Endpoint], id: &str, socket: &str) -> Result<&'a agent::Endpoint> {
    let found = match id.parse::<u32>() {
        Ok(number) => all.iter().find(|e| e.id == number),
        Err(_) => {
            let (namespace, name) = id.split_once('/').unwrap_or(("default", id));
            all.iter().find(|e| e.pod_namespace == namespace && e.pod_name == name)
        }
    };
    found.ok_or_else(|| {
        Failure::failed(format!(
            "no endpoint {id} at the agent {socket}: see `pleopod endpoint list`, or ask another node with --node"
        ))
    })
}

/// The table of `endpoint list`.
pub fn columns(all: &[agent::Endpoint]) -> Columns {
    let mut columns = Columns::new([
        "ENDPOINT",
        "POLICY (ingress)\nENFORCEMENT",
        "POLICY (egress)\nENFORCEMENT",
        "IDENTITY",
        "LABELS (source:key[=value])",
        "IPv6",
        "IPv4",
        "STATUS",
    ]);
    for e in all {
        columns.row([
            e.id.to_string(),
            e.policy_ingress.clone(),
            e.policy_egress.clone(),
            identity(e.identity),
            e.labels.join("\n"),
            e.ipv6.clone(),
            e.ipv4.clone(),
            e.state.clone(),
        ]);
    }
    columns
}

fn details(e: &agent::Endpoint) -> Columns {
    let mut columns = Columns::new(["FIELD", "VALUE"]);
    let pod = match (e.pod_namespace.as_str(), e.pod_name.as_str()) {
        (_, "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    let interface =
        if e.ifindex == 0 { String::new() } else { format!("{} (index {})", e.ifname, e.ifindex) };
    let state = if e.message.is_empty() { e.state.clone() } else { format!("{}: {}", e.state, e.message) };
    let restored = if e.restored { "yes" } else { "no" };
    for (field, value) in [
        ("endpoint", e.id.to_string()),
        ("pod", pod),
        ("state", state),
        ("identity", identity(e.identity)),
        ("labels", e.labels.join("\n")),
        ("ipv4", e.ipv4.clone()),
        ("ipv6", e.ipv6.clone()),
        ("policy ingress", e.policy_ingress.clone()),
        ("policy egress", e.policy_egress.clone()),
        ("interface", interface),
        ("mac", e.mac.clone()),
        ("node mac", e.node_mac.clone()),
        ("netns", e.netns.clone()),
        ("container", e.container_id.clone()),
        ("created", print::time(e.created_at)),
        ("restored", restored.to_owned()),
    ] {
        columns.row([field.to_owned(), value]);
    }
    columns
}

fn identity(id: u32) -> String {
    if id == 0 { "<unknown>".to_owned() } else { id.to_string() }
}
