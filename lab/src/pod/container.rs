//! Runs one container: start, probe, restart with patience, stop.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, Probe};
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Ended, State};
use super::probe::{self, Rhythm, Target};
use super::sandbox::random_id;
use super::{Node, log};
use crate::cgroup;
use crate::enter::{CANNOT_START, Entry, Place};
use crate::process::Owned;

/// Pauses before the 1st, 2nd, 3rd... restart, as the kubelet has them; the last one repeats.
const PATIENCE: [u64; 7] = [0, 10, 20, 40, 80, 160, 300];
/// A run this long makes the restarts count from the beginning.
const STEADY: Duration = Duration::from_secs(600);
/// How long a process may take to appear after its keeper was started.
const APPEARS: Duration = Duration::from_secs(10);

/// One container of a pod and all it needs.
pub struct Task {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// Its directory.
    pub dir: PathBuf,
    /// Its cgroup.
    pub cgroup: PathBuf,
    /// What it becomes.
    pub entry: Entry,
    /// The pod's address.
    pub address: String,
    /// Where its state is written.
    pub board: Arc<Board>,
    /// The node it runs on.
    pub node: Arc<Node>,
    /// Told to stop; the grace period stands in `grace` by then.
    pub stop: CancellationToken,
    /// Seconds between asking and forcing.
    pub grace: watch::Receiver<Duration>,
    /// `Always`, `OnFailure` or `Never`.
    pub policy: String,
}

// === impl Task ===

impl Task {
    /// Runs until it ends for good or is stopped.
    pub async fn run(self) {
        let name = self.container.name.clone();
        let mut tries = 0_usize;
        loop {
            let began = Instant::now();
            let ended = self.once().await;
            self.board.change(&name, |run| {
                run.state = State::Terminated(ended.clone());
                run.ready = false;
                run.started = false;
            });
            let done = match self.policy.as_str() {
                "Never" => true,
                "OnFailure" => ended.code == 0,
                _ => false,
            };
            if done || self.stop.is_cancelled() {
                return;
            }
            if began.elapsed() >= STEADY {
                tries = 0;
            }
            let pause = PATIENCE[tries.min(PATIENCE.len() - 1)];
            tries += 1;
            if pause > 0 {
                let pod = kube::ResourceExt::name_any(&*self.pod);
                let message = format!("back-off {pause}s restarting failed container={name} pod={pod}");
                self.node.recorder.warning(
                    &self.pod,
                    "BackOff",
                    format!("Back-off restarting failed container {name}"),
                );
                self.board.change(&name, |run| {
                    run.last = Some(ended.clone());
                    run.state = State::Waiting { reason: "CrashLoopBackOff".into(), message };
                });
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(pause)) => {}
                () = self.stop.cancelled() => return,
            }
            self.board.change(&name, |run| {
                run.last = Some(ended);
                run.restarts += 1;
            });
        }
    }

    /// One run, from start to end.
    async fn once(&self) -> Ended {
        let (id, began) = (random_id(), Timestamp::now());
        let ended = |code: i32, reason: &str, message: String| Ended {
            code,
            reason: reason.to_owned(),
            message,
            began,
            finished: Timestamp::now(),
            id: id.clone(),
        };
        let name = &self.container.name;
        let restarts = self.board.run(name).map_or(0, |run| run.restarts);
        for stale in ["process.json", "start-error"] {
            let _ = std::fs::remove_file(self.dir.join(stale));
        }
        let mut child = match self.start(restarts).await {
            Ok(child) => child,
            Err(error) => {
                self.node.recorder.warning(&self.pod, "Failed", format!("Error: {error:#}"));
                return ended(i32::from(CANNOT_START), "StartError", format!("{error:#}"));
            }
        };
        let events = &self.node.recorder;
        events.normal(&self.pod, "Created", format!("Created container: {name}"));
        let process = self.appeared(&mut child).await;
        events.normal(&self.pod, "Started", format!("Started container {name}"));
        let ready_at_once = self.container.readiness_probe.is_none();
        let started_at_once = self.container.startup_probe.is_none();
        self.board.change(name, |run| {
            run.id.clone_from(&id);
            run.state = State::Running(began);
            run.ready = ready_at_once && started_at_once;
            run.started = started_at_once;
        });
        let over = CancellationToken::new();
        let unwell = self.watch_health(over.clone());
        let status = tokio::select! {
            status = child.wait() => status,
            () = unwell => {
                self.end(&mut child, process).await;
                child.wait().await
            }
            () = self.stop.cancelled() => {
                self.end(&mut child, process).await;
                child.wait().await
            }
        };
        over.cancel();
        // Whatever the main process left behind goes with it.
        let _ = cgroup::kill(&self.cgroup);
        let code = match status {
            Ok(status) => {
                use std::os::unix::process::ExitStatusExt;
                status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
            }
            Err(_) => 255,
        };
        if let Ok(why) = std::fs::read_to_string(self.dir.join("start-error")) {
            return ended(i32::from(CANNOT_START), "StartError", why);
        }
        ended(code, if code == 0 { "Completed" } else { "Error" }, String::new())
    }

    async fn start(&self, restarts: u32) -> anyhow::Result<Child> {
        std::fs::create_dir_all(self.dir.join("root"))?;
        let spec = self.dir.join("entry.json");
        std::fs::write(&spec, serde_json::to_vec(&self.entry)?)?;
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command.arg("enter").arg(&spec);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        tokio::spawn(log::keep(log::path(&self.dir, restarts), child.stdout.take(), child.stderr.take()));
        Ok(child)
    }

    /// Waits for the keeper to say which process is the container's first; `None` when there will be none.
    async fn appeared(&self, child: &mut Child) -> Option<Owned> {
        let record = self.dir.join("process.json");
        let end = Instant::now() + APPEARS;
        while Instant::now() < end {
            if let Some(process) = Owned::read(&record) {
                return Some(process);
            }
            if !matches!(child.try_wait(), Ok(None)) {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        None
    }

    /// Asks the container to end, and forces it when it doesn't within the grace period.
    async fn end(&self, child: &mut Child, process: Option<Owned>) {
        let name = &self.container.name;
        self.node.recorder.normal(&self.pod, "Killing", format!("Stopping container {name}"));
        let begun = Instant::now();
        let grace = *self.grace.borrow();
        if !grace.is_zero() {
            let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
            if let Some(hook) = hook {
                let _ = tokio::time::timeout(grace, self.before_stop(hook)).await;
            }
        }
        if let Some(process) = process {
            let _ = process.signal(Signal::TERM);
        }
        let mut grace = self.grace.clone();
        loop {
            let left = (*grace.borrow_and_update()).saturating_sub(begun.elapsed());
            tokio::select! {
                _ = child.wait() => return,
                () = tokio::time::sleep(left) => break,
                // A second deletion may shorten the grace period.
                Ok(()) = grace.changed() => {}
            }
        }
        // First the container's own process, so that its keeper can tell how it ended.
        let killed = process.is_some_and(|process| process.signal(Signal::KILL));
        let reaped = tokio::time::timeout(Duration::from_millis(500), child.wait()).await;
        if !killed || reaped.is_err() {
            let _ = cgroup::kill(&self.cgroup);
            let _ = child.start_kill();
        }
    }

    async fn before_stop(&self, hook: &LifecycleHandler) {
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
            return;
        }
        let as_probe = Probe {
            exec: hook.exec.clone(),
            http_get: hook.http_get.clone(),
            tcp_socket: hook.tcp_socket.clone(),
            ..Probe::default()
        };
        let Some(target) = self.target() else { return };
        if let Err(error) = probe::ask(&as_probe, &target, &self.node.inside, Duration::from_secs(3600)).await
        {
            self.node.recorder.warning(&self.pod, "FailedPreStopHook", error);
        }
    }

    /// What probes ask.
    fn target(&self) -> Option<Target> {
        let process = Owned::read(&self.dir.join("process.json"))?;
        let entry = Entry {
            netns: None,
            cgroup: Some(self.cgroup.clone()),
            hostname: None,
            place: Place::Join(process.pid),
            tty: None,
            cwd: None,
            argv: Vec::new(),
            builtin: false,
            report: None,
            env: self.entry.env.clone(),
        };
        Some(Target { address: self.address.clone(), ports: probe::ports(&self.container), entry })
    }

    /// Runs the probes until `over`; finishes early when the container is to be restarted.
    async fn watch_health(&self, over: CancellationToken) {
        let Some(target) = self.target() else { return std::future::pending().await };
        let name = &self.container.name;
        if let Some(startup) = &self.container.startup_probe {
            if !self.repeat(startup, "Startup", &target, &over, |well| well).await {
                return;
            }
            self.board.change(name, |run| run.started = true);
        }
        if self.container.readiness_probe.is_none() {
            self.board.change(name, |run| run.ready = true);
        }
        let readiness = async {
            match &self.container.readiness_probe {
                Some(probe) => loop {
                    let set = |well: bool| {
                        self.board.change(name, |run| run.ready = well);
                        false
                    };
                    self.repeat(probe, "Readiness", &target, &over, set).await;
                },
                None => std::future::pending::<()>().await,
            }
        };
        let liveness = async {
            match &self.container.liveness_probe {
                Some(probe) => while self.repeat(probe, "Liveness", &target, &over, |_| false).await {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = readiness => {}
            () = liveness => {
                let message = format!("Container {name} failed liveness probe, will be restarted");
                self.node.recorder.normal(&self.pod, "Killing", message);
            }
            () = over.cancelled() => std::future::pending().await,
        }
    }

    /// Asks again and again. `settled` hears every verdict that stands (enough answers of one kind in a row) and may
    /// finish with `true`; a standing "no" that isn't finished so ends with `false`, except for readiness, which goes on.
    async fn repeat(
        &self,
        probe: &Probe,
        kind: &str,
        target: &Target,
        over: &CancellationToken,
        settled: impl Fn(bool) -> bool,
    ) -> bool {
        let rhythm = Rhythm::of(probe);
        let (mut good, mut bad) = (0, 0);
        tokio::time::sleep(rhythm.delay).await;
        loop {
            match probe::ask(probe, target, &self.node.inside, rhythm.timeout).await {
                Ok(()) => {
                    (good, bad) = (good + 1, 0);
                    if good >= rhythm.successes && settled(true) {
                        return true;
                    }
                }
                Err(_) if over.is_cancelled() => {}
                Err(error) => {
                    (good, bad) = (0, bad + 1);
                    let message = format!("{kind} probe failed: {error}");
                    self.node.recorder.warning(&self.pod, "Unhealthy", message);
                    if bad >= rhythm.failures {
                        settled(false);
                        if kind != "Readiness" {
                            return false;
                        }
                    }
                }
            }
            // A container that isn't ready yet is asked more often, so that it serves as soon as it can.
            let eager = kind != "Liveness" && good == 0 && bad <= 10;
            let pause = if eager { rhythm.period.min(Duration::from_millis(250)) } else { rhythm.period };
            tokio::time::sleep(pause).await;
        }
    }
}
