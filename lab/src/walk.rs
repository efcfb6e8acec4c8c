//! Walks through a running lab, printed as a terminal session: what to look at, the command, what it said, and whether
//! that is what it should have said.
//!
//! Every line is run by `sh` with stock clients (`kubectl`, `ip`, `bpftool`...) and `pleopod`, so that a reader can
//! repeat it. A check that does not hold is told with its reason, and the walk goes on.

mod page;
mod programs;
mod seen;
mod service;
mod session;
mod w1;
mod w4;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::topology::Topology;

pub use seen::Seen;
pub use session::{Session, Tally};

/// The walks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// One node: a Service without iptables
    W1,
    /// Three nodes, watched
    W4,
}

/// Files that the walks apply, by the name they are shown under.
const MANIFESTS: [(&str, &str); 3] = [
    ("w1.yaml", include_str!("../manifests/w1.yaml")),
    ("w4.yaml", include_str!("../manifests/w4.yaml")),
    ("svc.yaml", include_str!("../manifests/svc.yaml")),
];

/// The topology of W1; that of W4 is the built-in one.
pub const W1_TOPOLOGY: &str = include_str!("../topologies/w1.yaml");

// === impl Which ===

impl Which {
    /// The walk that fits a topology, if one does: its manifests name nodes.
    #[must_use]
    pub fn of(topology: &Topology) -> Option<Self> {
        [Self::W1, Self::W4].into_iter().find(|walk| walk.fits(topology))
    }

    /// Whether the nodes that the walk's manifests name are there.
    #[must_use]
    pub fn fits(self, topology: &Topology) -> bool {
        let nodes: &[&str] = match self {
            Self::W1 => &[w1::NODE],
            Self::W4 => &w4::NODES,
        };
        nodes.iter().all(|name| topology.nodes.iter().any(|node| node.name == *name))
    }

    /// Walks, and says how it went. `programs` is the directory of our binaries; `colour` is for a terminal.
    ///
    /// # Errors
    /// When nothing could be run or printed at all. What a check finds is in the tally.
    pub fn walk(
        self,
        layout: &Layout,
        programs: &Path,
        out: impl io::Write,
        colour: bool,
    ) -> anyhow::Result<Tally> {
        let directory = lay_out(layout)?;
        let mut session = Session::new(out, layout, programs, &directory, colour)?;
        match self {
            Self::W1 => w1::walk(&mut session)?,
            Self::W4 => w4::walk(&mut session)?,
        }
        session.end()
    }
}

/// Writes the manifests where the walk's commands find them.
fn lay_out(layout: &Layout) -> anyhow::Result<PathBuf> {
    let directory = layout.state().join("walk");
    std::fs::create_dir_all(&directory)?;
    for (name, text) in MANIFESTS {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(directory)
}
