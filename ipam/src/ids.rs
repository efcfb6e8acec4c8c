//! Endpoint numbers: 1 to 65535, each given again as late as possible.

use std::collections::BTreeMap;

use crate::{Error, Owner};

/// The endpoint numbers of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointIds {
    /// Where the search starts.
    next: u16,
    used: BTreeMap<u16, Owner>,
}

// === impl EndpointIds ===

impl EndpointIds {
    /// All free; the first one given is `next` (0 reads as 1).
    pub fn new(next: u16) -> Self {
        Self { next: next.max(1), used: BTreeMap::new() }
    }

    /// The next free number, going round.
    pub fn allocate(&mut self, owner: Owner) -> Result<u16, Error> {
        let mut id = self.next;
        for _ in 0..u16::MAX {
            let following = id.checked_add(1).unwrap_or(1);
            if let std::collections::btree_map::Entry::Vacant(free) = self.used.entry(id) {
                free.insert(owner);
                self.next = following;
                return Ok(id);
            }
            id = following;
        }
        Err(Error::NoEndpointId)
    }

    /// Takes one number that is known to be in use, as on restore.
    pub fn take(&mut self, id: u16, owner: Owner) -> Result<(), Error> {
        match self.used.get(&id) {
            Some(holder) if *holder != owner => Err(Error::EndpointIdTaken { id, owner: holder.clone() }),
            _ => {
                self.used.insert(id, owner);
                Ok(())
            }
        }
    }

    /// Frees one number. Freeing a free one changes nothing.
    pub fn release(&mut self, id: u16) {
        self.used.remove(&id);
    }

    /// The number that `owner` holds, if any.
    pub fn of(&self, owner: &Owner) -> Option<u16> {
        self.used.iter().find(|(_, holder)| *holder == owner).map(|(id, _)| *id)
    }

    /// Where the next search starts.
    pub fn next(&self) -> u16 {
        self.next
    }

    /// Numbers in use, with their holders.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Owner)> {
        self.used.iter().map(|(id, owner)| (*id, owner))
    }
}
