//! The async side: claims identities, publishes this node's pods, tells people of problems.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pleopod_intake::publish;
use pleopod_intake_kube::{Identities, Publisher, Reporter};
use pleopod_model::desired::HealthCheck;
use pleopod_model::{Labels, Problem};
use tokio::sync::{mpsc, watch};

use crate::core::{Command, Handle, Task};
use crate::door::health_checks;
use crate::health::Health;
use crate::reports::{self, Failed, Tries};

/// What the tasks work with.
pub struct Tasks {
    pub core: Handle,
    pub identities: Arc<Identities>,
    pub publisher: Publisher,
    pub reporter: Arc<Reporter>,
    pub health: Arc<Health>,
}

/// What was begun and matters later.
struct Begun {
    /// The problems of the present, for those who report them.
    problems: watch::Sender<Vec<Problem>>,
    /// What is to be answered at health check node ports.
    checks: watch::Sender<BTreeMap<u16, HealthCheck>>,
    introduction: Option<tokio::task::JoinHandle<()>>,
}

/// Between two tries at something the API server did not take.
const AGAIN: Duration = Duration::from_secs(1);

// === impl Tasks ===

impl Tasks {
    /// Works off what the core asks for, until it is gone.
    pub async fn run(self, mut tasks: mpsc::UnboundedReceiver<Task>) {
        let (problems, present) = watch::channel(Vec::new());
        let reporter = self.reporter.clone();
        tokio::spawn(reports::work(present, Tries::STANDARD, move |problem| tell(reporter.clone(), problem)));
        let (checks, wanted) = watch::channel(BTreeMap::new());
        let core = self.core.clone();
        let tell = move |unheard| core.send(Command::Unheard(unheard)).is_ok();
        tokio::spawn(health_checks::serve(wanted, self.health.clone(), health_checks::AGAIN, tell));
        let mut begun = Begun { problems, checks, introduction: None };
        let mut publish = false;
        loop {
            // A failed publication is tried again, changes or not.
            let next = if publish {
                tokio::time::timeout(AGAIN, tasks.recv()).await.unwrap_or(Some(Task::Publish))
            } else {
                tasks.recv().await
            };
            let Some(first) = next else { return };
            publish = self.start(first, &mut begun) || publish;
            while let Ok(task) = tasks.try_recv() {
                publish = self.start(task, &mut begun) || publish;
            }
            if publish {
                publish = match self.publish().await {
                    Ok(()) => {
                        self.health.set("publish", Ok("the API server knows this node's pods".into()));
                        false
                    }
                    Err(why) => {
                        self.health.set("publish", Err(why));
                        true
                    }
                };
            }
        }
    }

    /// Starts one task; `true` when it was [`Task::Publish`].
    fn start(&self, task: Task, begun: &mut Begun) -> bool {
        match task {
            Task::Publish => return true,
            Task::Introduce(router, health) => {
                if let Some(before) = begun.introduction.take() {
                    before.abort();
                }
                let told = introduce(self.publisher.clone(), router, health, self.health.clone());
                begun.introduction = Some(tokio::spawn(told));
            }
            Task::Claim(labels) => {
                tokio::spawn(claim(self.core.clone(), self.identities.clone(), labels));
            }
            Task::Report(problems) => {
                begun.problems.send_replace(problems);
            }
            Task::HealthChecks(checks) => {
                begun.checks.send_replace(checks);
            }
        }
        false
    }

    /// Compares what the API server knows of this node's pods with what is true, and writes what differs.
    async fn publish(&self) -> Result<(), String> {
        let compared = self
            .core
            .inspect(|core| {
                if !core.store.is_synced() {
                    return None;
                }
                let published = core.published();
                let writes = publish::diff(core.store.intent(), &core.facts.name, &published);
                let uid = |name| core.store.intent().pods.get(name).map(|p| p.uid.clone());
                let delete: Vec<_> = writes.delete.iter().map(|n| (n.clone(), uid(n))).collect();
                Some((published, writes.upsert, delete))
            })
            .await
            .map_err(|e| e.to_string())?;
        let Some((published, upsert, delete)) = compared else { return Ok(()) };
        let write = |(name, exists): (pleopod_model::ObjectName, bool)| {
            let what = published.get(&name).cloned();
            async move {
                match what {
                    Some(what) => self.publisher.upsert_endpoint(&name, &what, exists).await,
                    None => Ok(()),
                }
            }
        };
        // Side by side, as a burst of pods comes.
        use futures::StreamExt as _;
        let mut failed = None;
        let mut writes = futures::stream::iter(upsert.into_iter().map(write)).buffer_unordered(16);
        while let Some(outcome) = writes.next().await {
            failed = failed.or(outcome.err());
        }
        for (name, _uid) in delete {
            if let Err(error) = self.publisher.delete_endpoint(&name, None).await {
                failed.get_or_insert(error);
            }
        }
        match failed {
            None => Ok(()),
            Some(error) => Err(error.to_string()),
        }
    }
}

/// How often a claim is tried before it is left to the next full pass.
const CLAIM_TRIES: u32 = 25;

async fn claim(core: Handle, identities: Arc<Identities>, labels: Labels) {
    for tried in 1..=CLAIM_TRIES {
        match identities.claim_anew(&labels).await {
            // Nobody is there to hear only when the agent stops.
            Ok(identity) => {
                let _ = core.send(Command::Identity(labels, identity));
                return;
            }
            Err(error) if tried == 1 => {
                tracing::warn!(%error, "numbering labels; tried again every second");
            }
            Err(error) => tracing::debug!(%error, tried, "numbering labels"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn tell(reporter: Arc<Reporter>, problem: Problem) -> Result<(), Failed> {
    let told = reporter.problem(&problem, "PleopodProblem").await;
    told.map_err(|error| Failed { why: error.to_string(), again: error.is_retryable() })
}

/// Tells the other nodes of this one, until the API server has taken it.
async fn introduce(publisher: Publisher, router: Vec<IpAddr>, node_health: Vec<IpAddr>, health: Arc<Health>) {
    loop {
        let told = async {
            publisher.annotate_node(&router, &node_health).await?;
            publisher.set_network_available(true, "pleopod-agent is running on this node").await
        };
        match told.await {
            Ok(()) => {
                return health
                    .set("node", Ok("the Node says this node's router and health addresses".into()));
            }
            Err(error) => health.set("node", Err(error.to_string())),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
