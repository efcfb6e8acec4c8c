//! The agent's configuration: read once, at start, from flags, the environment and a YAML file.
//!
//! A flag beats its environment variable, that beats the file, that beats the default. `pleopod config view` prints
//! every key with its value and where it came from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use ipnet::IpNet;
use serde::Deserialize;

use pleopod_abi::maps::size;
use pleopod_apply::balance::maglev;
use pleopod_model::desired::{NodePortAddresses, ServiceOptions};
use pleopod_model::intent::Balancing;

use crate::install::{Install, Uninstall};

#[cfg(test)]
mod tests;

/// The node agent of Pleopod.
#[derive(Debug, Parser)]
#[command(name = "pleopod-agent", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// YAML file with any of the options below as keys.
    #[arg(long, env = "PLEOPOD_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub options: Options,
}

/// What is run beside the agent.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Makes this node ready for the agent: bpffs, cgroup2, the CNI plugin and its conflist.
    Install(Install),
    /// Takes everything of Pleopod off this node; connected pods lose their network.
    Uninstall(Uninstall),
    /// Does nothing until it is told to end.
    Pause,
}

/// What this process was asked to do.
pub enum Invocation {
    Run(Box<Config>),
    Install(Install),
    Uninstall(Uninstall),
    Pause,
}

/// Every option, once: flag, environment variable and file key in one definition.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// Name of this node's Node object [default: the host name].
    #[arg(long, env = "PLEOPOD_NODE_NAME")]
    pub node_name: Option<String>,
    /// kubeconfig of the API server [default: the service account of the pod].
    #[arg(long, env = "PLEOPOD_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server, in place of the one of the kubeconfig or the service account. A node without kube-proxy
    /// needs it: the Service address answers only once this agent runs.
    #[arg(long, env = "PLEOPOD_API_SERVER")]
    pub api_server: Option<String>,
    /// Name of the cluster, part of every security identity [default: default].
    #[arg(long, env = "PLEOPOD_CLUSTER_NAME")]
    pub cluster_name: Option<String>,
    /// Directory of the agent's sockets [default: /run/pleopod].
    #[arg(long, env = "PLEOPOD_RUN_DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory of the address leases, which must survive a restart [default: /var/lib/pleopod].
    #[arg(long, env = "PLEOPOD_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where bpffs is, or is to be mounted [default: /sys/fs/bpf].
    #[arg(long, env = "PLEOPOD_BPFFS")]
    pub bpffs: Option<PathBuf>,
    /// cgroup2 directory whose processes get Services [default: the root of cgroup2, mounted if it is not].
    #[arg(long, env = "PLEOPOD_CGROUP_ROOT")]
    pub cgroup_root: Option<PathBuf>,
    /// Interfaces to the other nodes, comma separated [default: those that hold the node's addresses].
    #[arg(long, env = "PLEOPOD_UPLINKS", value_delimiter = ',')]
    #[serde(default)]
    pub uplinks: Vec<String>,
    /// MTU of pods [default: the smallest of the uplinks].
    #[arg(long, env = "PLEOPOD_MTU")]
    pub mtu: Option<u32>,
    /// How packets travel between nodes; `native` is the one there is.
    #[arg(long, env = "PLEOPOD_ROUTING")]
    pub routing: Option<String>,
    /// How programs are attached to interfaces: `tcx`, `tc` for kernels before 6.6, or `auto`, tcx where the kernel has it
    /// [default: auto].
    #[arg(long, env = "PLEOPOD_ATTACH")]
    pub attach: Option<Attach>,
    /// Whether pods reach the outside with the node's address [default: true].
    #[arg(long, env = "PLEOPOD_MASQUERADE")]
    pub masquerade: Option<bool>,
    /// Prefixes that pods reach with their own address [default: the pod CIDRs of all nodes].
    #[arg(long, env = "PLEOPOD_NATIVE_ROUTING_CIDRS", value_delimiter = ',')]
    #[serde(default)]
    pub native_routing_cidrs: Vec<IpNet>,
    /// Seconds a freed address rests before it is given again [default: 30].
    #[arg(long, env = "PLEOPOD_IPAM_GRACE")]
    pub ipam_grace: Option<u64>,
    /// Seconds an identity is used by nobody before it is marked, and as long again before it is removed; 0 keeps all
    /// [default: 900].
    #[arg(long, env = "PLEOPOD_IDENTITY_COLLECT_AFTER")]
    pub identity_collect_after: Option<u64>,
    /// Flow events kept in memory for `pleopod observe` [default: 4096].
    #[arg(long, env = "PLEOPOD_FLOW_RING")]
    pub flow_ring: Option<usize>,
    /// Seconds between two flow events of a connection on which nothing changes; 0 for every packet [default: 5].
    #[arg(long, env = "PLEOPOD_FLOW_INTERVAL")]
    pub flow_interval: Option<u32>,
    /// Whether packets make flow events at all [default: true].
    #[arg(long, env = "PLEOPOD_FLOWS")]
    pub flows: Option<bool>,
    /// Whether socket translations make flow events [default: true].
    #[arg(long, env = "PLEOPOD_SOCK_EVENTS")]
    pub sock_events: Option<bool>,
    /// Connections the conntrack map holds [default: 65536].
    #[arg(long, env = "PLEOPOD_CT_ENTRIES")]
    pub ct_entries: Option<u32>,
    /// Service ports at their addresses that fit [default: 65536].
    #[arg(long, env = "PLEOPOD_LB_FRONTENDS")]
    pub lb_frontends: Option<u32>,
    /// Backends of Services that fit, each counted once [default: 65536].
    #[arg(long, env = "PLEOPOD_LB_BACKENDS")]
    pub lb_backends: Option<u32>,
    /// Places that fit in the tables of all frontends together [default: 524288].
    #[arg(long, env = "PLEOPOD_LB_TABLE_ENTRIES")]
    pub lb_table_entries: Option<u32>,
    /// Places of a Maglev table; the next prime is taken [default: 1021].
    #[arg(long, env = "PLEOPOD_MAGLEV_TABLE_SIZE")]
    pub maglev_table_size: Option<u32>,
    /// Addresses of the node at which node ports answer: `primary`, its InternalIPs, or prefixes that they lie in
    /// [default: primary].
    #[arg(long, env = "PLEOPOD_NODEPORT_ADDRESSES", value_delimiter = ',')]
    #[serde(default, deserialize_with = "one_or_many")]
    pub nodeport_addresses: Vec<String>,
    /// Whether node ports answer on 127.0.0.1 and ::1 too, for processes of the node [default: true].
    #[arg(long, env = "PLEOPOD_NODEPORT_LOCALHOST")]
    pub nodeport_localhost: Option<bool>,
    /// Whether cluster addresses are served to clients outside whose network routes them to the node [default: true].
    #[arg(long, env = "PLEOPOD_CLUSTER_IPS_OUTSIDE")]
    pub cluster_ips_outside: Option<bool>,
    /// How backends are chosen where a Service does not say [default: random].
    #[arg(long, env = "PLEOPOD_LB_ALGORITHM")]
    pub lb_algorithm: Option<Algorithm>,
    /// Address of /healthz, /readyz and /metrics [default: 127.0.0.1:9962].
    #[arg(long, env = "PLEOPOD_HEALTH_ADDRESS")]
    pub health_address: Option<SocketAddr>,
    /// `text` or `json` [default: text].
    #[arg(long, env = "PLEOPOD_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Filter of the log, for example `info` or `info,pleopod_apply=debug` [default: info].
    #[arg(long, env = "PLEOPOD_LOG")]
    pub log: Option<String>,
}

/// How programs are attached to interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    #[default]
    Auto,
    Tcx,
    Tc,
}

/// How backends are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    #[default]
    Random,
    RoundRobin,
    SourceHash,
    Maglev,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The configuration, complete.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    pub kubeconfig: Option<PathBuf>,
    pub api_server: Option<String>,
    pub cluster_name: String,
    pub run_dir: PathBuf,
    pub state_dir: PathBuf,
    pub bpffs: PathBuf,
    pub cgroup_root: Option<PathBuf>,
    pub uplinks: Vec<String>,
    pub mtu: Option<u32>,
    pub attach: pleopod_apply::attach::Attach,
    pub masquerade: bool,
    pub native_routing_cidrs: Vec<IpNet>,
    pub ipam_grace: Duration,
    pub identity_collect_after: Duration,
    pub flow_ring: usize,
    pub flow_interval: u32,
    pub flows: bool,
    pub sock_events: bool,
    pub ct_entries: u32,
    pub lb_frontends: u32,
    pub lb_backends: u32,
    pub lb_table_entries: u32,
    pub maglev_table_size: u32,
    pub services: ServiceOptions,
    pub health_address: SocketAddr,
    pub log_format: LogFormat,
    pub log: String,
    /// Every key with its value and where it came from, for `pleopod config view`.
    pub items: Vec<Item>,
}

/// One row of `pleopod config view`.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: &'static str,
    pub value: String,
    pub source: &'static str,
    pub description: String,
}

/// Looks a key up in flags or environment first, then the file, then the default, and notes which it was.
struct Resolver<'a> {
    matches: &'a clap::ArgMatches,
    items: Vec<Item>,
}

impl Resolver<'_> {
    fn pick<T: std::fmt::Debug>(
        &mut self,
        key: &'static str,
        given: Option<T>,
        file: Option<T>,
        default: T,
        show: impl Fn(&T) -> String,
    ) -> T {
        let source = match (self.matches.value_source(&key.replace('-', "_")), &given, &file) {
            (Some(clap::parser::ValueSource::EnvVariable), Some(_), _) => "environment",
            (_, Some(_), _) => "flag",
            (_, None, Some(_)) => "file",
            _ => "default",
        };
        let value = given.or(file).unwrap_or(default);
        let description = <Cli as clap::CommandFactory>::command()
            .get_arguments()
            .find(|a| a.get_long() == Some(key))
            .and_then(|a| a.get_help().map(ToString::to_string))
            .unwrap_or_default();
        self.items.push(Item { key, value: show(&value), source, description });
        value
    }
}

// === impl Invocation ===

impl Invocation {
    /// Reads flags, environment and file of this process. Usage errors, `--help` and `--version` end it here.
    pub fn from_process() -> anyhow::Result<Self> {
        let matches = <Cli as clap::CommandFactory>::command().get_matches();
        Ok(match <Cli as clap::FromArgMatches>::from_arg_matches(&matches)?.verb {
            None => Self::Run(Box::new(Config::from_matches(&matches)?)),
            Some(Verb::Install(install)) => Self::Install(install),
            Some(Verb::Uninstall(uninstall)) => Self::Uninstall(uninstall),
            Some(Verb::Pause) => Self::Pause,
        })
    }
}

// === impl Config ===

impl Config {
    fn from_matches(matches: &clap::ArgMatches) -> anyhow::Result<Self> {
        let cli = <Cli as clap::FromArgMatches>::from_arg_matches(matches)?;
        let file = match &cli.config {
            Some(path) => read_file(path)?,
            None => Options::default(),
        };
        Self::resolve(matches, cli.options, file)
    }

    fn resolve(matches: &clap::ArgMatches, given: Options, file: Options) -> anyhow::Result<Self> {
        let mut r = Resolver { matches, items: Vec::new() };
        let list = |v: Vec<_>| if v.is_empty() { None } else { Some(v) };
        let nets = |v: Vec<_>| if v.is_empty() { None } else { Some(v) };
        let path = |p: &PathBuf| p.display().to_string();
        let auto_path = |p: &Option<PathBuf>| p.as_ref().map_or("auto".into(), |p| p.display().to_string());
        let text = String::clone;
        let routing = r.pick("routing", given.routing, file.routing, "native".into(), text);
        let config = Self {
            node_name: r.pick("node-name", given.node_name, file.node_name, host_name(), text),
            kubeconfig: r.pick(
                "kubeconfig",
                given.kubeconfig.map(Some),
                file.kubeconfig.map(Some),
                None,
                |p| p.as_ref().map_or("in-cluster".into(), |p| p.display().to_string()),
            ),
            api_server: r.pick(
                "api-server",
                given.api_server.map(Some),
                file.api_server.map(Some),
                None,
                |s| s.clone().unwrap_or_else(|| "auto".into()),
            ),
            cluster_name: r.pick(
                "cluster-name",
                given.cluster_name,
                file.cluster_name,
                "default".into(),
                text,
            ),
            run_dir: r.pick("run-dir", given.run_dir, file.run_dir, "/run/pleopod".into(), path),
            state_dir: r.pick("state-dir", given.state_dir, file.state_dir, "/var/lib/pleopod".into(), path),
            bpffs: r.pick("bpffs", given.bpffs, file.bpffs, "/sys/fs/bpf".into(), path),
            cgroup_root: r.pick(
                "cgroup-root",
                given.cgroup_root.map(Some),
                file.cgroup_root.map(Some),
                None,
                auto_path,
            ),
            uplinks: r.pick("uplinks", list(given.uplinks), list(file.uplinks), Vec::new(), |v| {
                if v.is_empty() { "auto".into() } else { v.join(",") }
            }),
            mtu: r.pick("mtu", given.mtu.map(Some), file.mtu.map(Some), None, |m| {
                m.map_or("auto".into(), |m| m.to_string())
            }),
            attach: match r
                .pick("attach", given.attach, file.attach, Attach::Auto, |a| format!("{a:?}").to_lowercase())
            {
                Attach::Auto => pleopod_apply::attach::Attach::Auto,
                Attach::Tcx => pleopod_apply::attach::Attach::Tcx,
                Attach::Tc => pleopod_apply::attach::Attach::Tc,
            },
            masquerade: r.pick("masquerade", given.masquerade, file.masquerade, true, bool::to_string),
            native_routing_cidrs: r.pick(
                "native-routing-cidrs",
                nets(given.native_routing_cidrs),
                nets(file.native_routing_cidrs),
                Vec::new(),
                |v: &Vec<IpNet>| {
                    if v.is_empty() {
                        "auto".into()
                    } else {
                        v.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                    }
                },
            ),
            ipam_grace: Duration::from_secs(r.pick(
                "ipam-grace",
                given.ipam_grace,
                file.ipam_grace,
                30,
                u64::to_string,
            )),
            identity_collect_after: Duration::from_secs(r.pick(
                "identity-collect-after",
                given.identity_collect_after,
                file.identity_collect_after,
                900,
                u64::to_string,
            )),
            flow_ring: r.pick("flow-ring", given.flow_ring, file.flow_ring, 4096, usize::to_string),
            flow_interval: r.pick(
                "flow-interval",
                given.flow_interval,
                file.flow_interval,
                5,
                u32::to_string,
            ),
            flows: r.pick("flows", given.flows, file.flows, true, bool::to_string),
            sock_events: r.pick("sock-events", given.sock_events, file.sock_events, true, bool::to_string),
            ct_entries: r.pick(
                "ct-entries",
                given.ct_entries,
                file.ct_entries,
                size::CT as u32,
                u32::to_string,
            ),
            lb_frontends: r.pick(
                "lb-frontends",
                given.lb_frontends,
                file.lb_frontends,
                size::LB_ADDR as u32,
                u32::to_string,
            ),
            lb_backends: r.pick(
                "lb-backends",
                given.lb_backends,
                file.lb_backends,
                size::LB_BE as u32,
                u32::to_string,
            ),
            lb_table_entries: r.pick(
                "lb-table-entries",
                given.lb_table_entries,
                file.lb_table_entries,
                size::LB_TABLE as u32,
                u32::to_string,
            ),
            maglev_table_size: r.pick(
                "maglev-table-size",
                given.maglev_table_size,
                file.maglev_table_size,
                1021,
                u32::to_string,
            ),
            services: ServiceOptions {
                node_port_addresses: node_port_addresses(&r.pick(
                    "nodeport-addresses",
                    list(given.nodeport_addresses),
                    list(file.nodeport_addresses),
                    vec![PRIMARY.into()],
                    |v| v.join(","),
                ))?,
                node_port_localhost: r.pick(
                    "nodeport-localhost",
                    given.nodeport_localhost,
                    file.nodeport_localhost,
                    true,
                    bool::to_string,
                ),
                cluster_ips_outside: r.pick(
                    "cluster-ips-outside",
                    given.cluster_ips_outside,
                    file.cluster_ips_outside,
                    true,
                    bool::to_string,
                ),
                balancing: r
                    .pick("lb-algorithm", given.lb_algorithm, file.lb_algorithm, Algorithm::Random, |a| {
                        a.balancing().as_str().into()
                    })
                    .balancing(),
            },
            health_address: r.pick(
                "health-address",
                given.health_address,
                file.health_address,
                SocketAddr::from(([127, 0, 0, 1], 9962)),
                SocketAddr::to_string,
            ),
            log_format: r.pick(
                "log-format",
                given.log_format,
                file.log_format,
                LogFormat::Text,
                |f| match f {
                    LogFormat::Text => "text".into(),
                    LogFormat::Json => "json".into(),
                },
            ),
            log: r.pick("log", given.log, file.log, "info".into(), text),
            items: Vec::new(),
        };
        config.check(&routing)?;
        r.items.sort_by_key(|i| i.key);
        Ok(Self { items: r.items, ..config })
    }

    fn check(&self, routing: &str) -> anyhow::Result<()> {
        if self.node_name.is_empty() {
            bail!("config: node-name is empty; set it to the name of this node's Node object");
        }
        if routing != "native" {
            bail!("config: routing is {routing:?}; the only mode of this version is \"native\"");
        }
        if let Some(mtu) = self.mtu
            && !(1280..=65_535).contains(&mtu)
        {
            bail!("config: mtu is {mtu}; give 1280 to 65535, or leave it out to follow the uplink");
        }
        if !(1..=1 << 22).contains(&self.flow_ring) {
            bail!("config: flow-ring is {}; give 1 to 4194304 events", self.flow_ring);
        }
        for (key, value, low, high) in [
            ("ct-entries", self.ct_entries, 1024, 1 << 24),
            ("lb-frontends", self.lb_frontends, 256, 1 << 20),
            ("lb-backends", self.lb_backends, 256, 1 << pleopod_abi::lb::BACKEND_INDEX_BITS),
            ("lb-table-entries", self.lb_table_entries, 1024, 1 << 26),
            ("maglev-table-size", self.maglev_table_size, *maglev::SIZES.start(), *maglev::SIZES.end()),
        ] {
            if !(low..=high).contains(&value) {
                bail!("config: {key} is {value}; give {low} to {high}");
            }
        }
        for (key, path) in
            [("run-dir", &self.run_dir), ("state-dir", &self.state_dir), ("bpffs", &self.bpffs)]
        {
            if !path.is_absolute() {
                bail!("config: {key} is {}; give an absolute path", path.display());
            }
        }
        if let Some(name) = self.uplinks.iter().find(|n| n.is_empty() || n.len() > 15) {
            bail!("config: uplinks has {name:?}, which is no interface name (1 to 15 bytes)");
        }
        Ok(())
    }
}

// === impl Algorithm ===

impl Algorithm {
    fn balancing(self) -> Balancing {
        match self {
            Self::Random => Balancing::Random,
            Self::RoundRobin => Balancing::RoundRobin,
            Self::SourceHash => Balancing::SourceHash,
            Self::Maglev => Balancing::Maglev,
        }
    }
}

/// The word for the node's InternalIPs.
const PRIMARY: &str = "primary";

fn node_port_addresses(words: &[String]) -> anyhow::Result<NodePortAddresses> {
    if words.iter().all(|word| word == PRIMARY) {
        return Ok(NodePortAddresses::Primary);
    }
    let prefix = |word: &String| {
        let net: IpNet = word.parse().map_err(|_| {
            let why = if word == PRIMARY { "beside a prefix" } else { "which is no prefix" };
            anyhow::anyhow!(
                "config: nodeport-addresses has {word:?}, {why}; give \"{PRIMARY}\", or prefixes such as 192.168.0.0/16"
            )
        })?;
        Ok(net.trunc())
    };
    Ok(NodePortAddresses::Within(words.iter().map(prefix).collect::<anyhow::Result<_>>()?))
}

/// A list, or one word of it by itself.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a word or a list of words")]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Words::deserialize(deserializer)? {
        Words::One(word) => word.split(',').map(|word| word.trim().to_owned()).collect(),
        Words::Many(words) => words,
    })
}

/// Reads the configuration file.
fn read_file(path: &Path) -> anyhow::Result<Options> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("config: reading {}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(Options::default());
    }
    serde_saphyr::from_str(&text).map_err(|error| not_valid(path, &text, &error))
}

/// One line, with the line of the file that is meant.
fn not_valid(path: &Path, text: &str, error: &serde_saphyr::Error) -> anyhow::Error {
    let number = error.location().and_then(|at| usize::try_from(at.line()).ok());
    let line = number.and_then(|number| text.lines().nth(number.checked_sub(1)?)).unwrap_or_default();
    let why = error.without_snippet();
    anyhow::anyhow!("config: {} is not valid: {why}: `{}`", path.display(), line.trim_end())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
