//! The objects, one global version counter, and the history that watches read.
//!
//! Every object and every change is stored once and shared by `Arc`; its JSON text is made once too.
//! A watch holds only a position in the history of its resource. When it falls behind the window it
//! gets 410, exactly as a client of etcd does.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::meta;

#[cfg(test)]
mod tests;

/// Name of a collection: the plural, with `.group` behind it outside the core group.
pub type Shelf = Arc<str>;

/// Namespace (empty for cluster-scoped objects) and name.
pub type Key = (String, String);

/// How long a change is remembered at most: heartbeats must not pile up.
const KEPT: Duration = Duration::from_secs(600);

/// One version of one object.
#[derive(Debug)]
pub struct Stored {
    /// The resourceVersion of this version.
    pub rv: u64,
    /// The object itself.
    pub value: Value,
    json: OnceLock<Bytes>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One entry of the history.
#[derive(Debug)]
pub struct Event {
    /// The version at which it happened.
    pub rv: u64,
    /// What happened.
    pub change: Change,
    /// The object after the change; for a delete, its last state with the version of the delete.
    pub object: Arc<Stored>,
    /// The object before the change.
    pub previous: Option<Arc<Stored>>,
    at: Instant,
}

/// What a reader finds after its position.
pub enum Next {
    /// These events, maybe none yet.
    Events(Vec<Arc<Event>>),
    /// The history no longer reaches back that far; the oldest version still readable.
    Gone(u64),
}

struct Collection {
    objects: BTreeMap<Key, Arc<Stored>>,
    log: VecDeque<Arc<Event>>,
    /// Every event up to and including this version has been forgotten.
    forgotten: u64,
    tip: watch::Sender<u64>,
}

struct Inner {
    rv: u64,
    shelves: HashMap<Shelf, Collection>,
    window: usize,
    /// The version of the last compaction.
    compacted: u64,
}

/// All objects of the cluster, in memory.
pub struct Store {
    inner: RwLock<Inner>,
    epoch: watch::Sender<u64>,
}

/// A transaction: sees and changes everything, alone.
pub struct Tx<'a> {
    inner: &'a mut Inner,
}

// === impl Stored ===

impl Stored {
    /// Wraps a value that carries `rv` in its metadata.
    pub fn new(rv: u64, value: Value) -> Arc<Self> {
        Arc::new(Self { rv, value, json: OnceLock::new() })
    }

    /// The JSON text of the object, made on first use.
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| Bytes::from(serde_json::to_vec(&self.value).unwrap_or_default()))
    }
}

// === impl Collection ===

impl Collection {
    /// An empty one whose history reaches back to the last compaction: nothing ever happened here.
    fn new(compacted: u64) -> Self {
        let (objects, log) = (BTreeMap::new(), VecDeque::new());
        Self { objects, log, forgotten: compacted, tip: watch::Sender::new(compacted) }
    }

    fn record(&mut self, event: Event, window: usize) {
        let (rv, now) = (event.rv, event.at);
        self.log.push_back(Arc::new(event));
        let old = |e: &Arc<Event>| now.duration_since(e.at) > KEPT;
        while self.log.len() > window || self.log.front().is_some_and(old) {
            if let Some(old) = self.log.pop_front() {
                self.forgotten = old.rv;
            }
        }
        self.tip.send_replace(rv);
    }
}

// === impl Tx ===

impl Tx<'_> {
    /// The object, if there is one.
    pub fn get(&self, shelf: &str, ns: &str, name: &str) -> Option<Arc<Stored>> {
        self.inner.get(shelf, ns, name)
    }

    /// All objects of a collection, or of one namespace of it.
    pub fn list(&self, shelf: &str, ns: Option<&str>) -> Vec<Arc<Stored>> {
        self.inner.list(shelf, ns)
    }

    /// Writes an object under the name in its metadata and gives it the next version.
    pub fn put(&mut self, shelf: &Shelf, mut value: Value) -> Arc<Stored> {
        self.inner.rv += 1;
        let rv = self.inner.rv;
        let window = self.inner.window;
        meta::set_rv(&mut value, rv);
        let key = (meta::namespace(&value).to_owned(), meta::name(&value).to_owned());
        let stored = Stored::new(rv, value);
        let compacted = self.inner.compacted;
        let c = self.inner.shelves.entry(shelf.clone()).or_insert_with(|| Collection::new(compacted));
        let previous = c.objects.insert(key, stored.clone());
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        c.record(Event { rv, change, object: stored.clone(), previous, at: Instant::now() }, window);
        stored
    }

    /// Takes an object away; gives its last state, which carries the version of the removal.
    pub fn remove(&mut self, shelf: &str, ns: &str, name: &str) -> Option<Arc<Stored>> {
        let key = (ns.to_owned(), name.to_owned());
        let window = self.inner.window;
        let rv = self.inner.rv + 1;
        let c = self.inner.shelves.get_mut(shelf)?;
        let previous = c.objects.remove(&key)?;
        self.inner.rv = rv;
        let mut value = previous.value.clone();
        meta::set_rv(&mut value, rv);
        let last = Stored::new(rv, value);
        c.record(
            Event {
                rv,
                change: Change::Deleted,
                object: last.clone(),
                previous: Some(previous),
                at: Instant::now(),
            },
            window,
        );
        Some(last)
    }
}

// === impl Inner ===

impl Inner {
    fn get(&self, shelf: &str, ns: &str, name: &str) -> Option<Arc<Stored>> {
        self.shelves.get(shelf)?.objects.get(&(ns.to_owned(), name.to_owned())).cloned()
    }

    fn list(&self, shelf: &str, ns: Option<&str>) -> Vec<Arc<Stored>> {
        let Some(c) = self.shelves.get(shelf) else { return Vec::new() };
        match ns {
            None => c.objects.values().cloned().collect(),
            Some(ns) => c
                .objects
                .range((ns.to_owned(), String::new())..)
                .take_while(|((n, _), _)| n == ns)
                .map(|(_, o)| o.clone())
                .collect(),
        }
    }
}

// === impl Store ===

impl Store {
    /// An empty store that remembers `window` changes per collection.
    pub fn new(window: usize) -> Self {
        Self {
            inner: RwLock::new(Inner { rv: 1, shelves: HashMap::new(), window: window.max(1), compacted: 0 }),
            epoch: watch::Sender::new(0),
        }
    }

    fn read_lock(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_lock(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs `f` alone on everything. What `f` wrote before it failed stays written, so it checks first.
    pub fn write<T>(&self, f: impl FnOnce(&mut Tx<'_>) -> T) -> T {
        let mut guard = self.write_lock();
        f(&mut Tx { inner: &mut guard })
    }

    /// The version of the last change to anything.
    pub fn version(&self) -> u64 {
        self.read_lock().rv
    }

    /// The object, if there is one.
    pub fn get(&self, shelf: &str, ns: &str, name: &str) -> Option<Arc<Stored>> {
        self.read_lock().get(shelf, ns, name)
    }

    /// A consistent list and the version at which it was taken.
    pub fn list(&self, shelf: &str, ns: Option<&str>) -> (Vec<Arc<Stored>>, u64) {
        let inner = self.read_lock();
        (inner.list(shelf, ns), inner.rv)
    }

    /// Events of a collection after version `after`, at most `max` of them.
    pub fn after(&self, shelf: &str, after: u64, max: usize) -> Next {
        let inner = self.read_lock();
        let Some(c) = inner.shelves.get(shelf) else { return Next::Events(Vec::new()) };
        if after < c.forgotten {
            return Next::Gone(c.forgotten);
        }
        let from = c.log.partition_point(|e| e.rv <= after);
        Next::Events(c.log.range(from..).take(max).cloned().collect())
    }

    /// Tells when a collection changed.
    pub fn tip(&self, shelf: &Shelf) -> watch::Receiver<u64> {
        let mut inner = self.write_lock();
        let compacted = inner.compacted;
        inner.shelves.entry(shelf.clone()).or_insert_with(|| Collection::new(compacted)).tip.subscribe()
    }

    /// Tells when all watches are to be dropped.
    pub fn epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Forgets the whole history: every watch that resumes from an older version gets 410.
    pub fn compact(&self) {
        let mut inner = self.write_lock();
        inner.rv += 1;
        let rv = inner.rv;
        inner.compacted = rv;
        for c in inner.shelves.values_mut() {
            c.log.clear();
            c.forgotten = rv;
        }
    }

    /// Ends every open watch.
    pub fn drop_watches(&self) {
        self.epoch.send_modify(|e| *e += 1);
    }

    /// Changes how many changes a collection remembers.
    pub fn set_window(&self, window: usize) {
        self.write_lock().window = window.max(1);
    }
}
