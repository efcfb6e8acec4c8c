//! Start-up and the end: puts the rooms together in the order that keeps packets flowing.
//!
//! 1. bpffs, the node's lock, sockets, probes: a person can ask what is going on from here on.
//! 2. The node's own object: addresses and pod CIDRs.
//! 3. The core: leases from the journal, the base, the programs under the links that are there, pods taken over.
//! 4. Watches: once every kind is listed, the first full pass. Only then does anything go.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pleopod_api::agent::agent_server::AgentServer;
use pleopod_api::agent::cni_server::CniServer;
use pleopod_flows::Eyes;
use pleopod_flows::kernel::Reader;
use pleopod_intake::{Event, Store};
use pleopod_intake_kube::{Client, Connection, Identities, Lookup, Publisher, Reporter, Watches};
use pleopod_model::intent::Node;
use pleopod_sys_bpf::mount;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use crate::collect::Collecting;
use crate::config::Config;
use crate::core::{self, Command, Core, Handle, Task};
use crate::door::{agent::AgentDoor, cni::CniDoor, health, socket};
use crate::health::Health;
use crate::log::one_line;
use crate::start::{Beginning, begin};
use crate::tasks::Tasks;
use crate::{links, lock, metrics, reading, remembered};

/// Parts without which new pods can't be served.
const GATES: [&str; 2] = ["datapath", "kubernetes"];

/// Runs the agent until it is told to end.
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(serve(Arc::new(config)));
    // What still waits for the API server must not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

async fn serve(config: Arc<Config>) -> anyhow::Result<()> {
    make_dir(&config.run_dir, 0o755)?;
    if mount::ensure_bpffs(&config.bpffs)? {
        tracing::info!(at = %config.bpffs.display(), "bpffs mounted");
    }
    let pins = config.bpffs.join("pleopod");
    make_dir(&pins, 0o700)?;
    let _lock = lock::take(&pins, &config.run_dir)?;
    let cgroup = cgroup(&config)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.node_name,
        pid = std::process::id(),
        "pleopod-agent starts"
    );

    let stop = CancellationToken::new();
    let health = Arc::new(Health::new(&GATES));
    let eyes = Eyes::new(pleopod_flows::Config {
        node: config.node_name.clone(),
        cluster: config.cluster_name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        capacity: config.flow_ring,
    });
    let (handle, commands) = core::channel();
    let connection = Connection { kubeconfig: config.kubeconfig.clone(), server: config.api_server.clone() };
    let client = pleopod_intake_kube::connect(&connection).await?;
    health.step("a client for the API server");
    let identities = Identities::new(client.clone());
    let identities = Arc::new(match config.identity_collect_after {
        Duration::ZERO => identities,
        after => identities.remembering(after / 2),
    });
    doors(&config, &health, &eyes, &handle, &client, &identities, &stop).await?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let work = work(config.clone(), health, eyes, handle, commands, client, identities, pins, cgroup);
    let outcome = tokio::select! {
        outcome = work => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    tracing::info!("pleopod-agent ends; programs, maps, interfaces and leases stay");
    stop.cancel();
    outcome
}

/// Opens every door. They answer at once; what needs the core says that it is starting.
async fn doors(
    config: &Arc<Config>,
    health: &Arc<Health>,
    eyes: &Eyes,
    core: &Handle,
    client: &Client,
    identities: &Arc<Identities>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let probes = TcpListener::bind(config.health_address)
        .await
        .with_context(|| format!("config: health-address: listening at {}", config.health_address))?;
    let text = Arc::new(metrics::endpoint(core.clone(), eyes, runtime));
    tokio::spawn(health::serve(probes, health.clone(), text, stop.clone()));

    let agent = AgentDoor {
        core: core.clone(),
        config: config.clone(),
        health: health.clone(),
        eyes: eyes.clone(),
        started_at: i64::try_from(crate::clock::time_of_day()).unwrap_or(i64::MAX),
    };
    let cni = CniDoor {
        core: core.clone(),
        health: health.clone(),
        lookup: Lookup::new(client.clone()),
        identities: identities.clone(),
        node: config.node_name.clone(),
    };
    let listener = socket::listen(&config.run_dir.join("agent.sock"))?;
    let ours = tonic::transport::Server::builder()
        .add_service(AgentServer::new(agent))
        .add_service(CniServer::new(cni));
    tokio::spawn(
        ours.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned()),
    );
    let listener = socket::listen(&config.run_dir.join("hubble.sock"))?;
    let hubble = tonic::transport::Server::builder().add_service(eyes.observer());
    tokio::spawn(
        hubble
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned()),
    );
    Ok(())
}

/// From the first look at the API server to the end. Returns only with an error, or when the core is gone.
#[allow(clippy::too_many_arguments)]
async fn work(
    config: Arc<Config>,
    health: Arc<Health>,
    eyes: Eyes,
    core: Handle,
    commands: mpsc::UnboundedReceiver<Command>,
    client: Client,
    identities: Arc<Identities>,
    pins: PathBuf,
    cgroup: PathBuf,
) -> anyhow::Result<()> {
    let node = own_node(&config, &Lookup::new(client.clone()), &health).await;
    health.step("the own Node is known");
    // Lists are asked for while programs are loaded; what comes waits for the core.
    let watches =
        Watches::start(client.clone(), &pleopod_intake_kube::watches::Config::new(&config.node_name));
    tokio::spawn(watch_health(watches.health(), health.clone()));
    let fed = tokio::spawn(feed(watches, core.clone()));
    let (tasks, todo) = mpsc::unbounded_channel();
    let (ready, started) = oneshot::channel();
    let (over, mut ended) = oneshot::channel();
    let beginning = Beginning {
        config: config.clone(),
        node,
        cgroup,
        health: health.clone(),
        eyes: eyes.clone(),
        tasks: tasks.clone(),
    };
    core_thread(beginning, commands, ready, over)?;
    let Started { router, node_health, links } = started.await.context("the core ended while starting")??;
    health.step("the core runs");
    links::watch(core.clone(), links)?;
    let read = move || Reader::spawn(eyes.clone(), &pins);
    tokio::spawn(reading::keep(read, health.clone(), reading::LOOK));

    let publisher = Publisher::new(client.clone(), config.node_name.clone());
    let reporter = Arc::new(Reporter::new(client.clone(), config.node_name.clone()));
    if !config.identity_collect_after.is_zero() {
        let collecting = Collecting::new(&config.node_name, config.identity_collect_after);
        tokio::spawn(collecting.run(core.clone(), identities.clone()));
    }
    let side = Tasks { core: core.clone(), identities, publisher, reporter, health: health.clone() };
    tokio::spawn(side.run(todo));
    let _ = tasks.send(Task::Introduce(router, node_health));
    let _ = tasks.send(Task::Publish);

    tokio::select! {
        outcome = fed => {
            let outcome = outcome.context("the task that feeds the core panicked")?;
            // A core that has ended is fed no more; it says itself why, in a moment.
            match tokio::time::timeout(Duration::from_secs(1), &mut ended).await {
                Ok(why) => why.context("the core's thread panicked")?,
                Err(_) => outcome,
            }
        }
        outcome = &mut ended => outcome.context("the core's thread panicked")?,
    }
}

/// Events of the API server to the core.
async fn feed(mut watches: Watches, core: Handle) -> anyhow::Result<()> {
    let mut events = Vec::new();
    while watches.next(&mut events).await > 0 {
        core.send(Command::Events(std::mem::take(&mut events)))?;
    }
    anyhow::bail!("every watch of the API server has ended")
}

/// Says how the watches fare. An API server that is away does not make the agent unready: what is in force stays so.
async fn watch_health(
    mut watches: tokio::sync::watch::Receiver<
        std::collections::BTreeMap<pleopod_intake::Kind, pleopod_intake_kube::WatchHealth>,
    >,
    health: Arc<Health>,
) {
    loop {
        let broken = watches
            .borrow_and_update()
            .iter()
            .find_map(|(kind, watch)| Some(format!("watch of {}: {}", kind.as_str(), watch.error.as_ref()?)));
        health.set("api-server", broken.map_or_else(|| Ok("every watch runs".into()), Err));
        if watches.changed().await.is_err() {
            return;
        }
    }
}

/// The own Node object, once it has addresses and pod CIDRs. While the API server is away, the one that was seen last.
async fn own_node(config: &Config, lookup: &Lookup, health: &Health) -> Node {
    let name = config.node_name.as_str();
    loop {
        let why = match lookup.node(name).await {
            Ok(Some(object)) => {
                let mut store = Store::new();
                store.apply(Event::Applied(object));
                match store.intent().nodes.get(name) {
                    Some(node) if node.addresses.is_empty() => {
                        format!("Node {name} has no InternalIP in status.addresses")
                    }
                    Some(node) if node.pod_cidrs.is_empty() => {
                        format!(
                            "Node {name} has no spec.podCIDRs; the controller manager gives them with --allocate-node-cidrs"
                        )
                    }
                    Some(node) => {
                        if let Err(error) = remembered::note(&config.state_dir, name, node) {
                            tracing::warn!(error = one_line(&error), "the node is not remembered");
                        }
                        return node.clone();
                    }
                    None => {
                        let problem = store.problems().next().map(ToString::to_string);
                        problem.unwrap_or_else(|| format!("Node {name} can't be read"))
                    }
                }
            }
            Ok(None) => format!("there is no Node {name}; check node-name in the agent's configuration"),
            Err(error) => match remembered::recall(&config.state_dir, name) {
                Some(node) => {
                    tracing::warn!(%error, "the API server is away; going on with the Node as it was last seen");
                    return node;
                }
                None => error.to_string(),
            },
        };
        health.set("kubernetes", Err(why));
        health.beat();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the core's start gives.
struct Started {
    router: Vec<std::net::IpAddr>,
    node_health: Vec<std::net::IpAddr>,
    /// Names of the node's own links.
    links: Vec<String>,
}

/// Starts the thread that owns the core. `over` hears why it ended.
fn core_thread(
    beginning: Beginning,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: oneshot::Sender<anyhow::Result<Started>>,
    over: oneshot::Sender<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let body = move || match begin(beginning) {
        Ok(core) => {
            let started = Started {
                router: core.facts.router.clone(),
                node_health: core.facts.health.clone(),
                links: core.hands.own_links(),
            };
            if ready.send(Ok(started)).is_ok() {
                // Nobody to tell only when the agent stops.
                let _ = over.send(Core::run(core, commands));
            }
        }
        Err(error) => drop(ready.send(Err(error))),
    };
    std::thread::Builder::new().name("core".into()).spawn(body).context("starting the core's thread")?;
    Ok(())
}

/// The cgroup2 directory for the socket programs: the configured one, the one that is mounted, or one we mount.
fn cgroup(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(path) = &config.cgroup_root {
        if !mount::is_cgroup2(path) {
            anyhow::bail!("config: cgroup-root {} is not in a cgroup2 file system", path.display());
        }
        return Ok(path.clone());
    }
    if let Some(path) = mount::find_cgroup2()? {
        return Ok(path);
    }
    let own = config.run_dir.join("cgroup2");
    mount::ensure_cgroup2(&own)?;
    tracing::info!(at = %own.display(), "the node has no cgroup2 mounted; mounted our own");
    Ok(own)
}

fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("making {}", path.display()))
}
