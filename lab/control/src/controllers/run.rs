//! The loop of a controller: hear what happened, ask about what it touched, write what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::change::Decision;
use super::feed::{Feed, News};
use super::write::carry_out;
use crate::core::Core;
use crate::store::{Event, Shelf};

/// Something a controller can be asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What kind of question; often a collection.
    pub kind: &'static str,
    /// Namespace, maybe empty.
    pub ns: String,
    /// Name, maybe empty.
    pub name: String,
}

/// A controller, as the loop knows it.
pub trait Controller: Send + 'static {
    /// The field manager of its writes.
    fn name(&self) -> &'static str;
    /// The collections it hears of. Asked again when the definitions of custom resources change.
    fn shelves(&mut self, core: &Core) -> Vec<Shelf>;
    /// Everything it can be asked about now.
    fn all(&mut self, core: &Core) -> Vec<Key>;
    /// What an event touches.
    fn touched(&mut self, core: &Core, shelf: &str, event: &Event, keys: &mut BTreeSet<Key>);
    /// What to do about one thing.
    fn ask(&mut self, core: &Core, key: &Key, now: Timestamp) -> Decision;
}

// === impl Key ===

impl Key {
    /// A key of a kind.
    pub fn new(kind: &'static str, ns: &str, name: &str) -> Self {
        Self { kind, ns: ns.to_owned(), name: name.to_owned() }
    }
}

/// How long to wait before asking again after a write failed.
const RETRY: Duration = Duration::from_millis(500);

/// Runs a controller until the control plane stops.
pub fn spawn(core: &Arc<Core>, c: impl Controller) {
    let core = core.clone();
    tokio::spawn(run(core, c));
}

async fn run(core: Arc<Core>, mut c: impl Controller) {
    let shelves = c.shelves(&core);
    let mut feed = Feed::new(&core, &shelves);
    let mut dirty: BTreeSet<Key> = c.all(&core).into_iter().collect();
    let mut alarms: BTreeMap<Key, Instant> = BTreeMap::new();
    loop {
        let now = Instant::now();
        alarms.retain(|key, t| {
            let due = *t <= now;
            if due {
                dirty.insert(key.clone());
            }
            !due
        });
        while let Some(key) = dirty.pop_first() {
            let time = Timestamp::now();
            let d = c.ask(&core, &key, time);
            let failed = carry_out(&core, c.name(), d.changes);
            let due = d.again.map(|t| {
                let ms = t.as_millisecond().saturating_sub(time.as_millisecond()).max(10);
                Instant::now() + Duration::from_millis(u64::try_from(ms).unwrap_or(10))
            });
            let due = if failed {
                Some(due.map_or(Instant::now() + RETRY, |t| t.min(Instant::now() + RETRY)))
            } else {
                due
            };
            match due {
                Some(t) => alarms.insert(key, t),
                None => alarms.remove(&key),
            };
            tokio::task::yield_now().await;
            if core.stop.is_cancelled() {
                return;
            }
        }
        match feed.next(alarms.values().min().copied()).await {
            News::Events(events) => {
                for (shelf, e) in &events {
                    c.touched(&core, shelf, e, &mut dirty);
                }
            }
            News::Lost => dirty.extend(c.all(&core)),
            News::Quiet => {}
            News::Over => return,
        }
        if feed.add(&c.shelves(&core)) {
            dirty.extend(c.all(&core));
        }
    }
}
