//! Whether the agent is alive, and whether it is ready.
//!
//! Alive: the core loop beats. Ready: every kind was listed and the kernel's tables are kept in step, so a new pod can
//! be connected. Neither a row that failed nor an API server that is away makes the agent unready: what is in the kernel
//! goes on working, and status tells.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A core loop that has not beaten for this long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What is well and what is not, by part.
#[derive(Debug)]
pub struct Health {
    parts: Mutex<BTreeMap<&'static str, Part>>,
    beat: Mutex<Instant>,
    since: Instant,
}

/// One part with its last word.
#[derive(Clone, Debug)]
pub struct Part {
    /// Whether it is well.
    pub ok: bool,
    /// Whether the agent is not ready while it is not well.
    pub gates: bool,
    /// What it said last.
    pub message: String,
}

// === impl Health ===

impl Health {
    /// Parts that are not well until they say so.
    pub fn new(gates: &[&'static str]) -> Self {
        let part = |name: &&'static str| (*name, Part { ok: false, gates: true, message: "starting".into() });
        let since = Instant::now();
        Self { parts: Mutex::new(gates.iter().map(part).collect()), beat: Mutex::new(since), since }
    }

    /// A step of the start is done: how long after its beginning, for who wants to know where the time goes.
    pub fn step(&self, done: &str) {
        tracing::debug!(after_ms = self.since.elapsed().as_millis() as u64, "start: {done}");
    }

    /// A part says how it is. Parts not named in [`Self::new`] do not gate readiness.
    pub fn set(&self, name: &'static str, outcome: Result<String, String>) {
        let mut parts = lock(&self.parts);
        let part = parts.entry(name).or_insert(Part { ok: true, gates: false, message: String::new() });
        let was = part.ok;
        (part.ok, part.message) = match outcome {
            Ok(m) => (true, m),
            Err(m) => (false, m),
        };
        match (was, part.ok) {
            (true, false) => tracing::warn!(part = name, why = part.message, "not well"),
            (false, true) => tracing::info!(part = name, message = part.message, "well"),
            _ => {}
        }
    }

    /// The core loop is going round.
    pub fn beat(&self) {
        *lock(&self.beat) = Instant::now();
    }

    /// Every part with its last word, by name.
    pub fn parts(&self) -> Vec<(&'static str, Part)> {
        lock(&self.parts).iter().map(|(n, p)| (*n, p.clone())).collect()
    }

    /// `Err` with the reason when the process should be restarted.
    pub fn live(&self) -> Result<(), String> {
        let still = lock(&self.beat).elapsed();
        if still < STUCK {
            Ok(())
        } else {
            Err(format!("the core loop has not moved for {} s", still.as_secs()))
        }
    }

    /// `Err` with the reasons while the agent can't serve new pods.
    pub fn ready(&self) -> Result<(), String> {
        let bad: Vec<String> = self
            .parts()
            .into_iter()
            .filter(|(_, p)| p.gates && !p.ok)
            .map(|(n, p)| format!("{n}: {}", p.message))
            .collect();
        if bad.is_empty() { Ok(()) } else { Err(bad.join("; ")) }
    }
}

/// A poisoned lock still holds a whole value: every critical section here is a plain assignment.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_well_whatever_the_others_say() {
        let health = Health::new(&["datapath", "kubernetes"]);
        assert_eq!(health.ready(), Err("datapath: starting; kubernetes: starting".into()));
        health.set("datapath", Ok("attached".into()));
        health.set("kubernetes", Ok("in step".into()));
        health.set("flows", Err("ring full".into()));
        assert_eq!(health.ready(), Ok(()));
        health.set("datapath", Err("map full".into()));
        assert_eq!(health.ready(), Err("datapath: map full".into()));
        assert_eq!(health.live(), Ok(()));
    }
}
