//! The process behind a lab, and how commands speak to it: one JSON line asked, JSON lines answered, on a unix socket.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Act;
use crate::cluster::{Lab, Plan, Progress};
use crate::layout::Layout;
use crate::process::Owned;

/// What a command may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// How far the lab is; answered again with every step until it is ready or failed.
    Follow,
    /// Do something to a node's agent.
    Agent {
        /// The node.
        node: String,
        /// What to do.
        act: Act,
    },
    /// Do something to the embedded API server.
    Api(Api),
}

/// What can be done to the embedded API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// Answers nothing but 503 and ends all watches.
    Away,
    /// Answers again.
    Back,
    /// Ends all watches once.
    DropWatches,
    /// Forgets its history: watches that resume get 410 Gone.
    Compact,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How far the lab is.
    Progress(Progress),
    /// Done.
    Done,
    /// Not done, and why.
    Failed(String),
}

/// Runs the daemon of a lab until SIGTERM or SIGINT.
///
/// # Errors
/// When it can't even begin: no plan, no socket.
pub async fn run(layout: Layout) -> anyhow::Result<()> {
    let plan = std::fs::read(layout.plan()).context("the lab's plan")?;
    let plan: Plan = serde_json::from_slice(&plan).context("the lab's plan")?;
    let own = Owned::of(std::process::id().cast_signed()).context("this process")?;
    own.write(&layout.daemon_record()).context("recording the daemon")?;
    let socket = layout.socket();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
    let lab = Arc::new(Lab::new(layout, plan));
    let rising = tokio::spawn(rise(Arc::clone(&lab)));
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let lab = Arc::clone(&lab);
                tokio::spawn(async move {
                    if let Err(error) = serve(&lab, stream).await {
                        tracing::debug!(error = format!("{error:#}"), "a command went away");
                    }
                });
            }
        }
    }
    rising.abort();
    lab.stop.cancel();
    let _ = std::fs::remove_file(socket);
    Ok(())
}

async fn rise(lab: Arc<Lab>) {
    let outcome = lab.up().await;
    lab.progress.send_modify(|progress| match outcome {
        Ok(()) => progress.ready = true,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the lab did not come up");
            progress.failed = Some(format!("{error:#}"));
        }
    });
}

async fn serve(lab: &Lab, stream: UnixStream) -> anyhow::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    let line = lines.next_line().await?.context("nothing asked")?;
    let answer = match serde_json::from_str(&line) {
        Ok(Ask::Follow) => return follow(lab, &mut to).await,
        Ok(Ask::Agent { node, act }) => match lab.agent(&node) {
            Some(agent) => outcome(agent.act(act).await),
            None => Answer::Failed(format!("no agent on a node {node}")),
        },
        Ok(Ask::Api(act)) => match lab.control() {
            Some(control) => {
                match act {
                    Api::Away => control.set_away(true),
                    Api::Back => control.set_away(false),
                    Api::DropWatches => control.drop_watches(),
                    Api::Compact => control.compact(),
                }
                Answer::Done
            }
            None => Answer::Failed("the lab uses another API server than its own".to_owned()),
        },
        Err(error) => Answer::Failed(format!("not understood: {error}")),
    };
    send(&mut to, &answer).await
}

fn outcome(outcome: anyhow::Result<()>) -> Answer {
    match outcome {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(format!("{error:#}")),
    }
}

async fn follow(lab: &Lab, to: &mut tokio::net::unix::OwnedWriteHalf) -> anyhow::Result<()> {
    let mut progress = lab.progress.subscribe();
    loop {
        let now = progress.borrow_and_update().clone();
        let last = now.ready || now.failed.is_some();
        send(to, &Answer::Progress(now)).await?;
        if last {
            return Ok(());
        }
        progress.changed().await?;
    }
}

async fn send(to: &mut tokio::net::unix::OwnedWriteHalf, answer: &Answer) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    Ok(())
}

/// Asks a lab's daemon and hands each answer to `hear`.
///
/// # Errors
/// When there is no daemon, it ends early, or it says no.
pub async fn ask(socket: &Path, ask: &Ask, mut hear: impl FnMut(Progress)) -> anyhow::Result<()> {
    let stream = UnixStream::connect(socket).await.context("the lab's daemon does not answer")?;
    let (from, mut to) = stream.into_split();
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("the daemon's answer")? {
            Answer::Done => return Ok(()),
            Answer::Failed(why) => bail!(why),
            Answer::Progress(progress) => {
                let last = progress.ready || progress.failed.is_some();
                hear(progress);
                if last {
                    return Ok(());
                }
            }
        }
    }
    bail!("the lab's daemon ended; its log says why")
}
