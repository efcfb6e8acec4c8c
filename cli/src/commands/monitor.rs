//! `pleopod monitor`: events as they leave the kernel, one line each, until interrupted.

use std::io::{self, Write};
use std::process::ExitCode;

use pleopod_api::agent::MonitorRequest;

use crate::agent::Agent;
use crate::args::{self, EventKind, MonitorFormat};
use crate::failure::{Failure, Result};

/// Prints events as they come.
pub async fn run(agent: &mut Agent, flags: &args::Monitor) -> Result<ExitCode> {
    let types = flags.types.iter().map(|kind| name(*kind).to_owned()).collect();
    let answer = agent.client.monitor(MonitorRequest { types }).await;
    let mut events = agent.answer("watch events", answer)?;
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => {
                return Err(Failure::failed(format!(
                    "the agent at {} ended the stream of events",
                    agent.socket
                )));
            }
            Err(status) => return Err(Failure::call("watch events", &agent.socket, &status)),
        };
        let mut out = io::stdout().lock();
        match flags.output {
            MonitorFormat::Line => writeln!(out, "{}", event.summary)?,
            MonitorFormat::Json => {
                let json = serde_json::to_string(&event)
                    .map_err(|error| Failure::failed(format!("cannot print the event: {error}")))?;
                writeln!(out, "{json}")?;
            }
        }
        out.flush()?;
    }
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Drop => "drop",
        EventKind::Trace => "trace",
        EventKind::Sock => "sock",
    }
}
