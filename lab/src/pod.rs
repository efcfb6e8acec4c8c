//! The kubelet's job for one node: pods bound to it become sandboxes and processes, and their state goes back to the API.
//!
//! Everything is learnt from and told to the Kubernetes API, so it makes no difference whose API server it is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inside::Inside;
use crate::layout::NodeLayout;

pub mod board;
pub mod cni;
pub mod container;
pub mod dns;
pub mod env;
pub mod events;
pub mod log;
pub mod place;
pub mod probe;
pub mod register;
pub mod sandbox;
pub mod status;
pub mod volumes;
pub mod worker;

use worker::Worker;

/// Sandboxes made at the same time on one node.
pub const STARTING: usize = 16;

/// What pods are told of the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// DNS domain.
    pub domain: String,
    /// Address of the cluster's DNS.
    pub dns: String,
    /// Resolvers of the nodes.
    pub resolvers: Vec<String>,
    /// ClusterIP and port of the `kubernetes` Service.
    pub kubernetes: (String, u16),
    /// Certificate of the API server's authority, for clusters that don't publish it.
    pub ca: Option<String>,
}

/// One node, as its kubelet knows it.
pub struct Node {
    /// Name of the Node object.
    pub name: String,
    /// InternalIP.
    pub address: String,
    /// Its files and names.
    pub layout: NodeLayout,
    /// Its cgroup.
    pub cgroup: PathBuf,
    /// Its network namespace.
    pub inside: Arc<Inside>,
    /// The API.
    pub client: Client,
    /// The cluster.
    pub cluster: Cluster,
    /// The CNI plugin.
    pub plugin: cni::Plugin,
    /// Whether the plugin can serve: `Err` says why not.
    pub network: watch::Sender<Result<(), String>>,
    /// Where events go.
    pub recorder: events::Recorder,
    /// Limits what is started at once.
    pub starting: Semaphore,
}

/// Follows the pods bound to the node until `stop`; returns when `stop` is asked for, leaving the pods as they are.
pub async fn follow(node: Arc<Node>, stop: CancellationToken) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", node.name));
    let pods = watch_objects(Api::<Pod>::all(node.client.clone()), config).default_backoff();
    let mut pods = std::pin::pin!(pods);
    let mut workers: HashMap<String, watch::Sender<Arc<Pod>>> = HashMap::new();
    let mut listed: Vec<String> = Vec::new();
    let tasks = TaskTracker::new();
    loop {
        let event = tokio::select! {
            event = pods.next() => event,
            () = stop.cancelled() => return,
        };
        match event {
            Some(Ok(Event::Apply(pod))) => update(&node, &mut workers, &tasks, pod),
            Some(Ok(Event::Delete(pod))) => {
                workers.remove(&pod.uid().unwrap_or_default());
            }
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(pod))) => {
                listed.push(pod.uid().unwrap_or_default());
                update(&node, &mut workers, &tasks, pod);
            }
            Some(Ok(Event::InitDone)) => workers.retain(|uid, _| listed.contains(uid)),
            Some(Err(error)) => tracing::warn!(node = node.name, %error, "watch of pods"),
            None => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

fn update(
    node: &Arc<Node>,
    workers: &mut HashMap<String, watch::Sender<Arc<Pod>>>,
    tasks: &TaskTracker,
    pod: Pod,
) {
    let uid = pod.uid().unwrap_or_default();
    let pod = Arc::new(pod);
    if let Some(worker) = workers.get(&uid) {
        worker.send_replace(pod);
        return;
    }
    // A worker that is done stays on the list until the API says the pod is gone: a late update starts nothing.
    let (sender, updates) = watch::channel(pod);
    tasks.spawn(Worker::new(Arc::clone(node), updates).run());
    workers.insert(uid, sender);
}
