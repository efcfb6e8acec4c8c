//! `pleo_lb_fe` and `pleo_lb_slot`: Services for the socket hooks.
//!
//! Order of writes, so that a connection made in the middle finds a whole Service: backends that are to be chosen take
//! their slots, then frontends get their counts, then frontends that are gone go, then slots beyond the counts. A
//! backend that stays keeps its slot where it can.
//!
//! Numbers of Services and backends survive the agent: they are read back from the kernel.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use pleopod_abi::lb::{LbBackend, LbFrontendKey, LbFrontendValue, LbSlotKey};
use pleopod_model::desired::{BackendState, Frontend, FrontendKey};

use crate::encode::service::{self, BackendKey};
use crate::mirror::{Backing, Mirror};

#[cfg(test)]
mod tests;

/// The two maps and the numbers given out.
pub struct Services {
    frontends: Mirror<LbFrontendKey, LbFrontendValue>,
    slots: Mirror<LbSlotKey, LbBackend>,
    service_ids: Numbers<LbFrontendKey>,
    backend_ids: Numbers<BackendKey>,
    /// Backends of each frontend, those that are not chosen included, as last applied.
    backends: HashMap<LbFrontendKey, Vec<BackendKey>>,
    /// In how many frontends a backend stands.
    uses: HashMap<BackendKey, usize>,
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
    of: HashMap<K, u32>,
    next: u32,
    taken: BTreeSet<u32>,
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
            backends: HashMap::new(),
            uses: HashMap::new(),
        }
    }

    /// Reads the kernel: what it holds, and the numbers that are taken.
    pub fn load(&mut self) -> io::Result<()> {
        self.frontends.load()?;
        self.slots.load()?;
        let mut backends: HashMap<u32, BTreeMap<u32, BackendKey>> = HashMap::new();
        for (key, value) in self.slots.rows() {
            if let Some(backend) = service::backend_of(value) {
                self.backend_ids.take(backend, value.backend_id);
                backends.entry(key.service_id).or_default().insert(key.slot, backend);
            }
        }
        for (key, value) in self.frontends.rows() {
            self.service_ids.take(*key, value.service_id);
            if !self.backends.contains_key(key) {
                let all: Vec<BackendKey> =
                    backends.remove(&value.service_id).unwrap_or_default().into_values().collect();
                for backend in &all {
                    *self.uses.entry(*backend).or_default() += 1;
                }
                self.backends.insert(*key, all);
            }
        }
        Ok(())
    }

    /// Makes the maps hold `desired` and nothing else.
    pub fn converge(&mut self, desired: &BTreeMap<FrontendKey, Frontend>) -> Outcome {
        let mut keys: BTreeSet<FrontendKey> = desired.keys().copied().collect();
        keys.extend(self.frontends.rows().keys().filter_map(service::frontend_of));
        keys.extend(self.frontends.errors().keys().filter_map(service::frontend_of));
        let mut outcome = self.converge_some(desired, &keys);
        // Slots of no frontend: left by an agent that died between two writes.
        let owned: HashMap<u32, u32> =
            self.frontends.rows().values().map(|f| (f.service_id, f.backend_count)).collect();
        let stray: Vec<LbSlotKey> = self
            .slots
            .rows()
            .keys()
            .filter(|s| owned.get(&s.service_id).is_none_or(|count| s.slot >= *count))
            .copied()
            .collect();
        outcome.changed += self.slots.delete(stray);
        outcome
    }

    /// Makes the maps hold what `desired` says of the frontends `keys`, leaving all others alone.
    pub fn converge_some(
        &mut self,
        desired: &BTreeMap<FrontendKey, Frontend>,
        keys: &BTreeSet<FrontendKey>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let (mut new_slots, mut new_frontends) = (Vec::new(), Vec::new());
        let (mut old_frontends, mut old_slots) = (Vec::new(), Vec::new());
        // How many slots each number that is touched has from now on.
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for key in keys {
            let abi_key = service::frontend_key(key);
            let before = self.frontends.get(&abi_key).copied();
            match desired.get(key) {
                Some(frontend) => {
                    let id = self.service_ids.of(abi_key);
                    let chosen: Vec<BackendKey> = frontend
                        .backends
                        .iter()
                        .filter(|b| b.state == BackendState::Active)
                        .map(|b| (b.address, key.protocol))
                        .collect();
                    let count = before.map_or(0, |f| f.backend_count);
                    let chosen = self.arrange(id, count, &chosen);
                    let now = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
                    counts.insert(id, now);
                    for (slot, backend) in (0u32..).zip(chosen) {
                        let number = self.backend_ids.of(backend);
                        new_slots
                            .push((LbSlotKey { service_id: id, slot }, service::backend(&backend, number)));
                    }
                    old_slots.extend((now..count).map(|slot| LbSlotKey { service_id: id, slot }));
                    let value = LbFrontendValue {
                        service_id: id,
                        backend_count: now,
                        flags: service::flags(frontend.kind),
                        affinity_timeout: 0,
                    };
                    new_frontends.push((abi_key, value));
                    let all = frontend.backends.iter().map(|b| (b.address, key.protocol)).collect();
                    self.account(abi_key, Some(all), &mut outcome.removed);
                }
                None => {
                    if let Some(before) = before {
                        let slot = |slot| LbSlotKey { service_id: before.service_id, slot };
                        old_slots.extend((0..before.backend_count).map(slot));
                    }
                    counts.extend(self.service_ids.of.get(&abi_key).map(|id| (*id, 0)));
                    old_frontends.push(abi_key);
                    self.account(abi_key, None, &mut outcome.removed);
                }
            }
        }
        outcome.changed += self.slots.put(new_slots);
        // A frontend whose slots could not all be written keeps its old count rather than lead into nothing.
        let (still, past): (Vec<LbSlotKey>, Vec<LbSlotKey>) = self
            .slots
            .errors()
            .keys()
            .filter(|k| counts.contains_key(&k.service_id))
            .partition(|k| k.slot < counts[&k.service_id]);
        let broken: BTreeSet<u32> = still.iter().map(|k| k.service_id).collect();
        outcome.changed +=
            self.frontends.put(new_frontends.into_iter().filter(|(_, v)| !broken.contains(&v.service_id)));
        outcome.changed += self.frontends.delete(old_frontends.iter().copied());
        // A slot that failed once and is not wanted any more has nothing left to complain about.
        old_slots.extend(past);
        old_slots.retain(|k| !broken.contains(&k.service_id));
        outcome.changed += self.slots.delete(old_slots);
        for key in old_frontends {
            self.service_ids.free(&key);
        }
        outcome.removed.retain(|b| !self.uses.contains_key(b));
        outcome.removed.sort();
        outcome.removed.dedup();
        for backend in &outcome.removed {
            self.backend_ids.free(backend);
        }
        outcome
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
        self.service_ids.of.get(&service::frontend_key(key)).copied().unwrap_or(0)
    }

    /// The number of a backend, 0 when it has none.
    pub fn backend_id(&self, key: &BackendKey) -> u32 {
        self.backend_ids.of.get(key).copied().unwrap_or(0)
    }

    /// The backends, each once, in the order of their slots: those that stay where they were, others in the gaps.
    fn arrange(&self, service_id: u32, count: u32, chosen: &[BackendKey]) -> Vec<BackendKey> {
        let mut left: BTreeSet<BackendKey> = chosen.iter().copied().collect();
        let mut places: Vec<Option<BackendKey>> = vec![None; left.len()];
        for (slot, place) in (0..count).zip(places.iter_mut()) {
            let held = self.slots.get(&LbSlotKey { service_id, slot }).and_then(service::backend_of);
            if let Some(held) = held
                && left.remove(&held)
            {
                *place = Some(held);
            }
        }
        let mut rest = left.into_iter();
        places.into_iter().filter_map(|place| place.or_else(|| rest.next())).collect()
    }

    fn account(&mut self, key: LbFrontendKey, now: Option<Vec<BackendKey>>, removed: &mut Vec<BackendKey>) {
        for backend in now.iter().flatten() {
            *self.uses.entry(*backend).or_default() += 1;
        }
        let before = match now {
            Some(now) => self.backends.insert(key, now),
            None => self.backends.remove(&key),
        };
        for backend in before.into_iter().flatten() {
            if let Some(uses) = self.uses.get_mut(&backend) {
                *uses -= 1;
                if *uses == 0 {
                    self.uses.remove(&backend);
                    removed.push(backend);
                }
            }
        }
    }
}

// === impl Numbers ===

impl<K: Copy + Eq + std::hash::Hash> Numbers<K> {
    fn new() -> Self {
        Self { of: HashMap::new(), next: 1, taken: BTreeSet::new() }
    }

    /// The number of `key`, a new one when it has none.
    fn of(&mut self, key: K) -> u32 {
        if let Some(number) = self.of.get(&key) {
            return *number;
        }
        while self.next == 0 || self.taken.contains(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.taken.insert(number);
        self.of.insert(key, number);
        number
    }

    /// Notes a number that the kernel holds already.
    fn take(&mut self, key: K, number: u32) {
        self.taken.insert(number);
        self.of.insert(key, number);
        self.next = self.next.max(number.wrapping_add(1));
    }

    fn free(&mut self, key: &K) {
        if let Some(number) = self.of.remove(key) {
            self.taken.remove(&number);
        }
    }
}
