//! What is known of a pod's containers at this moment; the pod's status is made from it.

use std::sync::Mutex;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;

/// State of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not running yet, or not running again yet.
    Waiting {
        /// CamelCase word.
        reason: String,
        /// Sentence; may be empty.
        message: String,
    },
    /// Running since.
    Running(Timestamp),
    /// Ended for now or for good.
    Terminated(Ended),
}

/// How a run of a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit code; 128 and the signal's number for a signal.
    pub code: i32,
    /// `Completed`, `Error`, `StartError`.
    pub reason: String,
    /// Sentence; may be empty.
    pub message: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Id of that run.
    pub id: String,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Name in the pod.
    pub name: String,
    /// Image as the pod names it.
    pub image: String,
    /// What it does now.
    pub state: State,
    /// How the run before ended.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its readiness probe says yes, or there is none and it runs.
    pub ready: bool,
    /// Its startup probe said yes, or there is none and it runs.
    pub started: bool,
    /// Id of the current run; empty before the first.
    pub id: String,
    /// It belongs to the initialization and holds up what follows.
    pub init: bool,
    /// An initialization container that goes on running beside the others.
    pub sidecar: bool,
}

/// All containers of a pod, and a number that grows with every change.
#[derive(Debug)]
pub struct Board {
    runs: Mutex<Vec<Run>>,
    changes: watch::Sender<u64>,
}

// === impl Board ===

impl Board {
    /// A board of containers none of which has been started.
    #[must_use]
    pub fn new(init: &[Container], main: &[Container]) -> Self {
        let first = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let run = |container: &Container, init: bool| Run {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: State::Waiting { reason: first.to_owned(), message: String::new() },
            last: None,
            restarts: 0,
            ready: false,
            started: false,
            id: String::new(),
            init,
            sidecar: init && container.restart_policy.as_deref() == Some("Always"),
        };
        let runs =
            init.iter().map(|one| run(one, true)).chain(main.iter().map(|one| run(one, false))).collect();
        Self { runs: Mutex::new(runs), changes: watch::Sender::new(0) }
    }

    /// A copy of everything.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        self.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// A copy of one container.
    #[must_use]
    pub fn run(&self, name: &str) -> Option<Run> {
        self.runs().into_iter().find(|run| run.name == name)
    }

    /// Changes one container; others hear of it only when something is different afterwards.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Run)) {
        let mut runs = self.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(run) = runs.iter_mut().find(|run| run.name == name) else { return };
        let before = run.clone();
        change(run);
        let differs = *run != before;
        drop(runs);
        if differs {
            self.touch();
        }
    }

    /// Makes listeners look again.
    pub fn touch(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    /// Hears of changes.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
