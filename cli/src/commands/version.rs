//! `pleopod version`: this program and the agent it would ask.

use std::process::ExitCode;

use pleopod_api::agent;
use serde::Serialize;

use crate::agent::Agent;
use crate::args::{self, Format};
use crate::failure::Result;
use crate::print;

/// Version of this program.
pub const CLIENT: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentVersion>,
}

#[derive(Serialize)]
struct AgentVersion {
    version: String,
    node: String,
    kernel: String,
}

/// Prints the versions. Without an agent it prints its own and fails.
pub async fn print(place: &args::Place, flags: &args::Version) -> Result<ExitCode> {
    let mut failure = None;
    let agent =
        if flags.client { None } else { ask(place).await.map_err(|error| failure = Some(error)).ok() };
    let versions = Versions { client: CLIENT, agent };
    match flags.output.output {
        Format::Table => {
            let mut text = format!("Client: {}\n", versions.client);
            if let Some(agent) = &versions.agent {
                let AgentVersion { version, node, kernel } = agent;
                text += &format!("Agent:  {version} (node {node}, kernel {kernel})\n");
            }
            print::text(&text)?;
        }
        format => print::document(format, &versions)?,
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn ask(place: &args::Place) -> Result<AgentVersion> {
    let mut agent = Agent::connect(place).await?;
    let answer = agent.client.get_status(agent::StatusRequest { verbose: false }).await;
    let status = agent.answer("ask for the version", answer)?;
    Ok(AgentVersion { version: status.version, node: status.node, kernel: status.kernel })
}
