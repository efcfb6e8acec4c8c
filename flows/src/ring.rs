//! The last events, at most a fixed number of them.
//!
//! One side writes without ever waiting for readers; old events are overwritten. Each reader has its own place, and one
//! that was overtaken is told by how many events. A slot is locked only while one event is copied.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::event::Event;

#[cfg(test)]
mod tests;

/// What a place of the ring holds.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An event.
    Event(Event),
    /// Events are missing here.
    Lost(Lost),
}

/// Events that were lost before they came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When that was noticed, nanoseconds since the Unix epoch.
    pub time: i64,
    /// How many.
    pub count: u64,
}

/// A bounded ring of events, numbered from 0.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[Mutex<Slot>]>,
    /// Number of the next event; events below it can be read.
    next: AtomicU64,
    /// Held by the writer.
    writer: Mutex<()>,
    /// Tells followers that there is more.
    news: watch::Sender<u64>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    entry: Option<Entry>,
}

/// What is at a place.
#[derive(Debug)]
pub enum Read {
    /// An entry.
    Entry(Entry),
    /// Not written yet.
    Later,
    /// Overwritten; the oldest that is left has this number.
    Gone(u64),
}

// === impl Entry ===

impl Entry {
    /// Nanoseconds since the Unix epoch.
    pub fn time(&self) -> i64 {
        match self {
            Self::Event(event) => event.time,
            Self::Lost(lost) => lost.time,
        }
    }
}

// === impl Ring ===

impl Ring {
    /// A ring of `capacity` places, at least one.
    pub fn new(capacity: usize) -> Self {
        let slot = || Mutex::new(Slot { number: 0, entry: None });
        Self {
            slots: (0..capacity.max(1)).map(|_| slot()).collect(),
            next: AtomicU64::new(0),
            writer: Mutex::new(()),
            news: watch::Sender::new(0),
        }
    }

    /// Writes an entry over the oldest one. Followers hear of it with the next [`Self::publish`].
    pub fn push(&self, entry: Entry) {
        let _writer = lock(&self.writer);
        let number = self.next.load(Ordering::Relaxed);
        // Dropped after the slot is free again.
        let _old = {
            let mut slot = lock(self.slot(number));
            slot.number = number;
            slot.entry.replace(entry)
        };
        self.next.store(number + 1, Ordering::Release);
    }

    /// Wakes followers, if anything was written since the last time.
    pub fn publish(&self) {
        if self.news.receiver_count() > 0 {
            let next = self.next();
            self.news.send_if_modified(|seen| std::mem::replace(seen, next) != next);
        }
    }

    /// A channel that changes with every [`Self::publish`].
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What is at the place with this number.
    pub fn read(&self, number: u64) -> Read {
        if number >= self.next() {
            return Read::Later;
        }
        let slot = lock(self.slot(number));
        match &slot.entry {
            Some(entry) if slot.number == number => Read::Entry(entry.clone()),
            _ => {
                drop(slot);
                Read::Gone(self.oldest())
            }
        }
    }

    /// Number of the next event: how many were ever written.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Number of the oldest event that is left.
    pub fn oldest(&self) -> u64 {
        self.next().saturating_sub(self.capacity())
    }

    /// How many events are kept now.
    pub fn len(&self) -> u64 {
        self.next().min(self.capacity())
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.next() == 0
    }

    /// How many events can be kept.
    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&self, number: u64) -> &Mutex<Slot> {
        // The remainder is below the number of slots, which is a usize.
        &self.slots[(number % self.capacity()) as usize]
    }
}

/// A panic of another thread leaves no half-written slot worth refusing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
