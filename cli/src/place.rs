//! Finds the agent to ask.
//!
//! A named socket or node wins. Otherwise it is the agent of this machine, and where there is none, the first node of
//! the lab that runs here: its control plane, then in the order of its topology. The error lists what was tried.

use std::fs;
use std::path::{Path, PathBuf};

use crate::args;
use crate::failure::{Failure, Result};

/// An agent that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its `agent.sock`.
    pub socket: PathBuf,
    /// The lab node it serves, if it was found in a lab.
    pub node: Option<String>,
    /// Network namespace of that node, if it has one of its own.
    pub netns: Option<String>,
}

/// A lab that runs here, with its nodes in order of name.
#[derive(Clone, Debug)]
struct Lab {
    name: String,
    nodes: Vec<Found>,
}

// === impl Found ===

impl Found {
    /// The observer's socket in the same run directory.
    pub fn hubble(&self) -> PathBuf {
        self.socket.with_file_name("hubble.sock")
    }
}

/// The agent that `place` names, or the default one.
pub fn find(place: &args::Place) -> Result<Found> {
    if let Some(socket) = &place.socket {
        return Ok(Found { socket: socket.clone(), node: None, netns: None });
    }
    let own = own_socket(place);
    if let Some(node) = &place.node {
        let Some(lab) = lab(place)? else {
            return Err(Failure::failed(format!(
                "no agent for node {node}: no lab runs under {}; outside a lab run this command on the node itself",
                labs_dir(place).display()
            )));
        };
        let found = lab.nodes.iter().find(|f| f.node.as_deref() == Some(node)).cloned();
        return match (found, lab.nodes.is_empty()) {
            (Some(found), _) => Ok(found),
            (None, true) => Err(no_agents(&lab)),
            (None, false) => Err(Failure::failed(format!(
                "no node {node} with an agent in lab {}: there are {}",
                lab.name,
                names(&lab.nodes)
            ))),
        };
    }
    if own.exists() && place.lab.is_none() {
        return Ok(Found { socket: own, node: None, netns: None });
    }
    match lab(place)? {
        Some(lab) => lab.nodes.first().cloned().ok_or_else(|| no_agents(&lab)),
        None => Err(Failure::failed(format!(
            "no agent found: {} does not exist and no lab runs under {}; start one with `pleopod lab up`, or name a \
             socket with --socket",
            own.display(),
            labs_dir(place).display()
        ))),
    }
}

/// The agents whose flows belong together: every node of the lab, unless one agent is named or local.
pub fn find_all(place: &args::Place) -> Result<Vec<Found>> {
    let named = place.socket.is_some() || place.node.is_some();
    if !named
        && (place.lab.is_some() || !own_socket(place).exists())
        && let Some(lab) = lab(place)?
        && !lab.nodes.is_empty()
    {
        return Ok(lab.nodes);
    }
    find(place).map(|found| vec![found])
}

fn no_agents(lab: &Lab) -> Failure {
    Failure::failed(format!(
        "no agent runs in lab {} (yet): see `pleopod lab list`, or start it with `pleopod lab up`",
        lab.name
    ))
}

fn own_socket(place: &args::Place) -> PathBuf {
    place.run_root.join("pleopod").join("agent.sock")
}

fn labs_dir(place: &args::Place) -> PathBuf {
    place.lab_root.clone().unwrap_or_else(|| place.run_root.join("pleopod-lab"))
}

/// The lab that is meant: the named one, the one named `default`, or the only one.
fn lab(place: &args::Place) -> Result<Option<Lab>> {
    let dir = labs_dir(place);
    let mut labs = labs(&dir);
    if let Some(name) = &place.lab {
        return match labs.iter().position(|lab| lab.name == *name) {
            Some(at) => Ok(Some(labs.swap_remove(at))),
            None if dir.join(name).is_dir() => Ok(Some(Lab { name: name.clone(), nodes: Vec::new() })),
            None => Err(Failure::failed(format!(
                "no lab {name} under {}: {}",
                dir.display(),
                if labs.is_empty() {
                    "none runs".to_owned()
                } else {
                    format!("running: {}", lab_names(&labs))
                }
            ))),
        };
    }
    // The name `pleopod lab` takes when none is given.
    if let Some(at) = labs.iter().position(|lab| lab.name == "default") {
        return Ok(Some(labs.swap_remove(at)));
    }
    if labs.len() > 1 {
        return Err(Failure::usage(format!(
            "several labs run here ({}): choose one with --lab or PLEOPOD_LAB",
            lab_names(&labs)
        )));
    }
    Ok(labs.pop())
}

/// Labs below `dir`: `LAB/NODE/agent.sock`. What can't be read is not there.
fn labs(dir: &Path) -> Vec<Lab> {
    let mut labs: Vec<Lab> = subdirectories(dir)
        .into_iter()
        .map(|(name, path)| {
            let order = order(&path);
            let mut nodes: Vec<_> = subdirectories(&path)
                .into_iter()
                .map(|(node, path)| Found {
                    socket: path.join("agent.sock"),
                    // As the lab names them.
                    netns: Some(format!("pleo-{name}-{node}")),
                    node: Some(node),
                })
                .filter(|found| found.socket.exists())
                .collect();
            let rank = |found: &Found| order.iter().position(|name| found.node.as_ref() == Some(name));
            nodes.sort_by_key(|found| rank(found).unwrap_or(usize::MAX));
            Lab { name, nodes }
        })
        .filter(|lab| !lab.nodes.is_empty())
        .collect();
    labs.sort_by(|a, b| a.name.cmp(&b.name));
    labs
}

/// Names of a lab's nodes, control plane first. Empty when its topology can't be read: the order is only a nicety.
fn order(lab: &Path) -> Vec<String> {
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "kebab-case", default)]
    struct Topology {
        nodes: Vec<Node>,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "kebab-case", default)]
    struct Node {
        name: String,
        control_plane: bool,
    }
    let Ok(text) = fs::read_to_string(lab.join("topology.yaml")) else { return Vec::new() };
    let mut nodes = serde_saphyr::from_str::<Topology>(&text).unwrap_or_default().nodes;
    nodes.sort_by_key(|node| !node.control_plane);
    nodes.into_iter().map(|node| node.name).collect()
}

fn subdirectories(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

fn names(nodes: &[Found]) -> String {
    nodes.iter().filter_map(|f| f.node.as_deref()).collect::<Vec<_>>().join(", ")
}

fn lab_names(labs: &[Lab]) -> String {
    labs.iter().map(|lab| lab.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
