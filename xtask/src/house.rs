//! The contract of the building, held against the tree: ARCHITECTURE.md's rooms and arrows, the invariants a program can
//! see, house rules on files and names, licences of dependencies, links between documents.
//!
//! Every check is a function from what was read to findings, one line each, and is tried on wrong input in its tests;
//! `house/tests.rs` runs them all on this checkout.

mod arrows;
mod code;
mod contract;
mod files;
mod licences;
mod links;
mod metadata;
mod rooms;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};

use crate::place::Place;

/// What is wrong, one line each: where, what, and what the rule is.
pub type Findings = Vec<String>;

/// Rooms, arrows, names, sizes, `unsafe`, links.
pub fn rules(place: &Place) -> Result<Findings> {
    let page = read(place, "ARCHITECTURE.md")?;
    let contract = contract::Contract::read(&page).context("ARCHITECTURE.md")?;
    let workspace = metadata::Workspace::ask(place)?;
    let sources = files::Tree::walk(&place.root)?;
    let mut findings = arrows::check(&contract, &workspace);
    findings.extend(rooms::check(&place.root, &contract, &workspace));
    findings.extend(files::check(&sources, &workspace));
    findings.extend(links::check(&place.root, &sources));
    Ok(findings)
}

/// Licences and sources of every package in Cargo.lock, against deny.toml.
pub fn licences(place: &Place) -> Result<Findings> {
    let policy = licences::Policy::read(&read(place, "deny.toml")?).context("deny.toml")?;
    Ok(licences::check(&policy, &metadata::Workspace::ask(place)?))
}

fn read(place: &Place, name: &str) -> Result<String> {
    std::fs::read_to_string(place.root.join(name)).with_context(|| format!("cannot read {name}"))
}
