//! What cargo knows: members of the workspace, their dependencies, and every package in Cargo.lock.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::place::{self, Place};

/// The workspace and everything it builds from.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Crates of ours.
    pub members: Vec<Member>,
    /// Crates of others, for every target.
    pub foreign: Vec<Foreign>,
}

/// A crate of ours.
#[derive(Debug, Default)]
pub struct Member {
    /// Its directory under the root, `sys/bpf`.
    pub room: String,
    /// Its name, `pleopod-sys-bpf`.
    pub package: String,
    /// What it asks for in its manifest.
    pub dependencies: Vec<Dependency>,
}

/// A line under a manifest's `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
#[derive(Debug)]
pub struct Dependency {
    /// Name of the package, whatever it is renamed to.
    pub package: String,
    /// The room, when it is a crate of this checkout.
    pub room: Option<String>,
    /// Used by tests, examples and benches only.
    pub dev: bool,
}

/// A crate of somebody else.
#[derive(Debug)]
pub struct Foreign {
    /// `name version`
    pub package: String,
    /// SPDX expression.
    pub licence: Option<String>,
    /// Where cargo got it: `registry+...`, `git+...`; none for a path.
    pub source: Option<String>,
}

impl Workspace {
    /// Asks cargo, and insists that Cargo.lock is up to date.
    pub fn ask(place: &Place) -> Result<Self> {
        let text = place::output(place.cargo().args(["metadata", "--format-version=1", "--locked"]))?;
        let value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
        Self::read(&value, &place.root).context("cargo metadata has another form than expected")
    }

    /// Reads format 1.
    pub fn read(value: &Value, root: &Path) -> Option<Self> {
        let ours: Vec<&str> =
            value["workspace_members"].as_array()?.iter().filter_map(Value::as_str).collect();
        let mut workspace = Self::default();
        for package in value["packages"].as_array()? {
            let name = package["name"].as_str()?.to_owned();
            if ours.contains(&package["id"].as_str()?) {
                let manifest = PathBuf::from(package["manifest_path"].as_str()?);
                let dependencies = package["dependencies"].as_array()?;
                let dependencies =
                    dependencies.iter().map(|d| Dependency::read(d, root)).collect::<Option<_>>()?;
                workspace.members.push(Member {
                    room: room(manifest.parent()?, root)?,
                    package: name,
                    dependencies,
                });
            } else {
                workspace.foreign.push(Foreign {
                    package: format!("{name} {}", package["version"].as_str()?),
                    licence: package["license"].as_str().map(str::to_owned),
                    source: package["source"].as_str().map(str::to_owned),
                });
            }
        }
        workspace.members.sort_by(|a, b| a.room.cmp(&b.room));
        Some(workspace)
    }

    /// The member a file belongs to: the one with the longest directory that holds it.
    pub fn room_of(&self, file: &str) -> Option<&Member> {
        let holds =
            |m: &&Member| file.strip_prefix(m.room.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.members.iter().filter(holds).max_by_key(|m| m.room.len())
    }
}

impl Dependency {
    fn read(value: &Value, root: &Path) -> Option<Self> {
        Some(Self {
            package: value["name"].as_str()?.to_owned(),
            room: value["path"].as_str().and_then(|path| room(Path::new(path), root)),
            dev: value["kind"].as_str() == Some("dev"),
        })
    }
}

fn room(dir: &Path, root: &Path) -> Option<String> {
    dir.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}
