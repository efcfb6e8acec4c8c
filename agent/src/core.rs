//! The core: one thread that owns what is known, plans, and moves the hands.
//!
//! ```text
//!  watches ──events──┐
//!  CNI door ──add────┤                      ┌─ plan ─► Desired ─► hands (the kernel)
//!  CLI door ─inspect─┼─► commands ─► core ──┤
//!  identities ───────┤    (in order)        └─ tasks ─► async side: claim identities, publish endpoints
//!  clock ────tick────┘
//! ```
//!
//! Everything that changes state comes as a [`Command`] and is done in order, so there is one writer and no lock.
//! Commands that wait are taken together: a burst of events or pods costs one plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pleopod_flows::Eyes;
use pleopod_intake::publish::Published;
use pleopod_intake::{Changed, Event, Store};
use pleopod_ipam::Ipam;
use pleopod_model::desired::{Desired, FrontendKey, HealthCheck, LocalPod, NodeFacts};
use pleopod_model::{IdentityId, Labels, ObjectName, Problem};
use tokio::sync::{mpsc, oneshot};

use crate::hands::Hands;
use crate::health::Health;
use crate::journal::JournalFile;
use crate::log::one_line;

mod addresses;
pub mod pass;
pub mod pods;

/// What the core is asked to do.
pub enum Command {
    /// The API server said something.
    Events(Vec<Event>),
    /// Make a pod's interface.
    Add(pods::Add, oneshot::Sender<Result<pods::Added, pods::Error>>),
    /// Remove a pod's interface. Answers whether there was one.
    Del(pods::Del, oneshot::Sender<Result<bool, pods::Error>>),
    /// A label set has its number now.
    Identity(Labels, IdentityId),
    /// These health check node ports can't be listened at, and why.
    Unheard(BTreeMap<u16, String>),
    /// Look at the core, or change it, in its own thread.
    Inspect(Box<dyn FnOnce(&mut Core) + Send>),
}

/// What the core asks the async side to do.
#[derive(Debug)]
pub enum Task {
    /// Claim a number for these labels and send [`Command::Identity`].
    Claim(Labels),
    /// What is published about this node's pods may differ from what is true.
    Publish,
    /// Tell the other nodes this node's router and health addresses.
    Introduce(Vec<IpAddr>, Vec<IpAddr>),
    /// Tell people about these problems.
    Report(Vec<Problem>),
    /// Answer this at health check node ports, and nothing at others.
    HealthChecks(BTreeMap<u16, HealthCheck>),
}

/// The way to the core, from any thread or task.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

/// The core is gone: the agent is stopping.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("pleopod-agent is stopping")]
pub struct Stopping;

/// Everything the agent knows.
pub struct Core {
    /// What the cluster asks.
    pub store: Store,
    /// What the node has.
    pub facts: NodeFacts,
    /// Addresses and leases.
    pub ipam: Ipam,
    /// What the kernel must hold, but for Services.
    pub desired: Desired,
    /// Planned Services.
    pub services: pleopod_plan::Services,
    /// Everything that is wrong with objects, sorted.
    pub problems: Vec<Problem>,
    /// Those of the last plan of everything but Services.
    planned_problems: Vec<Problem>,
    /// Health check node ports that can't be listened at, and why.
    unheard: BTreeMap<u16, String>,
    /// What was last asked to be answered at health check node ports.
    health_checks: BTreeMap<u16, HealthCheck>,
    /// The kernel.
    pub hands: Hands,
    /// Part of every pod's security labels.
    pub cluster_name: String,
    /// When a label set was last asked for.
    claims: BTreeMap<Labels, Instant>,
    journal: JournalFile,
    health: Arc<Health>,
    eyes: Eyes,
    tasks: mpsc::UnboundedSender<Task>,
    todo: Todo,
    /// A full pass was made after every kind had been listed.
    synced: bool,
    /// When every table is read anew and compared.
    next_full: Instant,
    /// When the kernel is asked for lost events.
    next_count: Instant,
    /// The table of connections was nearly full since the start.
    crowded: bool,
    /// When what the eyes know is made anew, if it is stale.
    eyes_stale: Option<Instant>,
    /// The node's own addresses are of a pod CIDR that it no longer has.
    stranded: bool,
    /// Why the agent can't go on.
    broken: Option<anyhow::Error>,
}

/// What the next pass must look at.
#[derive(Debug, Default)]
struct Todo {
    /// Everything but Services.
    tables: bool,
    /// All Services.
    all_services: bool,
    /// Services and slices that changed.
    changed: Changed,
    /// Answers that wait for the pass.
    waiting: Vec<pods::Waiting>,
}

/// How often every table is read anew: whatever else wrote to them is put right.
const FULL_EVERY: Duration = Duration::from_secs(30);
/// How old the names that flows are given may be.
const EYES_EVERY: Duration = Duration::from_millis(50);
/// How often the kernel's count of lost events is read.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Commands taken before a pass, so that a flood does not put it off for ever.
const BURST: usize = 512;

// === impl Handle ===

impl Handle {
    /// Sends one command.
    pub fn send(&self, command: Command) -> Result<(), Stopping> {
        self.commands.send(command).map_err(|_| Stopping)
    }

    /// Runs `f` in the core's thread and waits for what it gives.
    pub async fn inspect<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Inspect(Box::new(move |core| {
            // Whoever asked may have gone.
            let _ = reply.send(f(core));
        })))?;
        answer.await.map_err(|_| Stopping)
    }
}

/// A channel to a core that is not there yet: commands wait for it.
pub fn channel() -> (Handle, mpsc::UnboundedReceiver<Command>) {
    let (commands, receiver) = mpsc::unbounded_channel();
    (Handle { commands }, receiver)
}

/// What a core is made of.
pub struct Parts {
    pub facts: NodeFacts,
    pub ipam: Ipam,
    pub hands: Hands,
    pub cluster_name: String,
    pub journal: JournalFile,
    pub health: Arc<Health>,
    pub eyes: Eyes,
    pub tasks: mpsc::UnboundedSender<Task>,
}

// === impl Core ===

impl Core {
    /// A core that has not planned yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            store: Store::new(),
            facts: parts.facts,
            ipam: parts.ipam,
            desired: Desired::default(),
            services: pleopod_plan::Services::default(),
            problems: Vec::new(),
            planned_problems: Vec::new(),
            unheard: BTreeMap::new(),
            health_checks: BTreeMap::new(),
            hands: parts.hands,
            cluster_name: parts.cluster_name,
            claims: BTreeMap::new(),
            journal: parts.journal,
            health: parts.health,
            eyes: parts.eyes,
            tasks: parts.tasks,
            todo: Todo::default(),
            synced: false,
            next_full: Instant::now() + FULL_EVERY,
            next_count: Instant::now(),
            crowded: false,
            eyes_stale: None,
            stranded: false,
            broken: None,
        }
    }

    /// Works until every [`Handle`] is gone, or until something is wrong that only a new start puts right. Blocks; to be
    /// run on a thread of its own.
    pub fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) -> anyhow::Result<()> {
        // Its own, so that it can wait while the agent's is being shut down.
        let waiting = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        loop {
            self.health.beat();
            let wait = self.next_deadline();
            let first = waiting.block_on(async { tokio::time::timeout(wait, commands.recv()).await });
            match first {
                Ok(Some(command)) => self.take(command),
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
            for _ in 0..BURST {
                match commands.try_recv() {
                    Ok(command) => self.take(command),
                    Err(_) => break,
                }
            }
            self.pass();
            self.tick();
            if let Some(why) = self.broken.take() {
                return Err(why);
            }
        }
    }

    fn next_deadline(&self) -> Duration {
        let now = Instant::now();
        let deadlines =
            [Some(self.next_full), Some(self.next_count), self.eyes_stale, Some(self.hands.next_chore())];
        let next = deadlines.into_iter().flatten().min().unwrap_or(now);
        next.saturating_duration_since(now).min(Duration::from_secs(5))
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Events(events) => {
                for event in events {
                    self.store.apply_into(event, &mut self.todo.changed);
                }
                self.note_changes();
            }
            Command::Add(add, reply) => match self.add(&add) {
                Ok(existed) => {
                    self.todo.tables = true;
                    self.todo.waiting.push(pods::Waiting { attachment: add.attachment, existed, reply });
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            },
            Command::Del(del, reply) => {
                let _ = reply.send(self.del(&del));
            }
            Command::Identity(labels, identity) => {
                self.claims.remove(&labels);
                self.give_identity(&labels, identity);
            }
            Command::Unheard(ports) => {
                self.unheard = ports;
                self.todo.changed.problems = true;
            }
            Command::Inspect(f) => f(self),
        }
    }

    /// What the changes of the store mean for the next pass.
    fn note_changes(&mut self) {
        let changed = &self.todo.changed;
        let apiserver = ObjectName::new("default", "kubernetes");
        let apiserver_moved = changed
            .endpoint_slices
            .iter()
            .any(|name| name.namespace == apiserver.namespace && name.name.starts_with(&apiserver.name));
        self.todo.tables |= !changed.nodes.is_empty()
            || !changed.endpoints.is_empty()
            || !changed.identities.is_empty()
            || changed.synced
            || apiserver_moved;
        let pods_changed = !changed.pods.is_empty();
        // Before everything is listed, labels without a number may only be labels whose number is not known yet.
        let labels_changed = pods_changed || !changed.namespaces.is_empty() || !changed.identities.is_empty();
        if self.synced && labels_changed {
            self.refresh_identities();
        }
        if pods_changed {
            self.task(Task::Publish);
        }
        if self.todo.changed.nodes.contains(&self.facts.name) {
            self.follow_own_node();
        }
    }

    /// The node's own object changed: its addresses or pod CIDRs may be others, or it may be a new one that does not say
    /// where this node's router is.
    fn follow_own_node(&mut self) {
        let Some(node) = self.store.intent().nodes.get(&self.facts.name) else { return };
        if node.router_addresses != self.facts.router || node.health_addresses != self.facts.health {
            self.task(Task::Introduce(self.facts.router.clone(), self.facts.health.clone()));
        }
        if !node.addresses.is_empty() && node.addresses != self.hands.node() {
            tracing::info!(from = ?self.hands.node(), to = ?node.addresses, "the node's addresses changed");
            self.hands.follow_addresses(&node.addresses);
        }
        let now: BTreeSet<_> = self.ipam.cidrs().collect();
        if !node.pod_cidrs.is_empty() && node.pod_cidrs.iter().copied().collect::<BTreeSet<_>>() != now {
            tracing::info!(cidrs = ?node.pod_cidrs, "the node's pod CIDRs changed; pods keep the addresses they have");
            self.ipam.set_cidrs(&node.pod_cidrs.clone());
            // Health tells; what is on disk is right but for the CIDRs, which are read anew at every start.
            let _ = self.save();
        }
        self.look_over_addresses();
    }

    /// The pod CIDR changed and left the router address outside. Pods have it in their routes, so it stays as long as there
    /// are any; then a new start takes addresses of the new CIDR.
    fn look_after_own_addresses(&mut self) {
        let own = [self.facts.router.as_slice(), &self.facts.health].concat();
        if !self.ipam.outside(&own) {
            if std::mem::take(&mut self.stranded) {
                self.health.set("pod-cidr", Ok("the node's own addresses are in it".into()));
            }
            return;
        }
        let text = |list: Vec<String>| list.join(", ");
        let cidrs = text(self.ipam.cidrs().map(|cidr| cidr.to_string()).collect());
        let router = text(self.facts.router.iter().map(ToString::to_string).collect());
        let pods = self.ipam.leases().count();
        if pods == 0 {
            self.broken.get_or_insert_with(|| {
                anyhow::anyhow!(
                    "the node's pod CIDR is {cidrs} now and its router address {router} is not in it; the agent ends, its next \
                     start takes addresses of the new one"
                )
            });
            return;
        }
        self.stranded = true;
        self.health.set(
            "pod-cidr",
            Err(format!(
                "it is {cidrs} now, and the router address {router} is not in it; other nodes do not reach the pods with old \
                 addresses. Drain the node: with the last of its {pods} pods gone the agent takes addresses of the new one"
            )),
        );
    }

    /// What comes with time.
    fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.next_full {
            self.next_full = now + FULL_EVERY;
            if self.synced {
                self.refresh_identities();
                self.full_pass();
            }
        }
        if self.synced {
            self.look_after_own_addresses();
        }
        if self.eyes_stale.is_some_and(|at| now >= at) {
            self.eyes_stale = None;
            self.update_eyes();
        }
        self.hands.chores(now);
        let connections = self.hands.connections_state();
        // Worth a line once it was worth telling.
        self.crowded |= connections.is_err();
        if self.crowded {
            self.health.set("connections", connections);
        }
        if self.hands.look_is_due(now) {
            self.broken = self.hands.look_after_links(now).err();
            self.health.set("uplinks", self.hands.uplink_state());
            self.look_over_addresses();
        }
        if now >= self.next_count {
            self.next_count = now + COUNT_EVERY;
            self.eyes.lost_in_kernel(self.hands.lost_events());
        }
    }

    /// A link of the node changed: routes that went with it are put back.
    pub fn follow_links(&mut self) {
        if let Err(error) = self.hands.look_after_links(Instant::now()) {
            self.broken = Some(error);
            return;
        }
        self.health.set("uplinks", self.hands.uplink_state());
        self.look_over_addresses();
        if !self.synced {
            return;
        }
        if let Err(error) = self.hands.reload_routes() {
            tracing::warn!(error = one_line(&error), "reading the routes");
            return;
        }
        let changed = self.hands.converge_routes(&self.desired);
        if changed > 0 {
            tracing::info!(changed, "routes followed the links");
        }
        self.say_how_it_went();
    }

    fn update_eyes(&mut self) {
        // Services live beside the other tables; the eyes want one value.
        let desired = Desired { services: self.services.frontends().clone(), ..self.desired.clone() };
        self.eyes.update(pleopod_flows::Lookup::build(self.store.intent(), &desired, &self.facts));
    }

    /// Writes the journal; a failure is a state of health, and the answer says why.
    fn save(&self) -> Result<(), String> {
        let outcome = self.journal.save(&self.ipam).map_err(|error| one_line(&error));
        self.health.set("state", outcome.clone().map(|()| "leases are on disk".into()));
        outcome
    }

    /// What the cluster should know of this node's pods.
    pub fn published(&self) -> BTreeMap<ObjectName, Published> {
        let node_address = self.node_address();
        let mut published = BTreeMap::new();
        let mut leases: Vec<_> = self.ipam.leases().collect();
        // A pod whose sandbox was made anew has two for a moment; the newer one is the pod.
        leases.sort_by_key(|lease| lease.since);
        for lease in leases {
            let mut labels = self.labels_of(lease.identity);
            if labels.is_empty() && lease.identity != IdentityId::INIT {
                // Numbered a moment ago; the watch has not brought the number yet.
                labels = self.security_labels(&lease.pod).unwrap_or_default();
            }
            // The kubelet gives static pods another UID than the API server; the object's owner is the latter's.
            let pod = self.store.intent().pods.get(&lease.pod);
            let entry = Published {
                id: lease.endpoint_id,
                pod_uid: pod.map_or(&lease.pod_uid, |pod| &pod.uid).clone(),
                identity: lease.identity,
                labels,
                addresses: lease.addresses.clone(),
                node_address,
                state: match lease.identity {
                    _ if !self.facts.local.values().any(|pod| pod.id == lease.endpoint_id) => "disconnected",
                    IdentityId::INIT => "waiting-for-identity",
                    _ => "ready",
                }
                .into(),
            };
            published.insert(lease.pod.clone(), entry);
        }
        published
    }

    /// Numbers of labels that no pod is known to have, with their marks. `None` while not everything is known.
    pub fn unused_identities(&self) -> Option<BTreeMap<IdentityId, Option<String>>> {
        if !self.store.is_synced() {
            return None;
        }
        let intent = self.store.intent();
        let published = intent.endpoints.values().map(|endpoint| endpoint.identity);
        let used: BTreeSet<_> = published.chain(self.ipam.leases().map(|lease| lease.identity)).collect();
        let unused = intent.identities.keys().filter(|id| !used.contains(id));
        Some(unused.map(|id| (*id, self.store.mark_of(*id).map(str::to_owned))).collect())
    }

    /// The labels behind a number, as far as known.
    pub fn labels_of(&self, identity: IdentityId) -> Labels {
        pleopod_plan::labels_of(self.store.intent(), &self.facts, identity).unwrap_or_default()
    }

    /// The node's InternalIP.
    pub fn node_address(&self) -> Option<IpAddr> {
        let node = self.store.intent().nodes.get(&self.facts.name)?;
        node.addresses.first().copied()
    }

    /// The local pod of an endpoint number.
    pub fn local(&self, endpoint_id: u16) -> Option<&LocalPod> {
        self.facts.local.values().find(|pod| pod.id == endpoint_id)
    }

    /// The frontends that the programs serve.
    pub fn frontends(&self) -> impl Iterator<Item = (&FrontendKey, &pleopod_model::desired::Frontend)> {
        self.services.frontends().iter()
    }

    /// Services that changed since the last pass, for the incremental plan.
    fn take_service_changes(&mut self) -> Option<BTreeSet<FrontendKey>> {
        let changed = std::mem::take(&mut self.todo.changed);
        let nothing = changed.services.is_empty() && changed.endpoint_slices.is_empty();
        if nothing && !self.services.is_stale(self.store.intent(), &self.facts) {
            return None;
        }
        Some(self.services.update(
            self.store.intent(),
            &self.facts,
            &changed.services,
            &changed.endpoint_slices,
        ))
    }

    fn task(&self, task: Task) {
        // The async side is gone only when the agent stops.
        let _ = self.tasks.send(task);
    }
}
