//! Sweeps in the background: a full table takes long to walk, and nobody who waits for the agent waits for that.
//!
//! The thread has its own handles of the maps. What it takes away only the programs wrote, so no row that
//! [`Tables`](crate::tables::Tables) keeps is ever written from two threads.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{Connections, Sweep};
use crate::Error;

/// The thread that sweeps. Dropping it waits until what was asked for is done.
#[derive(Debug)]
pub struct Sweeper {
    queue: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    last: Last,
}

/// What the last sweep saw; `None` when there was none or it failed.
type Last = Arc<Mutex<Option<Sweep>>>;

#[derive(Debug)]
enum Order {
    /// Remove what has expired at this time, and everything about these addresses.
    Sweep(u64, Vec<IpAddr>),
    /// Answered, with what the last sweep saw, when everything before it is done.
    Flush(Sender<Option<Sweep>>),
}

// === impl Sweeper ===

impl Sweeper {
    /// Starts the thread; it does nothing by itself.
    pub fn start(connections: Arc<Connections>) -> Result<Self, Error> {
        let (queue, orders) = channel();
        let last = Last::default();
        let seen = last.clone();
        let thread = std::thread::Builder::new()
            .name("sweeper".into())
            .spawn(move || work(&connections, &orders, &seen))
            .map_err(|source| Error::Thread { source })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), last })
    }

    /// Has [`Connections::sweep`] done for `now`, and [`Connections::forget`] for `departed`, soon. Orders that wait are
    /// done as one. What fails is told in the log and tried again with the next order.
    pub fn order(&self, now: u64, departed: Vec<IpAddr>) {
        if let Some(queue) = &self.queue {
            // The thread ends only after the queue.
            let _ = queue.send(Order::Sweep(now, departed));
        }
    }

    /// What the last sweep saw, `None` when there was none or it failed. Does not wait.
    pub fn last(&self) -> Option<Sweep> {
        read(&self.last)
    }

    /// Waits until everything asked for so far is done. Gives what the last sweep saw, `None` when there was none or it
    /// failed.
    pub fn flush(&self) -> Option<Sweep> {
        let (done, wait) = channel();
        self.queue.as_ref()?.send(Order::Flush(done)).ok()?;
        wait.recv().ok().flatten()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(last: &Last) -> Option<Sweep> {
    *last.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(connections: &Connections, orders: &Receiver<Order>, last: &Last) {
    let mut departed = BTreeSet::new();
    while let Ok(first) = orders.recv() {
        let mut at = None;
        let mut waiting = Vec::new();
        for order in std::iter::once(first).chain(orders.try_iter()) {
            match order {
                Order::Sweep(now, addresses) => {
                    at = at.max(Some(now));
                    departed.extend(addresses);
                }
                Order::Flush(done) => waiting.push(done),
            }
        }
        if let Some(now) = at {
            let gone: Vec<IpAddr> = departed.iter().copied().collect();
            let swept = connections.sweep(now).and_then(|sweep| connections.forget(&gone).map(|_| sweep));
            match &swept {
                Ok(_) => departed.clear(),
                Err(error) => tracing::warn!(%error, "sweeping connections; tried again with the next sweep"),
            }
            *last.lock().unwrap_or_else(PoisonError::into_inner) = swept.ok();
        }
        for done in waiting {
            let _ = done.send(read(last));
        }
    }
}
