//! A running lab: everything a daemon holds, and the order in which it comes up.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Start};
use crate::cgroup;
use crate::enter::Entry;
use crate::inside::Inside;
use crate::layout::Layout;
use crate::pod::{self, Cluster as Facts, Node, cni, events, register};
use crate::topology::{self, Topology};
use crate::wire;

pub mod access;
pub mod system;

/// Port of the API server on the control-plane node.
pub const API_PORT: u16 = 6443;
/// How long the nodes and the DNS may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// After how long `up` says what it waits for.
const SAID_AFTER: Duration = Duration::from_secs(5);

/// How a lab is to be started; kept on disk for the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What it consists of.
    pub topology: Topology,
    /// The agent; none runs the nodes without one.
    pub agent: Option<PathBuf>,
    /// The CNI plugin.
    pub cni: PathBuf,
    /// More keys for the agents' configuration.
    pub agent_config: BTreeMap<String, serde_json::Value>,
    /// Another API server instead of the embedded one.
    pub kubeconfig: Option<PathBuf>,
    /// Install the cluster's DNS.
    pub dns: bool,
}

/// How far a lab is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What was done, in order.
    pub steps: Vec<String>,
    /// It is complete.
    pub ready: bool,
    /// It can't become complete, and why.
    pub failed: Option<String>,
}

/// A running lab.
pub struct Lab {
    /// Its paths and names.
    pub layout: Layout,
    /// How it was started.
    pub plan: Plan,
    /// How far it is.
    pub progress: watch::Sender<Progress>,
    /// Ends everything.
    pub stop: CancellationToken,
    agents: std::sync::OnceLock<BTreeMap<String, Agent>>,
    control: std::sync::OnceLock<pleopod_lab_control::Control>,
    started: Instant,
}

// === impl Lab ===

impl Lab {
    /// A lab nothing of which was made yet.
    #[must_use]
    pub fn new(layout: Layout, plan: Plan) -> Self {
        Self {
            layout,
            plan,
            progress: watch::Sender::new(Progress::default()),
            stop: CancellationToken::new(),
            agents: std::sync::OnceLock::new(),
            control: std::sync::OnceLock::new(),
            started: Instant::now(),
        }
    }

    /// The agent of a node.
    #[must_use]
    pub fn agent(&self, node: &str) -> Option<&Agent> {
        self.agents.get()?.get(node)
    }

    /// The embedded API server; none when another one is used.
    #[must_use]
    pub fn control(&self) -> Option<&pleopod_lab_control::Control> {
        self.control.get()
    }

    fn step(&self, text: impl Into<String>) {
        let text = text.into();
        let seconds = self.started.elapsed().as_secs_f32();
        tracing::info!(seconds, "{text}");
        self.progress.send_modify(|progress| progress.steps.push(format!("{text} ({seconds:.1} s)")));
    }

    /// Makes everything and waits until the nodes are ready.
    ///
    /// # Errors
    /// The first thing that could not be made.
    pub async fn up(self: &Arc<Self>) -> anyhow::Result<()> {
        let topology = &self.plan.topology;
        let mount = cgroup::mount_point().context("cgroup2")?;
        let top = mount.join(self.layout.cgroup());
        self.make_wire().await?;
        let inside = self.insides().await?;
        let gate =
            inside.get(&topology.control_plane().name).context("the control plane has no namespace")?;
        let access = access::open(self, gate).await?;
        self.step(format!("API server at {}", access.url));
        for host in &topology.outside {
            self.start_outside(host, &top)?;
        }
        let names: Vec<&str> = topology.outside.iter().map(|host| host.name.as_str()).collect();
        self.step(format!("outside: {}", names.join(", ")));
        let facts = self.facts(&access.client).await?;
        if self.plan.agent.is_some() {
            system::prepare(&access.client).await.context("installing what agents need")?;
            self.step("definitions of our kinds and the agents' rights");
        }
        self.start_nodes(&access, inside, &facts, &top).await?;
        self.wait_nodes(&access.client).await?;
        if self.plan.dns && !access.for_pods {
            self.step("no cluster DNS: pods can't reach the API server, whose endpoint is a loopback address or none");
        } else if self.plan.dns {
            // Only now, so that its pods are spread over the nodes.
            system::install(&access.client, &facts).await.context("installing the cluster's DNS")?;
            self.step(format!("cluster DNS at {}", facts.dns));
            self.wait_dns(&access.client).await?;
        }
        Ok(())
    }

    async fn make_wire(&self) -> anyhow::Result<()> {
        let (layout, topology) = (self.layout.clone(), self.plan.topology.clone());
        let hosts = wire::hosts(&topology);
        let count = hosts.len();
        let fabric = topology.fabric.clone();
        let shown = format!("fabric {} with MTU {}, {count} hosts on it", fabric.cidr, fabric.mtu);
        tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            wire::make_fabric(&layout, fabric.mtu).context("making the fabric")?;
            std::thread::scope(|scope| {
                let threads: Vec<_> = hosts
                    .iter()
                    .map(|host| scope.spawn(|| wire::plug(&layout, host, &fabric.uplink, fabric.mtu)))
                    .collect();
                threads.into_iter().zip(&hosts).try_for_each(|(thread, host)| match thread.join() {
                    Ok(outcome) => outcome.with_context(|| format!("making host {}", host.name)),
                    Err(_) => bail!("making host {}: the thread died", host.name),
                })
            })?;
            for node in &topology.nodes {
                let node = layout.node(&node.name);
                for dir in [&node.run, &node.dir, &node.bpffs(), &node.agent_state(), &node.cni()] {
                    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
                }
                mount_bpffs(&node.bpffs()).with_context(|| format!("bpffs of {}", node.name))?;
            }
            Ok(())
        })
        .await??;
        self.step(shown);
        Ok(())
    }

    async fn insides(&self) -> anyhow::Result<BTreeMap<String, Arc<Inside>>> {
        let (layout, nodes) = (self.layout.clone(), self.plan.topology.nodes.clone());
        let entered = tokio::task::spawn_blocking(move || {
            nodes
                .iter()
                .map(|node| {
                    Ok((node.name.clone(), Arc::new(Inside::enter(&layout.node(&node.name).netns_path())?)))
                })
                .collect::<Result<_, pleopod_sys_netns::Error>>()
        });
        Ok(entered.await??)
    }

    /// What pods are told of the cluster: the `kubernetes` Service is asked for, everything else is the topology's.
    async fn facts(&self, client: &Client) -> anyhow::Result<Facts> {
        let topology = &self.plan.topology;
        let services = Api::<k8s_openapi::api::core::v1::Service>::namespaced(client.clone(), "default");
        let found = services.get_opt("kubernetes").await.context("the kubernetes Service")?;
        let spec = found.and_then(|service| service.spec);
        let address = spec.as_ref().and_then(|spec| spec.cluster_ip.clone());
        let port = spec.and_then(|spec| spec.ports?.first().and_then(|port| u16::try_from(port.port).ok()));
        let dns = services_dns(client).await.unwrap_or_else(|| topology.cluster_dns.to_string());
        Ok(Facts {
            domain: topology.cluster_domain.clone(),
            dns,
            resolvers: topology
                .outside
                .iter()
                .filter(|host| host.gateway)
                .map(|host| host.address.to_string())
                .collect(),
            kubernetes: (
                address.unwrap_or_else(|| topology.kubernetes_service().to_string()),
                port.unwrap_or(443),
            ),
            ca: None,
        })
    }

    fn start_outside(&self, host: &topology::Outside, top: &Path) -> anyhow::Result<()> {
        let dir = self.layout.host(&host.name);
        fs::create_dir_all(&dir)?;
        let argv = vec![
            std::env::current_exe()?.display().to_string(),
            "host".to_owned(),
            self.layout.topology().display().to_string(),
            host.name.clone(),
        ];
        let netns = Path::new(crate::layout::NETNS_DIR).join(self.layout.netns(&host.name));
        let mut entry = Entry::in_netns(netns, argv);
        entry.cgroup = Some(top.join(&host.name));
        entry.hostname = Some(host.name.clone());
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
        let mut command = tokio::process::Command::from(entry.command()?);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().with_context(|| format!("starting outside host {}", host.name))?;
        let (name, stop) = (host.name.clone(), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                status = child.wait() => tracing::error!(host = name, ?status, "an outside host ended"),
                () = stop.cancelled() => {}
            }
        });
        Ok(())
    }

    async fn start_nodes(
        self: &Arc<Self>,
        access: &access::Access,
        mut inside: BTreeMap<String, Arc<Inside>>,
        facts: &Facts,
        top: &Path,
    ) -> anyhow::Result<()> {
        let mut agents = BTreeMap::new();
        for spec in &self.plan.topology.nodes {
            let layout = self.layout.node(&spec.name);
            let inside = inside.remove(&spec.name).context("a node without a namespace")?;
            let cgroup = top.join(&spec.name);
            fs::create_dir_all(cgroup.join("system")).context("cgroup of the node")?;
            self.write_node_files(&layout, access, &cgroup)?;
            let conflist = conflist(&layout.run);
            fs::write(layout.cni().join("05-pleopod.conflist"), format!("{conflist:#}\n"))?;
            let node = Arc::new(Node {
                name: spec.name.clone(),
                address: spec.address.to_string(),
                cgroup: cgroup.clone(),
                plugin: cni::Plugin { program: self.plan.cni.clone(), conflist, inside: Arc::clone(&inside) },
                inside,
                client: access.client.clone(),
                cluster: facts.clone(),
                network: watch::Sender::new(Err("the network plugin was not asked yet".to_owned())),
                recorder: events::Recorder::start(access.client.clone(), &spec.name),
                starting: Semaphore::new(pod::STARTING),
                layout: layout.clone(),
            });
            let card = register::Card {
                pod_cidr: spec.pod_cidr.map(|cidr| cidr.to_string()),
                control_plane: spec.name == self.plan.topology.control_plane().name,
                labels: spec.labels.clone(),
            };
            register::register(&node, &card)
                .await
                .with_context(|| format!("registering node {}", spec.name))?;
            if let Some(program) = &self.plan.agent {
                let start = Start { program: program.clone(), layout, cgroup: cgroup.join("system/agent") };
                agents.insert(spec.name.clone(), Agent::keep(start, self.stop.clone()));
            }
            tokio::spawn(register::keep(Arc::clone(&node), self.stop.clone()));
            tokio::spawn(run_node(node, self.stop.clone()));
        }
        let shown: Vec<&str> = self.plan.topology.nodes.iter().map(|node| node.name.as_str()).collect();
        let _ = self.agents.set(agents);
        self.step(format!("nodes registered: {}", shown.join(", ")));
        Ok(())
    }

    /// The agent's configuration and kubeconfig, and what a shell on the node sees.
    fn write_node_files(
        &self,
        node: &crate::layout::NodeLayout,
        access: &access::Access,
        cgroup: &Path,
    ) -> anyhow::Result<()> {
        let topology = &self.plan.topology;
        write_private(&node.kubeconfig(), &access.node_kubeconfig)?;
        let mut config = serde_json::json!({
            "node-name": node.name,
            "kubeconfig": node.kubeconfig(),
            "cluster-name": topology.cluster_name,
            "run-dir": node.run,
            "state-dir": node.agent_state(),
            "bpffs": node.bpffs(),
            "cgroup-root": cgroup,
            "uplinks": [topology.fabric.uplink],
        });
        for (key, value) in &self.plan.agent_config {
            config[key] = value.clone();
        }
        let text = serde_saphyr::to_string(&config).context("writing the agent's configuration")?;
        fs::write(node.agent_config(), text)?;
        let resolvers = topology.outside.iter().filter(|host| host.gateway);
        let resolvers: String = resolvers.map(|host| format!("nameserver {}\n", host.address)).collect();
        fs::write(node.dir.join("resolv.conf"), resolvers)?;
        let hosts: String =
            topology.nodes.iter().map(|node| format!("{}\t{}\n", node.address, node.name)).collect();
        fs::write(node.dir.join("hosts"), format!("127.0.0.1\tlocalhost\n{hosts}"))?;
        Ok(())
    }

    /// Waits a moment before asking again, and says what for when it takes long; fails once `end` has passed.
    async fn patience(&self, end: Instant, waiting: String, said: &mut String) -> anyhow::Result<()> {
        if let Some(trouble) = self.agents.get().into_iter().flatten().find_map(|(_, agent)| agent.trouble())
        {
            bail!(trouble);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("not ready after {} s: {waiting}", READY_WITHIN.as_secs());
        }
        if READY_WITHIN - left > SAID_AFTER && waiting != *said {
            self.step(format!("waiting: {waiting}"));
            *said = waiting;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }

    async fn wait_nodes(&self, client: &Client) -> anyhow::Result<()> {
        let nodes = Api::<NodeObject>::all(client.clone());
        let wanted: Vec<String> = self.plan.topology.nodes.iter().map(|node| node.name.clone()).collect();
        let (end, mut said) = (Instant::now() + READY_WITHIN, String::new());
        loop {
            let listed = nodes.list(&kube::api::ListParams::default()).await.context("list of nodes")?.items;
            match waiting_for_nodes(&wanted, &listed) {
                None => break,
                Some(waiting) => self.patience(end, waiting, &mut said).await?,
            }
        }
        self.step(format!("{0} of {0} nodes Ready", wanted.len()));
        Ok(())
    }

    async fn wait_dns(&self, client: &Client) -> anyhow::Result<()> {
        let deployments = Api::<Deployment>::namespaced(client.clone(), "kube-system");
        let (end, mut said) = (Instant::now() + READY_WITHIN, String::new());
        let wanted = system::DNS_REPLICAS;
        loop {
            let dns = deployments.get_opt(system::DNS).await.context("the DNS Deployment")?;
            let available = dns.and_then(|dns| dns.status?.available_replicas).unwrap_or(0);
            if available >= wanted {
                break;
            }
            let see = "see `pleopod lab get pods -n kube-system`";
            let waiting = format!("cluster DNS: {available} of {wanted} pods available; {see}");
            self.patience(end, waiting, &mut said).await?;
        }
        self.step("cluster DNS available");
        Ok(())
    }
}

/// Which of the wanted nodes are not Ready, and why the first is not.
fn waiting_for_nodes(wanted: &[String], listed: &[NodeObject]) -> Option<String> {
    let object = |name: &String| listed.iter().find(|node| node.metadata.name.as_ref() == Some(name));
    let unready: Vec<&str> =
        wanted.iter().filter(|name| !object(name).is_some_and(is_ready)).map(String::as_str).collect();
    let first = unready.first()?;
    let why = object(&(*first).to_owned()).and_then(why_not).unwrap_or_default();
    Some(format!("nodes not Ready: {}: {why}", unready.join(", ")))
}

/// Collects what an earlier life left in the plugin, then follows the node's pods.
async fn run_node(node: Arc<Node>, stop: CancellationToken) {
    let mut network = node.network.subscribe();
    let gc = async {
        if network.wait_for(Result::is_ok).await.is_ok()
            && let Err(error) = node.plugin.gc(&[]).await
        {
            tracing::warn!(node = node.name, %error, "garbage collection of the network plugin");
        }
    };
    tokio::select! {
        () = gc => {}
        () = stop.cancelled() => return,
    }
    pod::follow(node, stop).await;
}

fn is_ready(node: &NodeObject) -> bool {
    ready_condition(node).is_some_and(|condition| condition.status == "True")
}

fn why_not(node: &NodeObject) -> Option<String> {
    ready_condition(node).and_then(|condition| condition.message.clone())
}

fn ready_condition(node: &NodeObject) -> Option<&k8s_openapi::api::core::v1::NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}

/// The address of a DNS Service the cluster has already.
async fn services_dns(client: &Client) -> Option<String> {
    let services = Api::<k8s_openapi::api::core::v1::Service>::namespaced(client.clone(), "kube-system");
    services.get_opt("kube-dns").await.ok()??.spec?.cluster_ip
}

/// The conflist of a node: the shipped one with the socket in the node's run directory.
fn conflist(run: &Path) -> serde_json::Value {
    serde_json::json!({
        "cniVersion": "1.1.0",
        "name": "pleopod",
        "plugins": [{"type": "pleopod-cni", "socket": run.join("agent.sock"), "log-level": "info"}],
    })
}

/// Writes a file only its owner reads: it holds a key to the cluster.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn mount_bpffs(dir: &Path) -> anyhow::Result<()> {
    if nix::sys::statfs::statfs(dir)?.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC {
        return Ok(());
    }
    let none = None::<&str>;
    nix::mount::mount(Some("bpffs"), dir, Some("bpf"), nix::mount::MsFlags::empty(), none)
        .context("mounting bpffs")
}

/// A listener on the machine's loopback, at any free port.
pub(crate) fn loopback_listener() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// `https://address:port`, with brackets where a v6 address needs them.
pub(crate) fn url(address: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(address, port))
}
