//! A map in memory that checks what is done to it, for tests of this room.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;
use std::sync::{Arc, Mutex};

use crate::mirror::Backing;

/// A map that outlives its users, as a pinned one does, and fails for keys it is told to fail for.
pub struct Fake<K, V>(Arc<Mutex<State<K, V>>>);

/// Looks at the rows.
type Watch<K, V> = Box<dyn Fn(&HashMap<K, V>) + Send>;

pub struct State<K, V> {
    pub rows: HashMap<K, V>,
    pub fail: HashSet<K>,
    /// How many rows there may be.
    pub room: Option<usize>,
    pub calls: usize,
    /// Called before every single write or removal, with the rows as they are.
    pub watch: Option<Watch<K, V>>,
}

impl<K, V> Clone for Fake<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Fake<K, V> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            rows: HashMap::new(),
            fail: HashSet::new(),
            room: None,
            calls: 0,
            watch: None,
        })))
    }
}

impl<K: Clone, V: Clone> Fake<K, V> {
    pub fn with<T>(&self, f: impl FnOnce(&mut State<K, V>) -> T) -> T {
        f(&mut self.0.lock().expect("not poisoned"))
    }

    pub fn rows(&self) -> HashMap<K, V> {
        self.with(|s| s.rows.clone())
    }
}

impl<K: Copy + Eq + Hash + Send + 'static, V: Copy + Send + 'static> Backing<K, V> for Fake<K, V> {
    fn read(&self) -> io::Result<Vec<(K, V)>> {
        Ok(self.with(|s| s.rows.iter().map(|(k, v)| (*k, *v)).collect()))
    }

    fn write(&mut self, rows: &[(K, V)]) -> Vec<(usize, io::Error)> {
        self.each(rows.iter().map(|(k, _)| *k), |s, i| {
            let full = s.room.is_some_and(|room| s.rows.len() >= room);
            if full && !s.rows.contains_key(&rows[i].0) {
                return false;
            }
            s.rows.insert(rows[i].0, rows[i].1);
            true
        })
    }

    fn remove(&mut self, keys: &[K]) -> Vec<(usize, io::Error)> {
        self.each(keys.iter().copied(), |s, i| {
            s.rows.remove(&keys[i]);
            true
        })
    }
}

impl<K: Copy + Eq + Hash, V> Fake<K, V> {
    fn each(
        &self,
        keys: impl Iterator<Item = K>,
        f: impl Fn(&mut State<K, V>, usize) -> bool,
    ) -> Vec<(usize, io::Error)> {
        let mut state = self.0.lock().expect("not poisoned");
        let mut failed = Vec::new();
        for (i, key) in keys.enumerate() {
            state.calls += 1;
            if let Some(watch) = &state.watch {
                watch(&state.rows);
            }
            if state.fail.contains(&key) || !f(&mut state, i) {
                failed.push((i, io::Error::from_raw_os_error(7)));
            }
        }
        failed
    }
}
