//! Keeps a node's agent running, and can be told to kill, stop and start it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::enter::{Entry, Place};
use crate::layout::NodeLayout;
use crate::process::Owned;

/// Pause before an agent that ended is started again.
const PAUSE: Duration = Duration::from_millis(500);
/// What a stopping agent gets before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// An agent that ends within this time did not really start.
const SHORT: Duration = Duration::from_secs(5);
/// So many short lives in a row are told.
const TRIES: u32 = 3;

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
    /// SIGTERM, then start where cgroup2 is mounted nowhere; a later `restart` starts it as usual.
    WithoutCgroup2,
}

/// A node's agent.
#[derive(Clone, Debug)]
pub struct Agent {
    acts: mpsc::Sender<(Act, oneshot::Sender<()>)>,
    trouble: watch::Receiver<Option<String>>,
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
        let (tell, trouble) = watch::channel(None);
        tokio::spawn(keep(start, asked, tell, stop));
        Self { acts, trouble }
    }

    /// Why it does not stay up, once it ended three times in a row right after it was started.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
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

async fn keep(
    start: Start,
    mut asked: mpsc::Receiver<(Act, oneshot::Sender<()>)>,
    trouble: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    let node = start.layout.name.clone();
    let (mut begun, mut short) = (Instant::now(), 0);
    let mut wanted = true;
    let mut bare = false;
    let mut running: Option<Child> = None;
    loop {
        if wanted && running.is_none() {
            begun = Instant::now();
            running = start
                .spawn(bare)
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
                short = if begun.elapsed() < SHORT { short + 1 } else { 0 };
                trouble.send_replace((short >= TRIES).then(|| start.last_words(&status)));
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.cancelled() => return,
                }
            }
            act = asked.recv() => {
                let Some((act, done)) = act else { return };
                wanted = act != Act::Stop;
                let gently = matches!(act, Act::Restart | Act::WithoutCgroup2);
                if gently {
                    bare = act == Act::WithoutCgroup2;
                }
                if act != Act::Start
                    && let Some(mut child) = running.take()
                {
                    end(&mut child, gently).await;
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
    /// The end of the agent's log, after how it ended.
    fn last_words(&self, status: &str) -> String {
        let log = self.layout.agent_log();
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("its log is empty");
        format!(
            "the agent of node {} ends as soon as it is started ({status}): {}",
            self.layout.name,
            last.trim()
        )
    }

    /// Starts it; `bare` is without any mount of cgroup2, so that it has to make its own.
    fn spawn(&self, bare: bool) -> anyhow::Result<Child> {
        let log = self.layout.agent_log();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| log.display().to_string())?;
        let config = if bare { self.bare_config()? } else { self.layout.agent_config() };
        let config = config.display().to_string();
        let argv = vec![self.program.display().to_string(), "--config".to_owned(), config];
        let mut entry = Entry::in_netns(self.layout.netns_path(), argv);
        entry.cgroup = Some(self.cgroup.clone());
        if bare {
            // What it mounts begins where it is: at the node, not at the machine.
            entry.cgroup = self.cgroup.ancestors().nth(2).map(Path::to_owned);
            entry.place = Place::WithoutCgroup2;
        }
        let mut command = tokio::process::Command::from(entry.command()?);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("starting the agent")?;
        if let Some(owned) = child.id().and_then(|pid| Owned::of(pid.cast_signed())) {
            owned.write(&self.layout.agent_record())?;
        }
        Ok(child)
    }

    /// The agent's configuration without a word about cgroups.
    fn bare_config(&self) -> anyhow::Result<PathBuf> {
        let config =
            std::fs::read_to_string(self.layout.agent_config()).context("the agent's configuration")?;
        let lines = config.lines().filter(|line| !line.starts_with("cgroup-root:"));
        let path = self.layout.agent_config().with_file_name("agent-without-cgroup2.yaml");
        std::fs::write(&path, lines.map(|line| format!("{line}\n")).collect::<String>())?;
        Ok(path)
    }
}
