//! `pleopod status`: whether the agent is well, and what it holds. Exit code 1 when it is not ready.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use pleopod_api::agent::{StatusReply, StatusRequest};

use crate::agent::Agent;
use crate::args::{self, Format};
use crate::failure::{Failure, Result};
use crate::print;

/// Prints the status.
pub async fn print(agent: &mut Agent, flags: &args::Status) -> Result<ExitCode> {
    let status = get(agent, flags.verbose || flags.output.output != Format::Table).await?;
    show(&status, flags)
}

/// Asks until the agent is ready, then prints.
pub async fn wait(place: &args::Place, flags: &args::Status) -> Result<ExitCode> {
    let deadline = Instant::now() + flags.wait_duration;
    loop {
        let last = match attempt(place, flags).await {
            Ok(status) if status.ready => return show(&status, flags),
            Ok(status) => format!("node {} is not ready: {}", status.node, troubles(&status)),
            Err(failure @ Failure::Usage(_)) => return Err(failure),
            Err(failure) => failure.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(Failure::failed(format!("gave up after {:?}: {last}", flags.wait_duration)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn attempt(place: &args::Place, flags: &args::Status) -> Result<StatusReply> {
    let mut agent = Agent::connect(place).await?;
    get(&mut agent, flags.verbose || flags.output.output != Format::Table).await
}

/// The agent's status.
pub async fn get(agent: &mut Agent, verbose: bool) -> Result<StatusReply> {
    let answer = agent.client.get_status(StatusRequest { verbose }).await;
    agent.answer("read the status", answer)
}

fn show(status: &StatusReply, flags: &args::Status) -> Result<ExitCode> {
    match flags.output.output {
        Format::Table => print::text(&text(status, flags.verbose))?,
        format => print::document(format, status)?,
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn troubles(status: &StatusReply) -> String {
    let list: Vec<_> =
        status.checks.iter().filter(|c| !c.ok).map(|c| format!("{}: {}", c.name, c.message)).collect();
    if list.is_empty() { "starting".to_owned() } else { list.join("; ") }
}

/// The status as people read it.
pub fn text(status: &StatusReply, verbose: bool) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| {
        lines.push(format!("{:<25}{value}", format!("{name}:")).trim_end().to_owned())
    };
    let ready = if status.ready { "Ok".to_owned() } else { format!("Not ready: {}", troubles(status)) };
    line("Name", status.node.clone());
    line("Agent", ready);
    line(
        "Version",
        format!("{} (pid {}, started {})", status.version, status.pid, print::time(status.started_at)),
    );
    line("Kernel", status.kernel.clone());
    for check in &status.checks {
        let state = if check.ok { "Ok" } else { "Error" };
        line(&capital(&check.name), format!("{state:<8}{}", check.message));
    }
    let pool = format!(
        "{}/{} allocated from {}",
        status.addresses_in_use,
        status.addresses_total,
        status.pod_cidrs.join(", ")
    );
    line("Addresses", pool);
    if verbose {
        lines.push("Allocated addresses:".to_owned());
        for a in &status.addresses {
            let restored = if a.restored { " [restored]" } else { "" };
            lines.push(format!("  {} ({}{restored})", a.address, a.owner));
        }
    }
    let mut line = |name: &str, value: String| {
        lines.push(format!("{:<25}{value}", format!("{name}:")).trim_end().to_owned())
    };
    line("Routing", status.routing.clone());
    line("Masquerading", status.masquerading.clone());
    line("MTU", status.mtu.to_string());
    line("Endpoints", status.endpoints.to_string());
    line("Identities", status.identities.to_string());
    line("Services", status.services.to_string());
    if let Some(flows) = &status.flows {
        let kept = format!(
            "{}/{} kept, {} seen, {:.1} flows/s",
            flows.ring_used, flows.ring_capacity, flows.seen, flows.per_second
        );
        let lost = flows.lost_in_kernel + flows.lost_in_agent;
        let lost = if lost == 0 {
            String::new()
        } else {
            format!(
                ", {lost} lost ({} in the kernel, {} in the agent)",
                flows.lost_in_kernel, flows.lost_in_agent
            )
        };
        line("Hubble", kept + &lost);
    }
    let broken = status.attached.iter().filter(|a| !a.error.is_empty()).count();
    let programs = format!("{} attached", status.attached.len() - broken);
    line("Programs", if broken == 0 { programs } else { format!("{programs}, {broken} missing") });
    for a in status.attached.iter().filter(|a| verbose || !a.error.is_empty()) {
        lines.push(if a.error.is_empty() {
            format!("  {} {} prog_id {} link_id {}", a.hook, a.program, a.program_id, a.link_id)
        } else {
            format!("  {} {} error: {}", a.hook, a.program, a.error)
        });
    }
    lines.join("\n") + "\n"
}

fn capital(name: &str) -> String {
    match name {
        "cni" | "ipam" | "bpf" => name.to_uppercase(),
        "api-server" => "API server".to_owned(),
        "pod-cidr" => "Pod CIDR".to_owned(),
        _ => {
            let mut letters = name.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
    }
}
