//! Keeps a node's agent running, and can be told to kill, stop and start it.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::enter::Entry;
use crate::layout::NodeLayout;
use crate::process::Owned;

/// Pause before an agent that ended is started again.
const PAUSE: Duration = Duration::from_millis(500);
/// What a stopping agent gets before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// What to do to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// SIGKILL; it is started again at once, as a DaemonSet would.
    Kill,
    /// SIGTERM, then start.
    Restart,
    /// SIGKILL, and not started again until told so.
    Stop,
    /// Start again after `stop`.
    Start,
}

/// A node's agent.
#[derive(Clone, Debug)]
pub struct Agent {
    acts: mpsc::Sender<(Act, oneshot::Sender<()>)>,
}

/// How to start it.
#[derive(Clone, Debug)]
pub struct Start {
    /// The binary.
    pub program: PathBuf,
    /// The node.
    pub layout: NodeLayout,
    /// cgroup of the agent's process.
    pub cgroup: PathBuf,
}

// === impl Agent ===

impl Agent {
    /// Starts the agent and keeps it running until `stop`.
    #[must_use]
    pub fn keep(start: Start, stop: CancellationToken) -> Self {
        let (acts, asked) = mpsc::channel(4);
        tokio::spawn(keep(start, asked, stop));
        Self { acts }
    }

    /// Does something to it; returns when done.
    ///
    /// # Errors
    /// When the lab is being taken down.
    pub async fn act(&self, act: Act) -> anyhow::Result<()> {
        let (done, told) = oneshot::channel();
        self.acts.send((act, done)).await.ok().context("the lab is being taken down")?;
        told.await.context("the lab is being taken down")
    }
}

async fn keep(start: Start, mut asked: mpsc::Receiver<(Act, oneshot::Sender<()>)>, stop: CancellationToken) {
    let node = start.layout.name.clone();
    let mut wanted = true;
    let mut running: Option<Child> = None;
    loop {
        if wanted && running.is_none() {
            running = start
                .spawn()
                .inspect_err(|error| {
                    tracing::error!(node, error = format!("{error:#}"), "the agent can't be started")
                })
                .ok();
        }
        let ended = async {
            match &mut running {
                Some(child) => {
                    child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string())
                }
                None if wanted => "not started".to_owned(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = ended => {
                running = None;
                tracing::warn!(node, status, "the agent ended; starting it again");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.cancelled() => return,
                }
            }
            act = asked.recv() => {
                let Some((act, done)) = act else { return };
                wanted = act != Act::Stop;
                if act != Act::Start
                    && let Some(mut child) = running.take()
                {
                    end(&mut child, act == Act::Restart).await;
                }
                let _ = done.send(());
            }
            () = stop.cancelled() => {
                if let Some(mut child) = running {
                    end(&mut child, true).await;
                }
                return;
            }
        }
    }
}

async fn end(child: &mut Child, gently: bool) {
    let process = child.id().and_then(|pid| Owned::of(pid.cast_signed()));
    if gently && let Some(process) = process {
        let _ = process.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
            return;
        }
    }
    let _ = child.start_kill();
    let _ = child.wait().await;
}

// === impl Start ===

impl Start {
    fn spawn(&self) -> anyhow::Result<Child> {
        let log = self.layout.agent_log();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| log.display().to_string())?;
        let config = self.layout.agent_config().display().to_string();
        let argv = vec![self.program.display().to_string(), "--config".to_owned(), config];
        let mut entry = Entry::in_netns(self.layout.netns_path(), argv);
        entry.cgroup = Some(self.cgroup.clone());
        let mut command = tokio::process::Command::from(entry.command()?);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("starting the agent")?;
        if let Some(owned) = child.id().and_then(|pid| Owned::of(pid.cast_signed())) {
            owned.write(&self.layout.agent_record())?;
        }
        Ok(child)
    }
}
