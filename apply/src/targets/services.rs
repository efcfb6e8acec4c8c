//! `pleo_lb_fe` and `pleo_lb_slot`: Services for the socket hooks.
//!
//! Order of writes, so that a connection made in the middle finds a whole Service: backends that are to be chosen take
//! their slots, then frontends get their counts, then frontends that are gone go, then slots beyond the counts. A
//! backend that stays keeps its slot where it can.
//!
//! Numbers of Services and backends survive the agent: they are read back from the kernel.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;

use pleopod_abi::lb::{LbBackend, LbFrontendKey, LbFrontendValue, LbSlotKey};
use pleopod_model::desired::{Frontend, FrontendKey, Scope};

use crate::encode::service::{self, BackendKey};
use crate::mirror::{Backing, Mirror, Rows};

mod addresses;
#[cfg(test)]
mod tests;

/// The two maps and the numbers given out.
pub struct Services {
    frontends: Mirror<LbFrontendKey, LbFrontendValue>,
    slots: Mirror<LbSlotKey, LbBackend>,
    service_ids: Numbers<LbFrontendKey>,
    /// A backend is used once for each frontend it stands in.
    backend_ids: Numbers<BackendKey>,
    /// Backends of each frontend, those that are not chosen included, as last applied.
    backends: Rows<LbFrontendKey, Vec<BackendKey>>,
}

/// What one pass did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows written or removed.
    pub changed: usize,
    /// Backends that no frontend has any more.
    pub removed: Vec<BackendKey>,
}

/// Numbers from 1 on, each key its own, given again only when they run out.
#[derive(Debug)]
struct Numbers<K> {
    of: Rows<K, Number>,
    next: u32,
    /// The largest number was reached: from now on a number may be taken.
    wrapped: bool,
}

/// A number, and how often its key is used.
#[derive(Clone, Copy, Debug)]
struct Number {
    number: u32,
    uses: u32,
}

/// What a pass is going to write and remove.
#[derive(Debug, Default)]
struct Work {
    new_slots: Vec<(LbSlotKey, LbBackend)>,
    new_frontends: Vec<(LbFrontendKey, LbFrontendValue)>,
    old_frontends: Vec<LbFrontendKey>,
    old_slots: Vec<LbSlotKey>,
    /// How many slots each number that is touched has from now on. Filled only while there are slots that failed.
    counts: HashMap<u32, u32>,
}

// === impl Services ===

impl Services {
    /// Over the two maps; call [`Self::load`] before the first pass.
    pub fn new(
        frontends: Box<dyn Backing<LbFrontendKey, LbFrontendValue>>,
        slots: Box<dyn Backing<LbSlotKey, LbBackend>>,
    ) -> Self {
        Self {
            frontends: Mirror::new("lb_fe", frontends),
            slots: Mirror::new("lb_slot", slots),
            service_ids: Numbers::new(),
            backend_ids: Numbers::new(),
            backends: Rows::default(),
        }
    }

    /// Reads the kernel: what it holds, and the numbers that are taken.
    pub fn load(&mut self) -> io::Result<()> {
        self.frontends.load()?;
        self.slots.load()?;
        for value in self.slots.rows().values() {
            if let Some(backend) = service::backend_of(value) {
                self.backend_ids.take(backend, value.backend_id);
            }
        }
        for (key, value) in self.frontends.rows().iter().filter(|(key, _)| service::address_of(key).is_none())
        {
            self.service_ids.take(*key, value.service_id);
            if let Entry::Vacant(entry) = self.backends.entry(*key) {
                let slot = |slot| self.slots.get(&LbSlotKey { service_id: value.service_id, slot });
                // A count from the kernel says nothing about how many rows there really are.
                let count = (self.slots.rows().len() as u32).min(value.backend_count);
                let all: Vec<BackendKey> =
                    (0..count).filter_map(slot).filter_map(service::backend_of).collect();
                for backend in &all {
                    self.backend_ids.hold(*backend);
                }
                entry.insert(all);
            }
        }
        Ok(())
    }

    /// Makes the maps hold `desired` and nothing else.
    pub fn converge(&mut self, desired: &BTreeMap<FrontendKey, Frontend>) -> Outcome {
        let mut outcome = self.converge_once(desired);
        // What found no room may have it now that others are gone.
        if outcome.changed > 0 && !(self.frontends.errors().is_empty() && self.slots.errors().is_empty()) {
            let Outcome { changed, removed } = self.converge_once(desired);
            outcome.changed += changed;
            outcome.removed.extend(removed);
        }
        outcome
    }

    fn converge_once(&mut self, desired: &BTreeMap<FrontendKey, Frontend>) -> Outcome {
        let held = self.frontends.rows().keys().chain(self.frontends.errors().keys());
        let gone: BTreeSet<FrontendKey> =
            held.filter_map(service::frontend_of).filter(|key| !desired.contains_key(key)).collect();
        let wanted = desired.iter().map(|(key, frontend)| (*key, Some(frontend)));
        let mut outcome = self.pass(wanted.chain(gone.into_iter().map(|key| (key, None))));
        // Slots of no frontend: left by an agent that died between two writes. Every slot that is counted is there.
        let counted: u64 = self.frontends.rows().values().map(|f| u64::from(f.backend_count)).sum();
        if counted != self.slots.rows().len() as u64 || !self.slots.errors().is_empty() {
            let owned: Rows<u32, u32> =
                self.frontends.rows().values().map(|f| (f.service_id, f.backend_count)).collect();
            let stray = |s: &&LbSlotKey| owned.get(&s.service_id).is_none_or(|count| s.slot >= *count);
            let stray: Vec<LbSlotKey> = self.slots.rows().keys().filter(stray).copied().collect();
            outcome.changed += self.slots.delete(stray);
        }
        outcome.changed += self.all_addresses(desired);
        outcome
    }

    /// Makes the maps hold what `desired` says of the frontends `keys`, leaving all others alone.
    pub fn converge_some(
        &mut self,
        desired: &BTreeMap<FrontendKey, Frontend>,
        keys: &BTreeSet<FrontendKey>,
    ) -> Outcome {
        let mut outcome = self.pass(keys.iter().map(|key| (*key, desired.get(key))));
        outcome.changed += self.some_addresses(desired, keys);
        outcome
    }

    /// Makes the maps hold these frontends; `None` is one that goes.
    fn pass<'a>(&mut self, frontends: impl Iterator<Item = (FrontendKey, Option<&'a Frontend>)>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut work = Work::default();
        for (key, frontend) in frontends {
            match frontend.filter(|frontend| service::is_served(frontend.kind)) {
                Some(frontend) => self.wanted(&key, frontend, &mut work, &mut outcome.removed),
                None => self.unwanted(&key, &mut work, &mut outcome.removed),
            }
        }
        let Work { new_slots, new_frontends, old_frontends, mut old_slots, mut counts } = work;
        outcome.changed += self.slots.put(new_slots);
        // A frontend whose slots could not all be written keeps its old count rather than lead into nothing.
        let mut broken: HashSet<u32> = HashSet::new();
        if !self.slots.errors().is_empty() {
            counts.extend(new_frontends.iter().map(|(_, v)| (v.service_id, v.backend_count)));
            for key in self.slots.errors().keys() {
                match counts.get(&key.service_id) {
                    Some(count) if key.slot < *count => drop(broken.insert(key.service_id)),
                    // A slot that failed once and is not wanted any more has nothing left to complain about.
                    Some(_) => old_slots.push(*key),
                    None => {}
                }
            }
        }
        outcome.changed +=
            self.frontends.put(new_frontends.into_iter().filter(|(_, v)| !broken.contains(&v.service_id)));
        outcome.changed += self.frontends.delete(old_frontends.iter().copied());
        old_slots.retain(|k| !broken.contains(&k.service_id));
        outcome.changed += self.slots.delete(old_slots);
        for key in old_frontends {
            self.service_ids.free(&key);
        }
        outcome.removed.retain(|backend| self.backend_ids.is_idle(backend));
        outcome.removed.sort();
        outcome.removed.dedup();
        for backend in &outcome.removed {
            self.backend_ids.free(backend);
        }
        outcome
    }

    /// Notes what is to be written for a frontend, and what is to be removed after it.
    fn wanted(
        &mut self,
        key: &FrontendKey,
        frontend: &Frontend,
        work: &mut Work,
        removed: &mut Vec<BackendKey>,
    ) {
        let abi_key = service::frontend_key(key);
        let before = self.frontends.get(&abi_key).copied();
        let id = before.map_or_else(|| self.service_ids.of(abi_key), |f| f.service_id);
        let count = before.map_or(0, |f| f.backend_count);
        self.account(abi_key, Some((key, frontend)), removed);
        let chosen = self.arrange(
            id,
            count,
            frontend.chosen(Scope::Inside).map(|b| (b.address, key.protocol)).collect(),
        );
        let now = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        let complaints = !self.slots.errors().is_empty();
        for (slot, backend) in (0u32..).zip(chosen) {
            let key = LbSlotKey { service_id: id, slot };
            let held = if slot < count { self.slots.get(&key).and_then(service::backend_of) } else { None };
            if complaints || held != Some(backend) {
                work.new_slots.push((key, service::backend(&backend, self.backend_ids.of(backend))));
            }
        }
        work.old_slots.extend((now..count).map(|slot| LbSlotKey { service_id: id, slot }));
        let flags = service::flags(frontend);
        let affinity_timeout = frontend.affinity.unwrap_or(0);
        let value = LbFrontendValue { service_id: id, backend_count: now, flags, affinity_timeout };
        if complaints {
            work.counts.insert(id, now);
        }
        if before != Some(value) || !self.frontends.errors().is_empty() {
            work.new_frontends.push((abi_key, value));
        }
    }

    /// Notes what is to be removed with a frontend.
    fn unwanted(&mut self, key: &FrontendKey, work: &mut Work, removed: &mut Vec<BackendKey>) {
        let abi_key = service::frontend_key(key);
        if let Some(before) = self.frontends.get(&abi_key) {
            let slot = |slot| LbSlotKey { service_id: before.service_id, slot };
            work.old_slots.extend((0..before.backend_count).map(slot));
        }
        if !self.slots.errors().is_empty() {
            work.counts.extend(self.service_ids.get(&abi_key).map(|id| (id, 0)));
        }
        work.old_frontends.push(abi_key);
        self.account(abi_key, None, removed);
    }

    /// The frontends' map.
    pub fn frontends(&self) -> &Mirror<LbFrontendKey, LbFrontendValue> {
        &self.frontends
    }

    /// The slots' map.
    pub fn slots(&self) -> &Mirror<LbSlotKey, LbBackend> {
        &self.slots
    }

    /// The number of a frontend, 0 when it has none.
    pub fn service_id(&self, key: &FrontendKey) -> u32 {
        self.service_ids.get(&service::frontend_key(key)).unwrap_or(0)
    }

    /// The number of a backend, 0 when it has none.
    pub fn backend_id(&self, key: &BackendKey) -> u32 {
        self.backend_ids.get(key).unwrap_or(0)
    }

    /// The backends, each once, in the order of their slots: those that stay where they were, others in the gaps.
    fn arrange(&self, service_id: u32, count: u32, mut chosen: Vec<BackendKey>) -> Vec<BackendKey> {
        chosen.sort_unstable();
        chosen.dedup();
        if count == 0 {
            return chosen;
        }
        let mut left: Vec<Option<BackendKey>> = chosen.iter().copied().map(Some).collect();
        let mut places: Vec<Option<BackendKey>> = vec![None; left.len()];
        for (slot, place) in (0..count).zip(places.iter_mut()) {
            let held = self.slots.get(&LbSlotKey { service_id, slot }).and_then(service::backend_of);
            if let Some(at) = held.and_then(|held| chosen.binary_search(&held).ok()) {
                *place = left[at].take();
            }
        }
        let mut rest = left.into_iter().flatten();
        places.into_iter().filter_map(|place| place.or_else(|| rest.next())).collect()
    }

    /// Keeps count of who uses which backend; `removed` gets those whose last use this was.
    fn account(
        &mut self,
        key: LbFrontendKey,
        now: Option<(&FrontendKey, &Frontend)>,
        removed: &mut Vec<BackendKey>,
    ) {
        let before = match now {
            Some((FrontendKey { protocol, .. }, frontend)) => {
                let all = frontend.backends.iter().map(|b| (b.address, *protocol));
                let entry = self.backends.entry(key).or_default();
                if all.clone().eq(entry.iter().copied()) {
                    return;
                }
                all.clone().for_each(|backend| self.backend_ids.hold(backend));
                std::mem::replace(entry, all.collect())
            }
            None => self.backends.remove(&key).unwrap_or_default(),
        };
        removed.extend(before.into_iter().filter(|backend| self.backend_ids.release(backend)));
    }
}

// === impl Numbers ===

impl<K: Copy + Eq + std::hash::Hash> Numbers<K> {
    fn new() -> Self {
        Self { of: Rows::default(), next: 1, wrapped: false }
    }

    /// The number of `key`, if it has one.
    fn get(&self, key: &K) -> Option<u32> {
        self.of.get(key).map(|n| n.number)
    }

    /// The number of `key`, a new one when it has none.
    fn of(&mut self, key: K) -> u32 {
        self.entry(key).number
    }

    /// One more use of `key`.
    fn hold(&mut self, key: K) {
        self.entry(key).uses += 1;
    }

    /// One use less; whether it was the last.
    fn release(&mut self, key: &K) -> bool {
        let Some(number) = self.of.get_mut(key) else { return false };
        number.uses = number.uses.saturating_sub(1);
        number.uses == 0
    }

    fn is_idle(&self, key: &K) -> bool {
        self.of.get(key).is_none_or(|n| n.uses == 0)
    }

    fn entry(&mut self, key: K) -> &mut Number {
        if self.wrapped && !self.of.contains_key(&key) {
            while self.next == 0 || self.of.values().any(|n| n.number == self.next) {
                self.next = self.next.wrapping_add(1);
            }
        }
        self.of.entry(key).or_insert_with(|| {
            let number = self.next;
            self.next = number.wrapping_add(1);
            self.wrapped |= self.next == 0;
            Number { number, uses: 0 }
        })
    }

    /// Notes a number that the kernel holds already.
    fn take(&mut self, key: K, number: u32) {
        self.of.entry(key).or_insert(Number { number, uses: 0 }).number = number;
        match number.checked_add(1) {
            Some(next) => self.next = self.next.max(next),
            None => self.wrapped = true,
        }
    }

    fn free(&mut self, key: &K) {
        self.of.remove(key);
    }
}
