//! Where a lab keeps its files, and how its namespaces and cgroups are named.
//!
//! ```text
//! <root>/<lab>/                topology.yaml  kubeconfig  daemon.json  daemon.log  lab.sock
//! <root>/<lab>/<node>/         the agent's run directory: agent.sock  hubble.sock
//! <root>/<lab>/nodes/<node>/   agent.yaml  agent.log  kubeconfig  bpf/ (bpffs)  state/  cni/  pods/
//! <root>/<lab>/hosts/<host>/   what an outside host's processes write
//! ```

use std::path::{Path, PathBuf};

/// Directory that holds all labs, unless `PLEOPOD_LAB_ROOT` says otherwise.
pub const DEFAULT_ROOT: &str = "/run/pleopod-lab";
/// Name of the lab when none is given.
pub const DEFAULT_LAB: &str = "default";
/// Namespaces lie here, as `ip netns` expects them.
pub const NETNS_DIR: &str = "/run/netns";

/// Paths and names of one lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Directory of all labs.
    pub root: PathBuf,
    /// Name of this lab.
    pub lab: String,
}

/// Paths and names of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLayout {
    /// The node's name.
    pub name: String,
    /// The agent's run directory: its sockets.
    pub run: PathBuf,
    /// Everything else of the node.
    pub dir: PathBuf,
    /// Name of the node's network namespace.
    pub netns: String,
}

// === impl Layout ===

impl Layout {
    /// The lab `lab` under the directory of all labs, which the environment may move.
    #[must_use]
    pub fn new(lab: &str) -> Self {
        let root = std::env::var_os("PLEOPOD_LAB_ROOT").map_or_else(|| DEFAULT_ROOT.into(), PathBuf::from);
        Self { root, lab: lab.to_owned() }
    }

    /// The lab's own directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join(&self.lab)
    }

    /// The topology the lab was made from.
    #[must_use]
    pub fn topology(&self) -> PathBuf {
        self.state().join("topology.yaml")
    }

    /// How the lab was started: paths of binaries, the API server used.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.state().join("plan.json")
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    /// Process record of the daemon.
    #[must_use]
    pub fn daemon_record(&self) -> PathBuf {
        self.state().join("daemon.json")
    }

    /// The daemon's log.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.state().join("daemon.log")
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state().join("lab.sock")
    }

    /// Name of the namespace that holds the wire.
    #[must_use]
    pub fn fabric_netns(&self) -> String {
        self.netns("fabric")
    }

    /// Name of the namespace of a node or an outside host.
    #[must_use]
    pub fn netns(&self, host: &str) -> String {
        format!("pleo-{}-{host}", self.lab)
    }

    /// Name of the lab's cgroup below the cgroup2 mount.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("pleopod-lab-{}", self.lab)
    }

    /// Paths of the node `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> NodeLayout {
        NodeLayout {
            name: name.to_owned(),
            run: self.state().join(name),
            dir: self.state().join("nodes").join(name),
            netns: self.netns(name),
        }
    }

    /// Where pods are found by name, as [`NodeLayout::index`].
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.state().join("index")
    }

    /// Directory of the outside host `name`.
    #[must_use]
    pub fn host(&self, name: &str) -> PathBuf {
        self.state().join("hosts").join(name)
    }

    /// Names of the labs that have a directory under `root`, sorted.
    #[must_use]
    pub fn labs(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let mut labs: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("topology.yaml").exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        labs.sort();
        labs
    }
}

// === impl NodeLayout ===

impl NodeLayout {
    /// Mount point of the node's own bpffs.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.dir.join("bpf")
    }

    /// The agent's configuration file.
    #[must_use]
    pub fn agent_config(&self) -> PathBuf {
        self.dir.join("agent.yaml")
    }

    /// Standard output and error of the agent.
    #[must_use]
    pub fn agent_log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// Process record of the agent.
    #[must_use]
    pub fn agent_record(&self) -> PathBuf {
        self.dir.join("agent.json")
    }

    /// The kubeconfig the node's agent uses.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Where the agent keeps what must survive its restart.
    #[must_use]
    pub fn agent_state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The CNI configuration directory.
    #[must_use]
    pub fn cni(&self) -> PathBuf {
        self.dir.join("cni")
    }

    /// Where the pods of the lab's nodes are found by name: a directory a namespace, a link a pod.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.run.with_file_name("index")
    }

    /// Directory of the pod with the given uid.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.dir.join("pods").join(uid)
    }

    /// Path of the node's network namespace.
    #[must_use]
    pub fn netns_path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.netns)
    }
}
