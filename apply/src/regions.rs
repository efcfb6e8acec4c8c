//! Which parts of an array are taken: regions of places for the tables of frontends.
//!
//! Best fit: a region goes where the least is left over, at the lowest place among equals, so small tables fill the holes
//! that small tables left. Free regions that touch become one. Nothing is written anywhere: after a restart what the
//! kernel's rows name is [claimed](Regions::claim) again.

use std::collections::{BTreeMap, BTreeSet};

/// Places `0..size` of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// Start and length of free regions; no two touch.
    free: BTreeMap<u32, u32>,
    /// The same, shortest first.
    by_length: BTreeSet<(u32, u32)>,
    size: u32,
    left: u32,
}

/// What was asked for is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// [`Regions::claim`] of what somebody has, or of what is not in the array.
    #[error("places {at} to {at}+{length} are taken already, or not there")]
    Taken {
        /// First place.
        at: u32,
        /// How many.
        length: u32,
    },
    /// [`Regions::give`] of what nobody has.
    #[error("places {at} to {at}+{length} are not taken as a whole")]
    NotTaken {
        /// First place.
        at: u32,
        /// How many.
        length: u32,
    },
}

// === impl Regions ===

impl Regions {
    /// All of them free.
    pub fn new(size: u32) -> Self {
        let mut regions = Self { free: BTreeMap::new(), by_length: BTreeSet::new(), size, left: 0 };
        regions.insert(0, size);
        regions
    }

    /// Takes `length` places in a row and answers the first; `None` when there is no such row. No places are at 0.
    pub fn take(&mut self, length: u32) -> Option<u32> {
        if length == 0 {
            return Some(0);
        }
        let (found, at) = *self.by_length.range((length, 0)..).next()?;
        self.remove(at, found);
        self.insert(at + length, found - length);
        Some(at)
    }

    /// Takes these places, which somebody has had since before.
    ///
    /// # Errors
    /// When one of them is taken, or is not in the array; then none is.
    pub fn claim(&mut self, at: u32, length: u32) -> Result<(), RegionError> {
        if length == 0 {
            return Ok(());
        }
        let taken = RegionError::Taken { at, length };
        let end = at.checked_add(length).ok_or(taken)?;
        let (start, found) = self.free.range(..=at).next_back().map(|(s, l)| (*s, *l)).ok_or(taken)?;
        if start + found < end {
            return Err(taken);
        }
        self.remove(start, found);
        self.insert(start, at - start);
        self.insert(end, start + found - end);
        Ok(())
    }

    /// Gives these places back.
    ///
    /// # Errors
    /// When one of them is free already, or is not in the array; then nothing changes.
    pub fn give(&mut self, at: u32, length: u32) -> Result<(), RegionError> {
        if length == 0 {
            return Ok(());
        }
        let not_taken = RegionError::NotTaken { at, length };
        let end = at.checked_add(length).filter(|end| *end <= self.size).ok_or(not_taken)?;
        let before = self.free.range(..end).next_back().map(|(s, l)| (*s, *l));
        if before.is_some_and(|(start, found)| start + found > at) {
            return Err(not_taken);
        }
        let (mut start, mut stop) = (at, end);
        if let Some((s, l)) = before.filter(|(s, l)| s + l == at) {
            self.remove(s, l);
            start = s;
        }
        if let Some(l) = self.free.get(&end).copied() {
            self.remove(end, l);
            stop = end + l;
        }
        self.insert(start, stop - start);
        Ok(())
    }

    /// How many places are free.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The longest row of free places.
    pub fn longest(&self) -> u32 {
        self.by_length.last().map_or(0, |(length, _)| *length)
    }

    fn insert(&mut self, at: u32, length: u32) {
        if length > 0 {
            self.free.insert(at, length);
            self.by_length.insert((length, at));
            self.left += length;
        }
    }

    fn remove(&mut self, at: u32, length: u32) {
        self.free.remove(&at);
        self.by_length.remove(&(length, at));
        self.left -= length;
    }
}

#[cfg(test)]
mod tests;
