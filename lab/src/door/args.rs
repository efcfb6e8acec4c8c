//! What can be said on the command line, defined once.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use pleopod_lab::agent::Act;
use pleopod_lab::daemon::Api;
use pleopod_lab::walk::Which;

/// Kubernetes clusters of network namespaces on this machine, with real agents and real packets.
///
/// All state of a lab, the objects of its API server included, is in memory: it is gone when the lab goes down.
#[derive(Debug, Parser)]
#[command(name = "pleopod-lab", bin_name = "pleopod lab", version, max_term_width = 110)]
pub struct Args {
    /// Which lab [default: the only one, or `default`]
    #[arg(long, global = true, env = "PLEOPOD_LAB")]
    pub name: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a lab and wait until its nodes and its DNS are ready
    ///
    /// A lab that is up already stays as it is. What a lab holds is in memory: its API objects don't survive `down`, nor
    /// the end of its daemon.
    Up(Up),
    /// Take a lab away: processes, namespaces, mounts, cgroups, files
    Down {
        /// Every lab of this machine
        #[arg(long)]
        all: bool,
    },
    /// Create or change objects from YAML
    Apply(Apply),
    /// List objects as kubectl does
    Get(Get),
    /// Run a command inside a pod's container
    Exec(Exec),
    /// Run a command on a node: its network, its bpffs at /sys/fs/bpf
    Node(OnHost),
    /// Run a command on a host outside the cluster
    Outside(OnHost),
    /// Print the path of the kubeconfig for stock kubectl
    Kubeconfig,
    /// Break something, or mend it
    #[command(subcommand)]
    Fault(Fault),
    /// Walk through a lab: commands, what they say, and whether it is right
    ///
    /// Without a name it is the walk that fits the lab that is up. A walk that is named makes its own lab (`walk-w1`,
    /// `walk-w4`) when no fitting one is up, and leaves it up to look around in.
    Walk {
        /// Which walk
        #[arg(value_enum)]
        which: Option<Which>,
    },
    /// List the labs of this machine
    List,
    /// Show a lab's hosts, agents and cables
    Status,
    /// Run a built-in workload by its program's name
    #[command(hide = true)]
    Workload { name: String, args: Vec<String> },
    /// The process behind a lab
    #[command(hide = true)]
    Daemon,
    /// The processes of an outside host
    #[command(hide = true)]
    Host { topology: PathBuf, host: String },
    /// Become a process in namespaces
    #[command(hide = true)]
    Enter {
        #[arg(long)]
        inner: bool,
        spec: String,
    },
}

#[derive(Debug, Default, clap::Args)]
pub struct Up {
    /// Nodes of the built-in topology [default: 3]
    #[arg(long, conflicts_with = "topology")]
    pub nodes: Option<usize>,
    /// A topology in YAML instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,
    /// More keys for the configuration of every agent, in YAML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Use the API server of this kubeconfig instead of the embedded one
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The agent [default: pleopod-agent beside this program, or in PATH]
    #[arg(long, value_name = "PROGRAM", env = "PLEOPOD_AGENT")]
    pub agent: Option<PathBuf>,
    /// The CNI plugin [default: pleopod-cni beside this program, or in PATH]
    #[arg(long, value_name = "PROGRAM", env = "PLEOPOD_CNI")]
    pub cni: Option<PathBuf>,
    /// Run no agents: the CNI plugin works alone
    #[arg(long, conflicts_with = "agent")]
    pub without_agent: bool,
    /// Install no cluster DNS
    #[arg(long)]
    pub without_dns: bool,
    /// Print the topology and make nothing
    #[arg(long)]
    pub print_topology: bool,
}

#[derive(Debug, clap::Args)]
pub struct Apply {
    /// Files of objects; `-` is standard input
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long)]
    pub namespace: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Get {
    /// Kind of object: plural, singular, short name or Kind
    pub kind: String,
    /// One object
    pub object: Option<String>,
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only objects with these labels
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Wide,
    Json,
    Yaml,
}

#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Name of the pod
    pub pod: String,
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Which container [default: the pod's first]
    #[arg(short, long)]
    pub container: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct OnHost {
    /// Name of the host
    pub host: String,
    /// The command and its arguments [default: a shell]
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Fault {
    /// Kill, restart, stop or start a node's agent
    Agent {
        node: String,
        #[arg(value_enum)]
        act: Act,
    },
    /// Cut the cable of a node or an outside host, or mend it
    Link {
        host: String,
        #[arg(value_enum)]
        act: Cable,
    },
    /// Delay what reaches a host
    Delay {
        host: String,
        /// Milliseconds; 0 ends it
        milliseconds: u32,
    },
    /// Drop a part of what reaches a host
    Drop {
        host: String,
        /// Percent of the packets; 0 ends it
        percent: u8,
    },
    /// Take the embedded API server away, bring it back, or make it forget
    Api {
        #[arg(value_enum)]
        act: Api,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Cable {
    /// The host sees its carrier go
    Cut,
    /// As before
    Heal,
}
