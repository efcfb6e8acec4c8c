//! The life of one pod on its node, from the sandbox to the last trace.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Board, State};
use super::container::Task;
use super::env::{self, Around};
use super::sandbox::Sandbox;
use super::status::{self, Facts};
use super::volumes::Volumes;
use super::{Node, dns, place};
use crate::cgroup;
use crate::enter::root::Root;
use crate::enter::{Entry, Place};
use crate::image;

/// Pauses between tries of what may succeed later, in milliseconds; the last one repeats.
const RETRY: [u64; 5] = [250, 500, 1000, 2000, 3000];

/// How long the API may say something else of a pod before it is told again.
const DOUBT: Duration = Duration::from_secs(2);

/// One pod's worker.
pub struct Worker {
    node: Arc<Node>,
    /// The pod as the API has it; closed when it is gone there.
    updates: watch::Receiver<Arc<Pod>>,
    board: Arc<Board>,
    dir: PathBuf,
    cgroup: PathBuf,
    stop: CancellationToken,
    grace: watch::Sender<Duration>,
    addresses: watch::Sender<Vec<String>>,
    failed: watch::Sender<Option<(String, String)>>,
    seen: Timestamp,
}

// === impl Worker ===

impl Worker {
    /// A worker for the pod that `updates` shows.
    #[must_use]
    pub fn new(node: Arc<Node>, updates: watch::Receiver<Arc<Pod>>) -> Self {
        let pod = Arc::clone(&updates.borrow());
        let uid = pod.uid().unwrap_or_default();
        let spec = pod.spec.clone().unwrap_or_default();
        let seen = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        Self {
            board: Arc::new(Board::new(
                spec.init_containers.as_deref().unwrap_or_default(),
                &spec.containers,
            )),
            dir: node.layout.pod(&uid),
            cgroup: node.cgroup.join("pods").join(&uid),
            updates,
            node,
            stop: CancellationToken::new(),
            grace: watch::Sender::new(Duration::from_secs(30)),
            addresses: watch::Sender::new(Vec::new()),
            failed: watch::Sender::new(None),
            seen: seen.unwrap_or_else(Timestamp::now),
        }
    }

    /// Lives the pod's life; returns when nothing of it is left.
    pub async fn run(self) {
        let told = CancellationToken::new();
        let worker = Arc::new(self);
        let telling = tokio::spawn(Arc::clone(&worker).tell(told.clone()));
        let leaving = tokio::spawn(Arc::clone(&worker).watch_for_end());
        let tasks = TaskTracker::new();
        let sandbox = worker.live(&tasks).await;
        tasks.close();
        // A pod whose containers have all ended for good leaves the network at once; its object stays.
        tasks.wait().await;
        worker.board.touch();
        if let Some(sandbox) = sandbox {
            worker.detach(&sandbox).await;
        }
        worker.stop.cancelled().await;
        told.cancel();
        let _ = telling.await;
        leaving.abort();
        worker.forget().await;
    }

    fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.updates.borrow())
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.node.client.clone(), &self.pod().namespace().unwrap_or_default())
    }

    /// Makes everything run. Whatever was attached to the network is given back, so that it can be detached.
    async fn live(&self, tasks: &TaskTracker) -> Option<Sandbox> {
        if self.over_already() || self.pod().metadata.deletion_timestamp.is_some() {
            return None;
        }
        let sandbox = self.sandbox().await?;
        self.addresses.send_replace(sandbox.addresses.clone());
        self.board.touch();
        let pod = self.pod();
        let spec = pod.spec.clone().unwrap_or_default();
        let Some(volumes) = self.volumes(&pod).await else { return Some(sandbox) };
        let policy = spec.restart_policy.clone().unwrap_or_else(|| "Always".to_owned());
        for container in spec.init_containers.iter().flatten() {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            let own = match policy.as_str() {
                _ if sidecar => "Always",
                "Never" => "Never",
                _ => "OnFailure",
            };
            let Some(task) = self.task(&pod, container, &volumes, &sandbox, own).await else {
                return Some(sandbox);
            };
            if sidecar {
                tasks.spawn(task.run());
                self.until_started(&container.name).await;
                continue;
            }
            task.run().await;
            let well = self.board.run(&container.name).is_some_and(|run| match run.state {
                State::Terminated(ended) => ended.code == 0,
                _ => false,
            });
            if self.stop.is_cancelled() || !well {
                return Some(sandbox);
            }
        }
        // One that can't be started holds up no other.
        let starting = spec.containers.iter().map(async |container| {
            if let Some(task) = self.task(&pod, container, &volumes, &sandbox, &policy).await {
                tasks.spawn(task.run());
            }
        });
        futures::future::join_all(starting).await;
        Some(sandbox)
    }

    /// A pod that ended before this node's daemon saw it is only waited for.
    fn over_already(&self) -> bool {
        let pod = self.pod();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    async fn until_started(&self, name: &str) {
        let mut changes = self.board.listen();
        while !self.board.run(name).is_some_and(|run| run.started) {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// The sandbox, tried until there is one or the pod is to end.
    async fn sandbox(&self) -> Option<Sandbox> {
        let pod = self.pod();
        if let Err(error) = place::note(&self.node.layout, &pod, &self.dir) {
            self.node.recorder.warning(
                &pod,
                "FailedCreatePodSandBox",
                format!("{}: {error}", self.dir.display()),
            );
            return None;
        }
        if pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
            return Some(Sandbox::host(self.node.layout.netns_path(), self.node.address.clone()));
        }
        let mut ready = self.node.network.subscribe();
        for attempt in 0.. {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                waited = ready.wait_for(|ready| ready.is_ok()) => if waited.is_err() { return None },
            }
            let permit = self.node.starting.acquire().await.ok()?;
            let made = Sandbox::make(&pod, &self.node.plugin, &self.dir).await;
            drop(permit);
            match made {
                Ok(sandbox) => return Some(sandbox),
                Err(error) => {
                    let message = format!("Failed to create pod sandbox: {error:#}");
                    self.node.recorder.warning(&pod, "FailedCreatePodSandBox", message);
                }
            }
            self.pause(attempt).await?;
        }
        None
    }

    /// Waits before another try; `None` when the pod is to end.
    async fn pause(&self, attempt: usize) -> Option<()> {
        let pause = Duration::from_millis(RETRY[attempt.min(RETRY.len() - 1)]);
        tokio::select! {
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep(pause) => Some(()),
        }
    }

    async fn volumes(&self, pod: &Pod) -> Option<BTreeMap<String, PathBuf>> {
        let volumes = Volumes {
            client: &self.node.client,
            pod,
            dir: &self.dir,
            host: &self.node.address,
            ca: self.node.cluster.ca.as_deref(),
        };
        for attempt in 0.. {
            match volumes.make().await {
                Ok(made) => return Some(made),
                Err(error) => self.node.recorder.warning(pod, "FailedMount", format!("{error:#}")),
            }
            self.pause(attempt).await?;
        }
        None
    }

    /// A container ready to be started; tried until it can be, or the pod is to end.
    async fn task(
        &self,
        pod: &Arc<Pod>,
        container: &Container,
        volumes: &BTreeMap<String, PathBuf>,
        sandbox: &Sandbox,
        policy: &str,
    ) -> Option<Task> {
        let name = &container.name;
        let image = container.image.as_deref().unwrap_or_default();
        let wait = |reason: &str, message: String| {
            self.board.change(name, |run| run.state = State::Waiting { reason: reason.to_owned(), message });
        };
        let command = container.command.as_deref().unwrap_or_default();
        let run = image::resolve(image, command, container.args.as_deref().unwrap_or_default());
        let run = match run {
            Ok(run) => run,
            Err(unknown) => {
                self.node.recorder.warning(
                    pod,
                    "Failed",
                    format!("Failed to pull image \"{image}\": {unknown}"),
                );
                wait("ErrImagePull", unknown.to_string());
                self.stop.cancelled().await;
                return None;
            }
        };
        let message = format!("Container image \"{image}\" already present on machine");
        self.node.recorder.normal(pod, "Pulled", message);
        for attempt in 0.. {
            match self.entry(pod, container, volumes, sandbox, &run).await {
                Ok(entry) => {
                    return Some(Task {
                        pod: Arc::clone(pod),
                        container: container.clone(),
                        dir: self.dir.join(name),
                        cgroup: self.cgroup.join(name),
                        entry,
                        address: sandbox.addresses.first().cloned().unwrap_or_default(),
                        board: Arc::clone(&self.board),
                        node: Arc::clone(&self.node),
                        stop: self.stop.clone(),
                        grace: self.grace.subscribe(),
                        policy: policy.to_owned(),
                    });
                }
                Err(error) => {
                    self.node.recorder.warning(pod, "Failed", format!("Error: {error:#}"));
                    wait("CreateContainerConfigError", format!("{error:#}"));
                }
            }
            self.pause(attempt).await?;
        }
        None
    }

    async fn entry(
        &self,
        pod: &Pod,
        container: &Container,
        volumes: &BTreeMap<String, PathBuf>,
        sandbox: &Sandbox,
        run: &image::Run,
    ) -> anyhow::Result<Entry> {
        let node = &self.node;
        let around = Around {
            client: &node.client,
            addresses: &sandbox.addresses,
            host: &node.address,
            kubernetes: (&node.cluster.kubernetes.0, node.cluster.kubernetes.1),
        };
        let env = env::variables(pod, container, &around).await?;
        let dir = self.dir.join(&container.name);
        let hostname = if sandbox.attached.is_some() { env::hostname(pod) } else { node.name.clone() };
        let address = sandbox.addresses.first().map_or("127.0.0.1", String::as_str);
        let mut files = dns::files(pod, &node.cluster, &hostname, address);
        files.push(("/etc/hostname".into(), format!("{hostname}\n")));
        Ok(Entry {
            netns: Some(sandbox.netns.clone()),
            cgroup: Some(self.cgroup.join(&container.name)),
            hostname: Some(hostname),
            place: Place::Container(Root {
                dir: dir.join("root"),
                files,
                volumes: Volumes::of_container(container, volumes)?,
            }),
            tty: None,
            cwd: Some(container.working_dir.clone().unwrap_or_else(|| "/".to_owned()).into()),
            argv: env::expand_words(&run.argv, &env),
            env,
            builtin: run.builtin,
            report: Some(dir),
        })
    }

    /// Waits until the pod is to end, and lets everybody know.
    async fn watch_for_end(self: Arc<Self>) {
        let mut updates = self.updates.clone();
        loop {
            let pod = Arc::clone(&updates.borrow_and_update());
            if pod.metadata.deletion_timestamp.is_some() {
                let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
                self.grace.send_replace(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
                self.stop.cancel();
            }
            if updates.changed().await.is_err() {
                // Gone from the API: nobody waits for a gentle end.
                self.grace.send_replace(Duration::ZERO);
                self.stop.cancel();
                return;
            }
        }
    }

    /// Keeps the pod's status in the API as the containers are.
    async fn tell(self: Arc<Self>, over: CancellationToken) {
        let mut changes = self.board.listen();
        let mut before = Value::Null;
        let mut last = false;
        loop {
            changes.borrow_and_update();
            let current = self.status();
            if current != before && !self.over_already() {
                match self.patch(&current).await {
                    Ok(()) => before = current,
                    Err(kube::Error::Api(error)) if error.code == 404 => return,
                    Err(error) => {
                        tracing::warn!(pod = %self.pod().name_any(), %error, "status not taken");
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        if !over.is_cancelled() {
                            continue;
                        }
                    }
                }
            }
            if last {
                return;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = over.cancelled() => last = true,
                () = self.contradicted(&before) => before = Value::Null,
            }
        }
    }

    /// Waits until the API says something else than `told` of the pod's readiness, and goes on saying so: a node that was
    /// silent has its pods marked.
    async fn contradicted(&self, told: &Value) {
        let mut updates = self.updates.clone();
        loop {
            if status::contradicts(&updates.borrow_and_update(), told) {
                // What was told last may still be on its way back.
                tokio::time::sleep(DOUBT).await;
                if status::contradicts(&updates.borrow_and_update(), told) {
                    return;
                }
            }
            if updates.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn status(&self) -> Value {
        let (pod, runs, addresses) = (self.pod(), self.board.runs(), self.addresses.borrow().clone());
        let failed = self.failed.borrow().clone();
        let facts = Facts {
            pod: &pod,
            host: &self.node.address,
            addresses: &addresses,
            runs: &runs,
            seen: self.seen,
            ending: self.stop.is_cancelled(),
            failed: failed.as_ref().map(|(reason, message)| (reason.as_str(), message.as_str())),
        };
        status::status(&facts, Timestamp::now())
    }

    async fn patch(&self, status: &Value) -> Result<(), kube::Error> {
        let pod = self.pod();
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
        self.api()
            .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
    }

    async fn detach(&self, sandbox: &Sandbox) {
        for attempt in 0.. {
            match sandbox.remove(&self.node.plugin, &self.dir).await {
                Ok(()) => return,
                Err(error) => {
                    let message = format!("error killing pod: failed to remove its sandbox: {error}");
                    self.node.recorder.warning(&self.pod(), "FailedKillPod", message);
                }
            }
            tokio::time::sleep(Duration::from_millis(RETRY[attempt.min(RETRY.len() - 1)])).await;
        }
    }

    /// Removes the files and the cgroup, and tells the API that the pod is gone.
    async fn forget(&self) {
        let (cgroup, dir) = (self.cgroup.clone(), self.dir.clone());
        place::forget(&self.node.layout, &self.pod(), &dir);
        let removed = tokio::task::spawn_blocking(move || {
            cgroup::remove(&cgroup).context("cgroup")?;
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("files"),
                _ => Ok(()),
            }
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(pod = %self.pod().name_any(), error = format!("{error:#}"), "something of a pod stays");
        }
        let pod = self.pod();
        if pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let gone = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        for pause in RETRY {
            match self.api().delete(&pod.name_any(), &gone).await {
                Ok(_) => return,
                Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => return,
                Err(error) => {
                    tracing::warn!(pod = %pod.name_any(), %error, "the pod can't be deleted from the API")
                }
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}
