//! `pleo_lb_table` beside its copy in memory, and who has which part of it.

use std::io;

use pleopod_abi::lb::LbRegion;

use crate::mirror::Backing;
use crate::regions::Regions;

/// The array of numbers.
pub struct Table {
    backing: Box<dyn Backing<u32, u32>>,
    /// What the kernel holds, as far as it was ever used.
    copy: Vec<u32>,
    regions: Regions,
    size: u32,
}

// === impl Table ===

impl Table {
    /// Of `size` entries.
    pub fn new(backing: Box<dyn Backing<u32, u32>>, size: u32) -> Self {
        Self { backing, copy: Vec::new(), regions: Regions::new(size), size }
    }

    /// Reads the array as far as `end`. All of it is free until it is [claimed](Self::claim).
    pub fn load(&mut self, end: u32) -> io::Result<()> {
        let end = end.min(self.size);
        self.copy = vec![0; end as usize];
        if end > 0 {
            for (at, number) in self.backing.read()? {
                if let Some(place) = self.copy.get_mut(at as usize) {
                    *place = number;
                }
            }
        }
        self.regions = Regions::new(self.size);
        Ok(())
    }

    /// Takes a region that somebody has. `false`: another has a part of it, or it is not there.
    pub fn claim(&mut self, region: LbRegion) -> bool {
        self.regions.claim(region.at, region.len).is_ok()
    }

    /// What a region holds.
    pub fn read(&self, region: LbRegion) -> &[u32] {
        let end = region.at.saturating_add(region.len) as usize;
        self.copy.get(region.at as usize..end).unwrap_or_default()
    }

    /// A free region, which is now taken. `None`: no room.
    pub fn take(&mut self, len: u32) -> Option<LbRegion> {
        self.regions.take(len).map(|at| LbRegion { at, len })
    }

    /// Gives a region back.
    pub fn give(&mut self, region: LbRegion) {
        let given = self.regions.give(region.at, region.len);
        debug_assert!(given.is_ok(), "{region:?} was not taken");
    }

    /// Writes entries. Answers how many were written; those that were not are 0, which is nobody.
    pub fn write(&mut self, entries: &[(u32, u32)]) -> usize {
        let Some(end) = entries.iter().map(|(at, _)| *at as usize + 1).max() else { return 0 };
        if self.copy.len() < end {
            self.copy.resize(end, 0);
        }
        let failed = self.backing.write(entries);
        for (at, number) in entries {
            self.copy[*at as usize] = *number;
        }
        for (position, _) in &failed {
            // Not what it should be: the next full pass finds it different, and writes anew.
            self.copy[entries[*position].0 as usize] = 0;
        }
        entries.len() - failed.len()
    }

    /// Places that are taken, and all.
    pub fn usage(&self) -> (u32, u32) {
        (self.size - self.regions.left(), self.size)
    }
}
