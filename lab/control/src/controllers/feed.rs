//! What happened in some collections, in order, for one controller.

use std::sync::Arc;

use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::core::Core;
use crate::store::{Event, Next, Shelf};

/// Most events of one collection taken at once.
const BATCH: usize = 2048;

/// A position in the history of each collection.
pub struct Feed {
    core: Arc<Core>,
    at: Vec<(Shelf, Receiver<u64>, u64)>,
}

/// What there is to hear.
pub enum News {
    /// These things happened, in the order of their versions.
    Events(Vec<(Shelf, Arc<Event>)>),
    /// Some history is lost: look at everything.
    Lost,
    /// Nothing until the time given.
    Quiet,
    /// The control plane stops.
    Over,
}

// === impl Feed ===

impl Feed {
    /// Starts now. What is there already has to be looked at once.
    pub fn new(core: &Arc<Core>, shelves: &[Shelf]) -> Self {
        let mut feed = Self { core: core.clone(), at: Vec::new() };
        feed.add(shelves);
        feed
    }

    /// Follows these too, from now on. Gives whether any of them is new.
    pub fn add(&mut self, shelves: &[Shelf]) -> bool {
        let now = self.core.store.version();
        let mut new = false;
        for s in shelves {
            if !self.at.iter().any(|(have, ..)| have == s) {
                self.at.push((s.clone(), self.core.store.tip(s), now));
                new = true;
            }
        }
        new
    }

    /// Waits until something happened, or until `until`.
    pub async fn next(&mut self, until: Option<Instant>) -> News {
        loop {
            let mut events = Vec::new();
            let mut lost = false;
            for (shelf, tip, at) in &mut self.at {
                tip.mark_unchanged();
                match self.core.store.after(shelf, *at, BATCH) {
                    Next::Events(found) => {
                        if let Some(last) = found.last() {
                            *at = last.rv;
                        }
                        events.extend(found.into_iter().map(|e| (shelf.clone(), e)));
                    }
                    Next::Gone(oldest) => {
                        *at = oldest;
                        lost = true;
                    }
                }
            }
            if lost {
                return News::Lost;
            }
            if !events.is_empty() {
                events.sort_by_key(|(_, e)| e.rv);
                return News::Events(events);
            }
            let changed =
                futures::future::select_all(self.at.iter_mut().map(|(_, tip, _)| Box::pin(tip.changed())));
            let alarm = async {
                match until {
                    Some(t) => tokio::time::sleep_until(t).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changed => {}
                () = alarm => return News::Quiet,
                () = self.core.stop.cancelled() => return News::Over,
            }
        }
    }
}
