//! What can go wrong while making the kernel match.

use std::io;

/// A step that failed. Errors of single rows are not here: they stand beside the row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A netlink request.
    #[error(transparent)]
    Link(#[from] pleopod_sys_link::Error),
    /// A network namespace.
    #[error(transparent)]
    Netns(#[from] pleopod_sys_netns::Error),
    /// A program, map or link of the kernel.
    #[error(transparent)]
    Bpf(#[from] pleopod_sys_bpf::Error),
    /// Reading or writing a map.
    #[error("map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
    /// No thread.
    #[error("start a thread: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// A link of ours has the name of a link that is not ours.
    #[error("link {name}: {found}; remove it, the name belongs to Pleopod")]
    Foreign {
        /// The name.
        name: String,
        /// What is there.
        found: String,
    },
    /// A link that was there a moment ago.
    #[error("link {name} is gone")]
    Gone {
        /// Its name.
        name: String,
    },
    /// An interface of a pod has a name that is taken inside the pod.
    #[error("pod {pod}: its namespace has an interface {ifname} already, made by someone else")]
    Taken {
        /// The pod.
        pod: String,
        /// Name inside.
        ifname: String,
    },
    /// A kernel setting under /proc/sys.
    #[error("write {path}: {source}")]
    Sysctl {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// No link that packets to other nodes could leave by.
    #[error("no uplink found: {why}; name it with `uplinks` in the agent's configuration")]
    Uplink {
        /// What was looked for.
        why: String,
    },
}
