//! Who has what only one can have.
//!
//! The older Service has it, then the first by name; it goes to the next when that one goes. What the others would put
//! there is kept, and is always what they ask for now.

use std::collections::BTreeMap;

use pleopod_model::ObjectName;
use pleopod_model::desired::Frontend;

/// Age and name: who comes first has it.
pub(super) type Rank = (i64, ObjectName);

/// Something that belongs to one Service.
pub(super) trait Owned {
    fn owner(&self) -> &ObjectName;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contest<K, V> {
    /// What is in force.
    held: BTreeMap<K, V>,
    /// What those ask for who came too late. Only keys that are asked for more than once.
    waiting: BTreeMap<K, BTreeMap<Rank, V>>,
}

// === impl Contest ===

impl<K: Ord + Copy, V: Owned + PartialEq> Contest<K, V> {
    pub fn held(&self) -> &BTreeMap<K, V> {
        &self.held
    }

    pub fn into_held(self) -> BTreeMap<K, V> {
        self.held
    }

    /// Key, who has it, and one who does not get it.
    pub fn lost(&self) -> impl Iterator<Item = (K, &V, &V)> {
        let lost = |(key, waiting): (&K, _)| Some((*key, self.held.get(key)?, waiting));
        let lost = self.waiting.iter().filter_map(lost);
        lost.flat_map(|(key, held, waiting): (K, &V, &BTreeMap<Rank, V>)| {
            waiting.values().map(move |loser| (key, held, loser))
        })
    }

    /// Asks for `key`, or changes what was asked for. `created` tells the age of a Service. Answers whether what is in
    /// force changed.
    pub fn claim(&mut self, key: K, rank: &Rank, value: V, created: impl Fn(&ObjectName) -> i64) -> bool {
        let Some(holder) = self.held.get_mut(&key) else {
            self.held.insert(key, value);
            return true;
        };
        if *holder.owner() == rank.1 {
            let differs = *holder != value;
            *holder = value;
            return differs;
        }
        let before = (created(holder.owner()), holder.owner().clone());
        if *rank > before {
            self.waiting.entry(key).or_default().insert(rank.clone(), value);
            return false;
        }
        let waiting = self.waiting.entry(key).or_default();
        waiting.remove(rank);
        waiting.insert(before, std::mem::replace(holder, value));
        true
    }

    /// Asks for `key` no longer. Answers whether what is in force changed.
    pub fn withdraw(&mut self, key: &K, rank: &Rank) -> bool {
        let holds = self.held.get(key).is_some_and(|held| *held.owner() == rank.1);
        let mut heir = None;
        if let Some(waiting) = self.waiting.get_mut(key) {
            if holds {
                heir = waiting.pop_first();
            } else {
                waiting.remove(rank);
            }
            if waiting.is_empty() {
                self.waiting.remove(key);
            }
        }
        if let Some((_, value)) = heir {
            self.held.insert(*key, value);
        } else if holds {
            self.held.remove(key);
        }
        holds
    }
}

impl<K, V> Default for Contest<K, V> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), waiting: BTreeMap::new() }
    }
}

// === impl Owned ===

impl Owned for Frontend {
    fn owner(&self) -> &ObjectName {
        &self.service
    }
}
