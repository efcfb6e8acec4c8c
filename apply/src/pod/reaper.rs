//! Deletion of interfaces in the background: DEL never waits for a veth to die.
//!
//! Links that queue up while the kernel is busy with others go together, under one grace period.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use pleopod_sys_link::{LinkChange, Netlink, Target};

use super::DELETED_ALIAS;
use crate::Error;

/// The thread that deletes. Dropping it waits until everything asked for is gone.
#[derive(Debug)]
pub struct Reaper {
    netlink: Netlink,
    queue: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Delete(u32),
    /// Answered when everything before it is done.
    Flush(Sender<()>),
}

// === impl Reaper ===

impl Reaper {
    /// Starts in the network namespace of the calling thread, with what an earlier agent left to do.
    pub fn start() -> Result<Self, Error> {
        let mut netlink = Netlink::open()?;
        let worker = Netlink::open()?;
        let (queue, orders) = channel();
        for link in super::doomed(&mut netlink)? {
            let _ = queue.send(Order::Delete(link.index));
        }
        let thread = std::thread::Builder::new()
            .name("reaper".into())
            .spawn(move || work(worker, &orders))
            .map_err(|source| Error::Thread { source })?;
        Ok(Self { netlink, queue: Some(queue), thread: Some(thread) })
    }

    /// Has the host side `ifindex` deleted soon. It is set down and marked first: nothing passes it any more, with or
    /// without programs, and a new interface of the same name is not taken for it, whatever happens to this process.
    /// `false` when it is gone already.
    pub fn remove(&mut self, ifindex: u32) -> Result<bool, Error> {
        let mark = LinkChange { alias: Some(DELETED_ALIAS), up: Some(false), ..LinkChange::default() };
        match self.netlink.change_link(Target::Index(ifindex), &mark) {
            Err(error) if error.is_not_found() => return Ok(false),
            other => other?,
        }
        if let Some(queue) = &self.queue {
            let _ = queue.send(Order::Delete(ifindex));
        }
        Ok(true)
    }

    /// Waits until everything asked for so far is gone.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self.queue.as_ref().is_some_and(|queue| queue.send(Order::Flush(done)).is_ok()) {
            let _ = wait.recv();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(mut netlink: Netlink, orders: &Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        let mut indices = Vec::new();
        let mut waiting = Vec::new();
        for order in std::iter::once(first).chain(orders.try_iter()) {
            match order {
                Order::Delete(index) => indices.push(index),
                Order::Flush(done) => waiting.push(done),
            }
        }
        match netlink.delete_links(&indices) {
            Ok(count) => tracing::debug!(count, "pod interfaces deleted"),
            // They keep their mark: the next start tries again.
            Err(error) => tracing::warn!(%error, ?indices, "pod interfaces not deleted"),
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}
