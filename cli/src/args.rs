//! Every command and flag, defined once: parsing, help, man pages and completion come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub mod observe;

pub use observe::Observe;

/// Look at and drive Pleopod, a Kubernetes network.
#[derive(Debug, Parser)]
#[command(
    name = "pleopod",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Which agent to ask.
    #[command(flatten)]
    pub place: Place,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which agent to ask. Without a flag it is the agent of this machine, or the first node of the lab that runs here.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Agent")]
pub struct Place {
    /// Ask the agent of this node (in a lab, any node by name)
    #[arg(long, global = true, value_name = "NODE", env = "PLEOPOD_NODE", conflicts_with = "socket")]
    pub node: Option<String>,
    /// Ask the agent that listens on this unix socket
    #[arg(long, global = true, value_name = "PATH", env = "PLEOPOD_SOCKET")]
    pub socket: Option<PathBuf>,
    /// The lab to look for nodes in, when several run
    #[arg(long, global = true, value_name = "NAME", env = "PLEOPOD_LAB", hide_short_help = true)]
    pub lab: Option<String>,
    /// Directory with the state of labs
    #[arg(long, global = true, value_name = "DIR", env = "PLEOPOD_LAB_ROOT", hide = true)]
    pub lab_root: Option<PathBuf>,
    /// Directory with the `pleopod` and `pleopod-lab` run directories
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PLEOPOD_RUN_ROOT",
        default_value = "/run",
        hide = true
    )]
    pub run_root: PathBuf,
}

/// How to print facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// The output flag of the commands that print facts.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster on this machine: up, down, apply, get, exec, node, outside, fault, ...
    #[command(disable_help_flag = true)]
    Lab {
        /// Passed on to pleopod-lab
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<std::ffi::OsString>,
    },
    /// Whether the agent is well, and what it holds
    Status(Status),
    /// Pods (and the host) of a node
    #[command(visible_alias = "ep", subcommand)]
    Endpoint(Endpoint),
    /// Security identities and their labels
    #[command(visible_alias = "id", subcommand)]
    Identity(Identity),
    /// Who has which address
    #[command(subcommand)]
    Ip(Ip),
    /// Service frontends and their backends
    #[command(visible_alias = "svc", subcommand)]
    Service(Service),
    /// Nodes of the cluster
    #[command(subcommand)]
    Node(Node),
    /// What the kernel holds right now
    #[command(subcommand)]
    Bpf(Bpf),
    /// Tables the agent keeps in the kernel, with sync state
    #[command(subcommand)]
    Map(Map),
    /// Flows: every connection, drop and translation the datapath saw
    Observe(Box<Observe>),
    /// Events as they leave the kernel
    Monitor(Monitor),
    /// The agent's configuration
    #[command(subcommand)]
    Config(Config),
    /// Versions of this program and of the agent
    Version(Version),
    /// Collect what a bug report needs
    Bugtool(Bugtool),
    /// Print a completion script for a shell
    Completion {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Write the man pages
    #[command(hide = true)]
    Man {
        /// Directory to write to
        directory: PathBuf,
    },
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Also allocated addresses, attached programs and events
    #[arg(short, long)]
    pub verbose: bool,
    /// Wait until the agent is ready
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", requires = "wait", value_parser = duration)]
    pub wait_duration: std::time::Duration,
    #[command(flatten)]
    pub output: Output,
}

/// `endpoint ...`
#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// List endpoints
    List(Output),
    /// Show one endpoint
    Get {
        /// Its number, or [NAMESPACE/]POD
        id: String,
        #[command(flatten)]
        output: Output,
    },
}

/// `identity ...`
#[derive(Debug, Subcommand)]
pub enum Identity {
    /// List identities
    List(Output),
    /// Show one identity
    Get {
        /// Its number
        #[arg(value_parser = number)]
        id: u32,
        #[command(flatten)]
        output: Output,
    },
}

/// `ip ...`
#[derive(Debug, Subcommand)]
pub enum Ip {
    /// List addresses and who has them
    List {
        /// Identity numbers in place of labels
        #[arg(short, long)]
        numeric: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// `service ...`
#[derive(Debug, Subcommand)]
pub enum Service {
    /// List frontends
    List {
        /// Also how each frontend is served, and weights and nodes of its backends
        #[arg(short, long)]
        verbose: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Show one frontend, or those of a Service or an address
    Get {
        /// Its number, [NAMESPACE/]SERVICE, or ADDRESS:PORT
        id: String,
        #[command(flatten)]
        output: Output,
    },
}

/// `node ...`
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List nodes
    List(Output),
}

/// `bpf TABLE list`
#[derive(Debug, Subcommand)]
pub enum Bpf {
    /// Addresses delivered on this node
    #[command(subcommand)]
    Endpoint(List),
    /// Identities of addresses
    #[command(subcommand)]
    Ipcache(List),
    /// Connections
    #[command(subcommand)]
    Ct(List),
    /// Service frontends, slots and reverse entries
    #[command(subcommand)]
    Lb(List),
    /// Address translations
    #[command(subcommand)]
    Nat(List),
    /// Fragments being followed
    #[command(subcommand)]
    Frag(List),
    /// Packets and bytes for each reason and direction
    #[command(subcommand)]
    Metrics(List),
    /// The configuration the programs were loaded with
    #[command(subcommand)]
    Config(List),
}

/// The verb of `bpf`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum List {
    /// List entries
    List(Output),
}

/// `map ...`
#[derive(Debug, Subcommand)]
pub enum Map {
    /// List the tables
    List(Output),
    /// Show a table's entries
    Get {
        /// Table, for example `ipcache` (`pleo_ipcache` works too)
        name: String,
        #[command(flatten)]
        output: Output,
    },
}

/// `config ...`
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show every setting with where it came from
    View(Output),
}

/// Flags of `monitor`.
#[derive(Debug, Args)]
pub struct Monitor {
    /// Only these kinds of event
    #[arg(short, long = "type", value_name = "TYPE", value_enum)]
    pub types: Vec<EventKind>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = MonitorFormat::Line, value_name = "FORMAT")]
    pub output: MonitorFormat,
}

/// Kinds of event of `monitor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventKind {
    /// Packets that were dropped
    Drop,
    /// Packets on their way
    Trace,
    /// Socket calls
    Sock,
}

/// How `monitor` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MonitorFormat {
    /// One line an event
    Line,
    /// One JSON object an event
    Json,
}

/// Flags of `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// Only this program's version; ask no agent
    #[arg(long)]
    pub client: bool,
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `bugtool`.
#[derive(Debug, Args)]
pub struct Bugtool {
    /// Where to write: a directory that does not exist yet, or a file ending in .tar.gz
    #[arg(short, long, value_name = "PATH")]
    pub to: Option<PathBuf>,
}

// === impl Cli ===

impl Cli {
    /// Reads the words of a command line, the program's name first.
    pub fn read(words: Vec<std::ffi::OsString>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(&words)?;
        let Command::Observe(flags) = &cli.command else { return Ok(cli) };
        let Some(at) = words.iter().position(|word| word == "observe").filter(|_| flags.not > 0) else {
            return Ok(cli);
        };
        let mut words = words;
        let (rest, without) = observe::not::split(words.split_off(at + 1))?;
        words.extend(rest);
        let mut cli = Self::try_parse_from(words)?;
        if let Command::Observe(flags) = &mut cli.command {
            flags.without = without;
        }
        Ok(cli)
    }
}

/// Reads the number of something that is listed.
fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a number, the first column of the list".to_owned())
}

/// Reads a duration such as `90s`, `5m` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a duration such as 30s, 5m or 1h30m".to_owned())?;
    std::time::Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())
}
