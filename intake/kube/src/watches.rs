//! The watches of all kinds as one stream of events.
//!
//! Each kind has a task that lists, watches, and starts again where it left off when the connection ends; after
//! 410 Gone it lists anew. Events of one kind come in order; between kinds there is no order, as in Kubernetes itself.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use pleopod_intake::object::{EndpointObject, IdentityObject, name_of};
use pleopod_intake::{Changed, Event, Kind, Object, Store};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::crd::{PleopodEndpoint, PleopodIdentity};
use crate::error::chain;

/// First wait after a failure; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest wait: so long after the API server is back a node may still not know.
const BACKOFF_LAST: Duration = Duration::from_secs(5);
/// A watch that has not failed again for so long is taken to be connected.
const SETTLED: Duration = Duration::from_secs(6);
/// Most events given at once.
const BATCH: usize = 4096;

/// Events of all kinds, and how the watches fare. Dropping it ends them.
#[derive(Debug)]
pub struct Watches {
    events: mpsc::Receiver<Event>,
    health: watch::Receiver<BTreeMap<Kind, WatchHealth>>,
    _tasks: JoinSet<()>,
}

/// How one watch fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchHealth {
    /// Listed at least once.
    pub listed: bool,
    /// How often it was listed.
    pub lists: u64,
    /// Why it is interrupted right now; `None` while it runs.
    pub error: Option<String>,
}

/// Settings of the watches.
#[derive(Clone, Debug)]
pub struct Config {
    /// Node whose pods are watched.
    pub node_name: String,
    /// Seconds after which the server ends a watch, to be started again. A connection that died silently is noticed
    /// five seconds later.
    pub watch_timeout: u32,
}

// === impl Config ===

impl Config {
    /// For the agent of this node.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self { node_name: node_name.into(), watch_timeout: 120 }
    }
}

// === impl Watches ===

impl Watches {
    /// Starts watching all kinds.
    pub fn start(client: Client, config: &Config) -> Self {
        let (tx, events) = mpsc::channel(BATCH);
        let (health_tx, health) = watch::channel(BTreeMap::new());
        let all = watcher::Config::default().timeout(config.watch_timeout);
        let mine = all.clone().fields(&format!("spec.nodeName={}", config.node_name));
        let mut tasks = JoinSet::new();
        let mut pump = Pump { client, tx, health: health_tx, tasks: &mut tasks };
        pump.spawn(Kind::Node, &all, |o: Node| Object::Node(Box::new(o)));
        pump.spawn(Kind::Namespace, &all, |o: Namespace| Object::Namespace(Box::new(o)));
        pump.spawn(Kind::Pod, &mine, |o: Pod| Object::Pod(Box::new(o)));
        pump.spawn(Kind::Service, &all, |o: Service| Object::Service(Box::new(o)));
        pump.spawn(Kind::EndpointSlice, &all, |o: EndpointSlice| Object::EndpointSlice(Box::new(o)));
        pump.spawn(Kind::PleopodEndpoint, &all, |o: PleopodEndpoint| {
            Object::PleopodEndpoint(Box::new(EndpointObject {
                metadata: o.metadata,
                spec: o.spec.fields,
                status: o.status,
            }))
        });
        pump.spawn(Kind::PleopodIdentity, &all, |o: PleopodIdentity| {
            Object::PleopodIdentity(Box::new(IdentityObject { metadata: o.metadata, spec: o.spec.fields }))
        });
        Self { events, health, _tasks: tasks }
    }

    /// Waits for the next event and gives it together with those that have come meanwhile: a lone event is not held
    /// back, a burst comes as one. 0 only when all watches have ended. Cancel safe.
    pub async fn next(&mut self, into: &mut Vec<Event>) -> usize {
        self.events.recv_many(into, BATCH).await
    }

    /// As [`Watches::next`], straight into the store. `None` when all watches have ended. Cancel safe.
    pub async fn advance(&mut self, store: &mut Store) -> Option<Changed> {
        let mut events = Vec::new();
        if self.next(&mut events).await == 0 {
            return None;
        }
        let mut changed = Changed::default();
        for event in events {
            store.apply_into(event, &mut changed);
        }
        Some(changed)
    }

    /// How the watches fare, by kind; changes can be awaited.
    pub fn health(&self) -> watch::Receiver<BTreeMap<Kind, WatchHealth>> {
        self.health.clone()
    }
}

struct Pump<'a> {
    client: Client,
    tx: mpsc::Sender<Event>,
    health: watch::Sender<BTreeMap<Kind, WatchHealth>>,
    tasks: &'a mut JoinSet<()>,
}

// === impl Pump ===

impl Pump<'_> {
    fn spawn<K>(&mut self, kind: Kind, config: &watcher::Config, wrap: fn(K) -> Object)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.health.send_modify(|all| {
            all.insert(kind, WatchHealth::default());
        });
        let api: Api<DeserializeGuard<K>> = Api::all(self.client.clone());
        self.tasks.spawn(run(kind, api, config.clone(), wrap, self.tx.clone(), self.health.clone()));
    }
}

/// Carries the events of one kind until nobody listens any more.
async fn run<K>(
    kind: Kind,
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    wrap: fn(K) -> Object,
    tx: mpsc::Sender<Event>,
    health: watch::Sender<BTreeMap<Kind, WatchHealth>>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let stream = watcher(api, config);
    pin_mut!(stream);
    let mut failures = 0u32;
    let report = |error: Option<String>| {
        health.send_if_modified(|all| {
            let own = all.entry(kind).or_default();
            let changed = own.error != error;
            own.error = error;
            changed
        });
    };
    loop {
        let next = if failures == 0 {
            stream.next().await
        } else {
            match tokio::time::timeout(SETTLED, stream.next()).await {
                Ok(next) => next,
                Err(_) => {
                    info!(%kind, "the watch runs again");
                    failures = 0;
                    report(None);
                    stream.next().await
                }
            }
        };
        let event = match next {
            None => return,
            Some(Ok(event)) => event,
            Some(Err(error)) => {
                let gone = matches!(&error, watcher::Error::WatchError(status) if status.code == 410);
                if gone && failures == 0 {
                    info!(%kind, "the watch fell behind (410 Gone); listing again");
                    failures = 1;
                    continue;
                }
                let why = explain(&error);
                let wait = backoff(kind, failures);
                failures = failures.saturating_add(1);
                if failures <= 2 {
                    warn!(%kind, ?wait, "watch interrupted: {why}");
                } else {
                    debug!(%kind, ?wait, "watch still interrupted: {why}");
                }
                report(Some(why));
                tokio::time::sleep(wait).await;
                continue;
            }
        };
        let event = match event {
            // Comes before the list request, so it proves nothing yet.
            watcher::Event::Init => Event::Listing(kind),
            other => {
                if failures > 0 {
                    info!(%kind, "the watch runs again");
                    failures = 0;
                    report(None);
                }
                match other {
                    watcher::Event::Init => Event::Listing(kind),
                    watcher::Event::InitApply(o) => Event::ListItem(unwrap(kind, o, wrap)),
                    watcher::Event::InitDone => {
                        health.send_modify(|all| {
                            let own = all.entry(kind).or_default();
                            own.listed = true;
                            own.lists += 1;
                        });
                        Event::Listed(kind)
                    }
                    watcher::Event::Apply(o) => Event::Applied(unwrap(kind, o, wrap)),
                    watcher::Event::Delete(o) => Event::Deleted(kind, name_of(o.meta())),
                }
            }
        };
        if tx.send(event).await.is_err() {
            return;
        }
    }
}

fn unwrap<K: Resource>(kind: Kind, object: DeserializeGuard<K>, wrap: fn(K) -> Object) -> Object {
    match object.0 {
        Ok(object) => wrap(object),
        Err(bad) => Object::Unreadable { kind, name: name_of(&bad.metadata), error: bad.error },
    }
}

/// 50 ms, 100 ms, ... 5 s, a little different for each kind so that they do not all come at once.
fn backoff(kind: Kind, failures: u32) -> Duration {
    let wait = BACKOFF_FIRST.saturating_mul(1 << failures.min(12)).min(BACKOFF_LAST);
    wait + wait.mul_f64(0.04 * f64::from(kind as u8))
}

fn explain(error: &watcher::Error) -> String {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(source) => format!("listing: {}", crate::error::describe(source)),
        E::WatchStartFailed(source) | E::WatchFailed(source) => crate::error::describe(source),
        E::WatchError(status) => status.message.clone(),
        E::NoResourceVersion => chain(error),
    }
}
