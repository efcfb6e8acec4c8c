//! Numbers that are indices of an array, for whoever has a key.

use std::hash::Hash;

use pleopod_abi::lb::{backend_index, next_backend_id};

use crate::mirror::Rows;

/// Numbers whose index is from 1 to below a limit. An index is used again as late as possible.
#[derive(Debug)]
pub struct Numbers<K> {
    of: Rows<K, Number>,
    /// By index: the number it had last, and whether somebody has it or it rests.
    places: Vec<Place>,
    /// Where the search for a free index goes on.
    next: u32,
    limit: u32,
    /// Whether an index that is used again makes another number ([`next_backend_id`]); else the number is the index.
    renewed: bool,
    taken: u32,
    /// Somebody got none.
    short: bool,
}

#[derive(Clone, Copy, Debug)]
struct Number {
    number: u32,
    uses: u32,
    /// How often its last use has ended: who waits for it to have rested can tell whether it was used again meanwhile.
    ends: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    last: Option<u32>,
    taken: bool,
}

// === impl Numbers ===

impl<K: Copy + Eq + Hash> Numbers<K> {
    /// Numbers that are indices below `limit`.
    pub fn plain(limit: u32) -> Self {
        Self {
            of: Rows::default(),
            places: Vec::new(),
            next: 1,
            limit,
            renewed: false,
            taken: 0,
            short: false,
        }
    }

    /// Numbers of backends with indices below `limit`, which mean the same backend for ever, or as good as.
    pub fn renewed(limit: u32) -> Self {
        Self { renewed: true, ..Self::plain(limit) }
    }

    /// The number of `key`, if it has one.
    pub fn get(&self, key: &K) -> Option<u32> {
        self.of.get(key).map(|n| n.number)
    }

    /// The number of `key`, a new one when it has none; `None` when there is none left.
    pub fn of(&mut self, key: K) -> Option<u32> {
        if let Some(found) = self.of.get(&key) {
            return Some(found.number);
        }
        let Some(number) = self.fresh() else {
            self.short = true;
            return None;
        };
        self.of.insert(key, Number { number, uses: 0, ends: 0 });
        Some(number)
    }

    /// One more use of `key`. Answers its number.
    pub fn hold(&mut self, key: K) -> Option<u32> {
        let number = self.of(key)?;
        self.of.get_mut(&key)?.uses += 1;
        Some(number)
    }

    /// One use less; whether it was the last.
    pub fn release(&mut self, key: &K) -> bool {
        let Some(number) = self.of.get_mut(key) else { return false };
        number.uses = number.uses.saturating_sub(1);
        number.uses == 0
    }

    /// The last use of `key` has ended. What is answered is for [`Self::rested`].
    pub fn rest(&mut self, key: &K) -> Option<u32> {
        let number = self.of.get_mut(key)?;
        number.ends = number.ends.wrapping_add(1);
        Some(number.ends)
    }

    /// Whether nobody uses `key`.
    pub fn is_idle(&self, key: &K) -> bool {
        self.of.get(key).is_none_or(|n| n.uses == 0)
    }

    /// Every key with its number.
    pub fn all(&self) -> impl Iterator<Item = (K, u32)> {
        self.of.iter().map(|(key, number)| (*key, number.number))
    }

    /// The keys that nobody uses.
    pub fn idle(&self) -> impl Iterator<Item = K> {
        self.of.iter().filter(|(_, number)| number.uses == 0).map(|(key, _)| *key)
    }

    /// Whether somebody got no number since the last time one was given back.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Whether somebody has the index of `number`.
    pub fn has(&self, number: u32) -> bool {
        self.places.get(backend_index(number) as usize).is_some_and(|p| p.taken)
    }

    /// Notes a number that the kernel holds already.
    pub fn take(&mut self, key: K, number: u32) {
        if self.of.contains_key(&key) || !self.last(backend_index(number), number) {
            return;
        }
        let place = &mut self.places[backend_index(number) as usize];
        if !place.taken {
            place.taken = true;
            self.taken += 1;
            self.of.insert(key, Number { number, uses: 0, ends: 0 });
        }
    }

    /// Notes the number that an index had last. `false`: there is no such index.
    pub fn last(&mut self, index: u32, number: u32) -> bool {
        if index == 0 || index >= self.limit {
            return false;
        }
        self.place(index).last = Some(number);
        true
    }

    /// Takes the number away from `key`, if nobody used it since [`Self::rest`] answered `end`. Answers it.
    pub fn rested(&mut self, key: &K, end: u32) -> Option<u32> {
        let number = self.of.get(key).filter(|n| n.uses == 0 && n.ends == end)?.number;
        self.of.remove(key);
        let place = self.place(backend_index(number));
        if place.taken {
            place.taken = false;
            self.taken -= 1;
            self.short = false;
        }
        Some(number)
    }

    fn place(&mut self, index: u32) -> &mut Place {
        if self.places.len() <= index as usize {
            self.places.resize(index as usize + 1, Place::default());
        }
        &mut self.places[index as usize]
    }

    fn fresh(&mut self) -> Option<u32> {
        if self.taken + 1 >= self.limit {
            return None;
        }
        // One is free, so this ends.
        let index = loop {
            let index = self.next;
            self.next = if index + 1 < self.limit { index + 1 } else { 1 };
            if !self.place(index).taken {
                break index;
            }
        };
        self.taken += 1;
        let renewed = self.renewed;
        let place = self.place(index);
        place.taken = true;
        let number = place.last.filter(|_| renewed).map_or(index, next_backend_id);
        place.last = Some(number);
        Some(number)
    }
}
