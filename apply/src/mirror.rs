//! One kernel map beside its copy in memory.
//!
//! The copy is what the kernel was last seen to hold. A pass compares with it and writes only what differs, so that a
//! small change costs a few system calls whatever the size of the map. [`Mirror::load`] reads the kernel anew.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::io;

use foldhash::fast::RandomState;

/// Rows of a map. Hashing them is most of what a pass over many costs, so the hash is a fast one; its seed is the process's own.
pub type Rows<K, V> = HashMap<K, V, RandomState>;

/// A map of the kernel, as far as a mirror needs it. `K` and `V` are records of `pleopod-abi`.
pub trait Backing<K, V>: Send {
    /// Every row.
    fn read(&self) -> io::Result<Vec<(K, V)>>;
    /// Writes rows; answers which failed, by position.
    fn write(&mut self, rows: &[(K, V)]) -> Vec<(usize, io::Error)>;
    /// Removes rows; a row that is not there is removed. Answers which failed, by position.
    fn remove(&mut self, keys: &[K]) -> Vec<(usize, io::Error)>;
}

/// A map and its copy.
pub struct Mirror<K, V> {
    name: &'static str,
    backing: Box<dyn Backing<K, V>>,
    rows: Rows<K, V>,
    errors: Rows<K, String>,
}

// === impl Mirror ===

impl<K, V> Mirror<K, V>
where
    K: Copy + Eq + Hash + Debug + 'static,
    V: Copy + PartialEq + 'static,
{
    /// A mirror of `backing`; empty until [`Self::load`].
    pub fn new(name: &'static str, backing: Box<dyn Backing<K, V>>) -> Self {
        Self { name, backing, rows: Rows::default(), errors: Rows::default() }
    }

    /// Name of the map, without `pleo_`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Reads the kernel's map anew.
    pub fn load(&mut self) -> io::Result<()> {
        self.rows = self.backing.read()?.into_iter().collect();
        Ok(())
    }

    /// What the kernel holds.
    pub fn rows(&self) -> &Rows<K, V> {
        &self.rows
    }

    /// One row.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Rows that could not be written or removed, with why.
    pub fn errors(&self) -> &Rows<K, String> {
        &self.errors
    }

    /// Takes the kernel's row for another than it is, so that the next pass writes it.
    pub fn see(&mut self, key: K, value: V) {
        self.rows.insert(key, value);
    }

    /// Notes why a row can't be as it should, which then is an error of the row until it is written.
    pub fn fail(&mut self, key: K, why: String) {
        self.errors.insert(key, why);
    }

    /// Writes those of `rows` that differ. Answers how many were written.
    pub fn put(&mut self, rows: impl IntoIterator<Item = (K, V)>) -> usize {
        let rows = rows.into_iter();
        let mut differing = Vec::with_capacity(if self.rows.is_empty() { rows.size_hint().0 } else { 0 });
        for (key, value) in rows {
            if self.rows.get(&key) != Some(&value) {
                differing.push((key, value));
            } else if !self.errors.is_empty() {
                // The kernel holds it as wanted, whatever failed before.
                self.errors.remove(&key);
            }
        }
        if differing.is_empty() {
            return 0;
        }
        let failed = self.backing.write(&differing);
        let failures = self.note(failed, |i| differing[i].0, "writing");
        if !self.errors.is_empty() {
            differing.retain(|(key, _)| !failures.contains(key));
            for (key, _) in &differing {
                self.errors.remove(key);
            }
        }
        let written = differing.len();
        self.rows.extend(differing);
        written
    }

    /// Removes those of `keys` that are there. Answers how many were removed.
    pub fn delete(&mut self, keys: impl IntoIterator<Item = K>) -> usize {
        let mut present = Vec::new();
        for key in keys {
            if self.rows.contains_key(&key) {
                present.push(key);
            } else {
                // A row that never came to be has nothing left to complain about.
                self.errors.remove(&key);
            }
        }
        if present.is_empty() {
            return 0;
        }
        let failed = self.backing.remove(&present);
        let failures = self.note(failed, |i| present[i], "removing");
        let mut removed = 0;
        for key in present {
            if !failures.contains(&key) {
                self.errors.remove(&key);
                self.rows.remove(&key);
                removed += 1;
            }
        }
        removed
    }

    /// Keys the kernel holds, or failed to take, and `desired` does not have.
    pub fn surplus(&self, desired: &HashMap<K, V>) -> Vec<K> {
        self.rows.keys().chain(self.errors.keys()).filter(|k| !desired.contains_key(k)).copied().collect()
    }

    /// Makes the map hold `desired` and nothing else: first what is written, then what goes, last what found no room
    /// before that.
    pub fn converge(&mut self, desired: &HashMap<K, V>) -> usize {
        let surplus = self.surplus(desired);
        let written = self.put(desired.iter().map(|(k, v)| (*k, *v)));
        let removed = self.delete(surplus);
        let again: Vec<(K, V)> = match removed {
            0 => Vec::new(),
            _ => self.errors.keys().filter_map(|k| Some((*k, *desired.get(k)?))).collect(),
        };
        written + removed + self.put(again)
    }

    fn note(&mut self, failed: Vec<(usize, io::Error)>, key: impl Fn(usize) -> K, doing: &str) -> HashSet<K> {
        let mut keys = HashSet::new();
        for (i, error) in failed {
            let key = key(i);
            self.errors.insert(key, format!("{doing}: {}", explain(&error)));
            keys.insert(key);
        }
        keys
    }
}

/// An error as a person wants it: a full map is the common one and has a remedy.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(7 /* E2BIG: hash map full */) | Some(28 /* ENOSPC: LPM trie full */) => {
            "the map is full; `pleopod map list` says how many entries it holds at most".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn a_full_map_takes_what_it_can_and_the_rest_once_there_is_room() {
        let map: Fake<u32, u32> = Fake::default();
        map.with(|s| {
            s.rows = HashMap::from([(1, 1), (2, 2)]);
            s.room = Some(3);
        });
        let mut mirror = Mirror::new("test", Box::new(map.clone()));
        mirror.load().expect("read");
        let wanted: HashMap<u32, u32> = (1..=5).map(|n| (n, n)).collect();
        assert_eq!(mirror.converge(&wanted), 1, "there was room for one");
        assert_eq!(mirror.errors().len(), 2);
        assert!(mirror.errors().values().all(|why| why.starts_with("writing: the map is full; ")));
        // Rows go and others come in the same pass.
        let wanted: HashMap<u32, u32> = (4..=6).map(|n| (n, n)).collect();
        mirror.converge(&wanted);
        assert_eq!((map.rows(), mirror.errors().len()), (wanted, 0));
    }
}
