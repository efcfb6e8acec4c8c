//! `pleopod bugtool`: what a bug report needs, in a directory or an archive.
//!
//! A part that can't be had leaves its error in place of its content: a broken node is when a report is needed most.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::agent::Agent;
use crate::args;
use crate::commands::{bpf, config, endpoint, identity, ip, map, node, service, status, version};
use crate::failure::{Failure, Result};
use crate::place;
use crate::print;

/// Collects a report and prints where it is.
pub async fn collect(place: &args::Place, flags: &args::Bugtool) -> Result<ExitCode> {
    let target = flags.to.clone().unwrap_or_else(|| {
        PathBuf::from(format!("pleopod-bugtool-{}", jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S")))
    });
    let found = match place::find(place) {
        Err(failure @ Failure::Usage(_)) => return Err(failure),
        found => found,
    };
    let archive = target.to_str().is_some_and(|text| text.ends_with(".tar.gz"));
    let directory = if archive { stem(&target) } else { target.clone() };
    let cannot =
        |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", directory.display()));
    fs::create_dir(&directory).map_err(cannot)?;

    let mut parts = Parts { directory: directory.clone(), failed: Vec::new() };
    parts.add("version.txt", Ok(format!("client {}\n", version::CLIENT)))?;
    let netns = found.as_ref().ok().and_then(|found| found.netns.clone());
    match found {
        Ok(found) => match Agent::at(&found).await {
            Ok(mut agent) => ask(&mut agent, &mut parts).await?,
            Err(failure) => parts.add("agent.txt", Err(failure))?,
        },
        Err(failure) => parts.add("agent.txt", Err(failure))?,
    }
    for (file, arguments) in LINKS {
        parts.add(file, ip_command(netns.as_deref(), arguments))?;
    }
    for (file, path) in FILES {
        parts.add(
            file,
            fs::read_to_string(path).map_err(|error| Failure::failed(format!("{path}: {error}"))),
        )?;
    }

    if archive {
        pack(&directory, &target)?;
    }
    print::text(&format!("{}\n", target.display()))?;
    if !parts.failed.is_empty() {
        return Err(Failure::failed(format!(
            "the report lacks {}: see those files in it",
            parts.failed.join(", ")
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// What `ip` says of the node.
const LINKS: [(&str, &[&str]); 5] = [
    ("links.txt", &["-details", "-statistics", "link", "show"]),
    ("addresses.txt", &["address", "show"]),
    ("routes.txt", &["route", "show", "table", "all"]),
    ("neighbours.txt", &["neighbour", "show"]),
    ("rules.txt", &["rule", "show"]),
];

const FILES: [(&str, &str); 3] = [
    ("kernel.txt", "/proc/version"),
    ("mounts.txt", "/proc/self/mountinfo"),
    ("memory.txt", "/proc/meminfo"),
];

struct Parts {
    directory: PathBuf,
    failed: Vec<String>,
}

impl Parts {
    fn add(&mut self, file: &str, content: Result<String>) -> Result<()> {
        let text = content.unwrap_or_else(|failure| {
            self.failed.push(file.to_owned());
            format!("error: {failure}\n")
        });
        let path = self.directory.join(file);
        fs::write(&path, text)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
    }

    fn json<T: serde::Serialize>(&mut self, file: &str, facts: Result<T>) -> Result<()> {
        let text = facts.and_then(|facts| {
            serde_json::to_string_pretty(&facts)
                .map(|text| text + "\n")
                .map_err(|error| Failure::failed(error.to_string()))
        });
        self.add(file, text)
    }
}

async fn ask(agent: &mut Agent, parts: &mut Parts) -> Result<()> {
    let status = status::get(agent, true).await;
    parts.add(
        "status.txt",
        status.as_ref().map(|s| status::text(s, true)).map_err(|e| Failure::failed(e.to_string())),
    )?;
    parts.json("status.json", status)?;
    parts.json("config.json", config::view(agent).await)?;
    parts.json("endpoints.json", endpoint::list(agent).await)?;
    parts.json("identities.json", identity::list(agent, 0).await)?;
    parts.json("addresses.json", ip::list(agent).await)?;
    parts.json("services.json", service::list(agent, 0).await)?;
    parts.json("nodes.json", node::list(agent).await)?;
    let maps = map::list(agent).await;
    let names: Vec<_> = maps.iter().flatten().filter(|m| m.synced).map(|m| m.name.clone()).collect();
    parts.json("maps.json", maps)?;
    for name in names {
        parts.json(&format!("map-{name}.json"), map::get(agent, &name).await)?;
    }
    for table in bpf::TABLES {
        let dump = bpf::get(agent, table).await;
        parts.json(&format!("bpf-{table}.json"), dump.map(|dump| bpf::objects(&dump)))?;
    }
    Ok(())
}

fn ip_command(netns: Option<&str>, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-netns", netns]);
    }
    let output = command
        .args(arguments)
        .output()
        .map_err(|error| Failure::failed(format!("cannot run ip: {error}")))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::failed(format!("ip: {}", String::from_utf8_lossy(&output.stderr))))
    }
}

fn stem(archive: &Path) -> PathBuf {
    let text = archive.to_string_lossy();
    PathBuf::from(text.strip_suffix(".tar.gz").unwrap_or(&text))
}

/// Packs and removes the directory.
fn pack(directory: &Path, archive: &Path) -> Result<()> {
    let parent = directory.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = directory.file_name().unwrap_or_default();
    let output = Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(parent).arg(name).output();
    match output {
        Ok(output) if output.status.success() => fs::remove_dir_all(directory)
            .map_err(|error| Failure::failed(format!("cannot remove {}: {error}", directory.display()))),
        Ok(output) => Err(Failure::failed(format!(
            "cannot pack {}: {}; the report is in {}",
            archive.display(),
            String::from_utf8_lossy(&output.stderr),
            directory.display()
        ))),
        Err(error) => Err(Failure::failed(format!(
            "cannot pack {}: tar: {error}; the report is in {}",
            archive.display(),
            directory.display()
        ))),
    }
}
