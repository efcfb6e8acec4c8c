//! `pleo_lb_fe`, `pleo_lb_table`, `pleo_lb_be` and `pleo_lb_addr`: Services for the programs.
//!
//! Order of writes, so that a connection made in the middle finds a whole Service: backends, then tables into regions that
//! nobody uses, then frontends, which change over to their new tables in one write. What is not named any more is given to
//! nobody else for a while (`REST`): a program that is running may still read it.
//!
//! Numbers of Services and backends survive the agent: they are read back from the kernel.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use pleopod_abi::lb::{
    LbAddress, LbBackend, LbFrontendKey, LbFrontendValue, LbRegion, LbSource, LbSourceKey, backend_index,
};
use pleopod_abi::time::secs_to_beats;
use pleopod_model::desired::{Frontend, FrontendKey, Scope};
use pleopod_model::intent::Balancing;

use crate::balance::{Member, list, maglev};
use crate::encode::service::{self, BackendKey};
use crate::mirror::{Backing, Mirror, Rows};

mod addresses;
mod numbers;
mod table;
#[cfg(test)]
mod tests;

use numbers::Numbers;
use table::Table;

/// How long what was given up is given to nobody: far longer than a program runs.
const REST: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 100 });

/// The maps.
pub struct Maps {
    /// `pleo_lb_fe`.
    pub frontends: Box<dyn Backing<LbFrontendKey, LbFrontendValue>>,
    /// `pleo_lb_table`.
    pub table: Box<dyn Backing<u32, u32>>,
    /// `pleo_lb_be`.
    pub backends: Box<dyn Backing<u32, LbBackend>>,
    /// `pleo_lb_addr`.
    pub addresses: Box<dyn Backing<u32, LbAddress>>,
    /// `pleo_lb_src`.
    pub sources: Box<dyn Backing<LbSourceKey, u32>>,
    /// What they hold at most.
    pub sizes: Sizes,
}

/// How much fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of `pleo_lb_table`.
    pub table: u32,
    /// Entries of `pleo_lb_be`.
    pub backends: u32,
    /// Entries of `pleo_lb_addr`.
    pub frontends: u32,
    /// Places of a Maglev table, a prime.
    pub maglev: u32,
}

/// The maps of Services and the numbers given out.
pub struct Services {
    frontends: Mirror<LbFrontendKey, LbFrontendValue>,
    table: Table,
    backends: Mirror<u32, LbBackend>,
    addresses: Mirror<u32, LbAddress>,
    sources: Mirror<LbSourceKey, u32>,
    service_ids: Numbers<LbFrontendKey>,
    /// A backend is used once for each frontend it stands in.
    backend_ids: Numbers<BackendKey>,
    /// Backends of each frontend, those that are not chosen included, as last applied.
    of: Rows<LbFrontendKey, Vec<BackendKey>>,
    /// Who may ask those frontends that not everybody may.
    asked_by: Rows<LbFrontendKey, Vec<LbSourceKey>>,
    /// What rests, oldest first.
    resting: VecDeque<(Instant, Resting)>,
    maglev: u32,
}

/// What one pass did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows written or removed.
    pub changed: usize,
    /// Backends that no frontend has any more.
    pub removed: Vec<BackendKey>,
}

/// What was given up.
enum Resting {
    Region(LbRegion),
    Backend(BackendKey, u32),
    Service(LbFrontendKey, u32),
}

/// What a pass is going to write and remove.
#[derive(Default)]
struct Work {
    addresses: Vec<(u32, LbAddress)>,
    backends: Vec<(u32, LbBackend)>,
    table: Vec<(u32, u32)>,
    sources: Vec<(LbSourceKey, u32)>,
    frontends: Vec<(LbFrontendKey, LbFrontendValue)>,
    /// Rows that change, as they were and as they are to be.
    changes: Vec<(LbFrontendKey, Option<LbFrontendValue>, LbFrontendValue)>,
    old_sources: Vec<LbSourceKey>,
    old_frontends: Vec<LbFrontendKey>,
    /// Frontends that are not, or not wholly, what they should be, and why.
    failed: Vec<(LbFrontendKey, &'static str)>,
    resting: Vec<Resting>,
}

const NO_NUMBER: &str = "no number is left for it; give `lb-frontends` in the configuration a larger number";
const NO_BACKEND_NUMBER: &str =
    "no number is left for one of its backends; give `lb-backends` in the configuration a larger number";
const NO_ROOM: &str =
    "its table of backends finds no room; give `lb-table-entries` in the configuration a larger number";

// === impl Services ===

impl Services {
    /// Over the maps; call [`Self::load`] before the first pass.
    pub fn new(maps: Maps) -> Self {
        Self {
            frontends: Mirror::new("lb_fe", maps.frontends),
            table: Table::new(maps.table, maps.sizes.table),
            backends: Mirror::new("lb_be", maps.backends),
            addresses: Mirror::new("lb_addr", maps.addresses),
            sources: Mirror::new("lb_src", maps.sources),
            service_ids: Numbers::plain(maps.sizes.frontends),
            backend_ids: Numbers::renewed(maps.sizes.backends),
            of: Rows::default(),
            asked_by: Rows::default(),
            resting: VecDeque::new(),
            maglev: maps.sizes.maglev,
        }
    }

    /// Reads the kernel: what it holds, and the numbers and places that are taken. Numbers given out since stay as they are.
    pub fn load(&mut self) -> io::Result<()> {
        self.frontends.load()?;
        self.backends.load()?;
        self.addresses.load()?;
        self.sources.load()?;
        for (index, value) in self.backends.rows() {
            match service::backend_of(value) {
                Some(backend) => self.backend_ids.take(backend, value.backend_id),
                None => drop(self.backend_ids.last(*index, value.backend_id)),
            }
        }
        let ports = self.frontends.rows().iter().filter(|(key, _)| service::frontend_of(key).is_some());
        let named: Vec<(LbFrontendKey, LbRegion)> =
            ports.flat_map(|(key, value)| regions(value).map(|region| (*key, region))).collect();
        let end = named.iter().map(|(_, region)| region.at.saturating_add(region.len)).max();
        self.table.load(end.unwrap_or(0))?;
        let mut broken = Vec::new();
        for (key, region) in named {
            if !self.table.claim(region) {
                broken.push(key);
            }
        }
        self.resting
            .retain(|(_, what)| !matches!(what, Resting::Region(region) if !self.table.claim(*region)));
        for key in broken {
            // Somebody else wrote it. As far as we are concerned it leads nowhere, and is written anew.
            self.frontends.see(key, LbFrontendValue::default());
        }
        for (key, value) in self.frontends.rows() {
            if service::frontend_of(key).is_none() || self.of.contains_key(key) {
                continue;
            }
            self.service_ids.take(*key, value.service_id);
            self.service_ids.hold(*key);
            let ids: BTreeSet<u32> = regions(value).flat_map(|r| self.table.read(r)).copied().collect();
            let held = ids.iter().filter_map(|id| self.backends.get(&backend_index(*id)));
            let all: Vec<BackendKey> = held.filter_map(service::backend_of).collect();
            for backend in &all {
                self.backend_ids.hold(*backend);
            }
            self.of.insert(*key, all);
        }
        Ok(())
    }

    /// Makes the maps hold `desired` and nothing else.
    pub fn converge(&mut self, desired: &BTreeMap<FrontendKey, Frontend>) -> Outcome {
        let mut outcome = self.converge_once(desired);
        // What found no room may have it now that others are gone.
        if outcome.changed > 0 && !self.frontends.errors().is_empty() {
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
        outcome.changed += self.put_right();
        outcome.changed += self.all_addresses(desired);
        outcome
    }

    /// Sees to what no pass over frontends touches: rows that an agent left behind that died, or that somebody else wrote.
    fn put_right(&mut self) -> usize {
        let strange =
            |key: &&LbFrontendKey| service::frontend_of(key).is_none() && service::address_of(key).is_none();
        let strange: Vec<LbFrontendKey> = self.frontends.rows().keys().filter(strange).copied().collect();
        let mut changed = self.frontends.delete(strange);
        let now = Instant::now();
        let idle: Vec<BackendKey> = self.backend_ids.idle().filter(|key| !self.rests(key)).collect();
        idle.iter().for_each(|key| self.give_up(key, now));
        let numbered =
            self.backend_ids.all().map(|(key, id)| (backend_index(id), service::backend(&key, id)));
        let mut backends: Vec<(u32, LbBackend)> = numbered.collect();
        backends.extend(self.backends.rows().iter().filter_map(|(index, row)| {
            let known =
                service::backend_of(row).is_none_or(|key| self.backend_ids.get(&key) == Some(row.backend_id));
            let taken = self.backend_ids.has(*index);
            (!known && !taken).then(|| (*index, service::no_backend(row.backend_id)))
        }));
        changed += self.backends.put(backends);
        let wanted: HashSet<LbSource> = self.asked_by.values().flatten().map(|key| key.source).collect();
        let strange = self.sources.rows().keys().filter(|key| !wanted.contains(&key.source));
        let strange: Vec<LbSourceKey> = strange.copied().collect();
        changed += self.sources.delete(strange);
        let numbered = self.service_ids.all();
        let addresses =
            numbered.filter_map(|(key, id)| Some((id, service::address(&service::frontend_of(&key)?))));
        changed += self.addresses.put(addresses.collect::<Vec<_>>());
        let stray = self.addresses.rows().keys().filter(|id| !self.service_ids.has(**id));
        let stray: Vec<u32> = stray.copied().collect();
        changed + self.addresses.delete(stray)
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
        let now = Instant::now();
        let mut outcome = Outcome { changed: self.rest_is_over(now), removed: Vec::new() };
        let mut work = Work::default();
        for (key, frontend) in frontends {
            match frontend {
                Some(frontend) => self.wanted(&key, frontend, &mut work, &mut outcome.removed),
                None => self.unwanted(&key, &mut work, &mut outcome.removed),
            }
        }
        outcome.changed += self.addresses.put(work.addresses);
        outcome.changed += self.backends.put(work.backends);
        outcome.changed += self.table.write(&work.table);
        outcome.changed += self.sources.put(work.sources);
        outcome.changed += self.frontends.put(work.frontends);
        for (key, before, after) in work.changes {
            let held = self.frontends.get(&key) == Some(&after);
            let (kept, lost) = if held { (Some(after), before) } else { (before, Some(after)) };
            let kept: Vec<LbRegion> = kept.iter().flat_map(regions).collect();
            for region in lost.iter().flat_map(regions).filter(|region| !kept.contains(region)) {
                match held {
                    true => work.resting.push(Resting::Region(region)),
                    // No row ever named it.
                    false => self.table.give(region),
                }
            }
        }
        outcome.changed += self.frontends.delete(work.old_frontends);
        outcome.changed += self.sources.delete(work.old_sources);
        for (key, why) in work.failed {
            self.frontends.fail(key, why.to_owned());
        }
        self.resting.extend(work.resting.into_iter().map(|what| (now, what)));
        outcome.removed.retain(|backend| self.backend_ids.is_idle(backend));
        outcome.removed.sort();
        outcome.removed.dedup();
        for backend in &outcome.removed {
            self.give_up(backend, now);
        }
        outcome
    }

    /// Notes what is to be written for a frontend, and what it gives up.
    fn wanted(
        &mut self,
        key: &FrontendKey,
        frontend: &Frontend,
        work: &mut Work,
        removed: &mut Vec<BackendKey>,
    ) {
        let abi_key = service::frontend_key(key);
        let before = self.frontends.get(&abi_key).copied();
        let number = if self.service_ids.is_idle(&abi_key) {
            self.service_ids.hold(abi_key)
        } else {
            self.service_ids.get(&abi_key)
        };
        let Some(service_id) = number else {
            return work.failed.push((abi_key, NO_NUMBER));
        };
        if before.is_none_or(|f| f.service_id != service_id) {
            work.addresses.push((service_id, service::address(key)));
        }
        self.account(abi_key, Some((key, frontend)), work, removed);
        let Some(inside) = self.region(key, frontend, Scope::Inside, before.map(|f| f.inside), work) else {
            return work.failed.push((abi_key, NO_ROOM));
        };
        let outside = if service::is_same_outside(frontend) {
            Some(inside)
        } else {
            self.region(key, frontend, Scope::Outside, before.map(|f| f.outside), work)
        };
        let Some(outside) = outside else {
            if before.is_none_or(|f| f.inside != inside) {
                self.table.give(inside);
            }
            return work.failed.push((abi_key, NO_ROOM));
        };
        self.admit(abi_key, service::sources(frontend, service_id), work);
        let value = LbFrontendValue {
            service_id,
            inside,
            outside,
            affinity_timeout: frontend.affinity.map_or(0, |seconds| secs_to_beats(seconds.into()).max(1)),
            flags: service::flags(frontend),
            balancing: service::balancing(frontend.balancing),
            _pad: 0,
        };
        if before != Some(value) || !self.frontends.errors().is_empty() {
            work.frontends.push((abi_key, value));
        }
        if before != Some(value) {
            work.changes.push((abi_key, before, value));
        }
    }

    /// Notes what is given up with a frontend.
    fn unwanted(&mut self, key: &FrontendKey, work: &mut Work, removed: &mut Vec<BackendKey>) {
        let abi_key = service::frontend_key(key);
        let before = self.frontends.get(&abi_key).into_iter().flat_map(regions);
        work.resting.extend(before.map(Resting::Region));
        if self.service_ids.release(&abi_key)
            && let Some(end) = self.service_ids.rest(&abi_key)
        {
            work.resting.push(Resting::Service(abi_key, end));
        }
        work.old_frontends.push(abi_key);
        self.admit(abi_key, Vec::new(), work);
        self.account(abi_key, None, work, removed);
    }

    /// Notes who may ask a frontend from now on. Who may not any more goes after the row of the frontend is written, which says
    /// whether anybody is asked at all: nobody is let in between.
    fn admit(&mut self, key: LbFrontendKey, now: Vec<LbSourceKey>, work: &mut Work) {
        work.sources.extend(now.iter().map(|source| (*source, 1)));
        let before =
            if now.is_empty() { self.asked_by.remove(&key) } else { self.asked_by.insert(key, now.clone()) };
        work.old_sources.extend(before.into_iter().flatten().filter(|source| !now.contains(source)));
    }

    /// The region with the table of a frontend: the one it has if that says the same, else a new one. `None`: no room.
    fn region(
        &mut self,
        key: &FrontendKey,
        frontend: &Frontend,
        scope: Scope,
        before: Option<LbRegion>,
        work: &mut Work,
    ) -> Option<LbRegion> {
        let members: Vec<Member> =
            frontend.chosen(scope).map(|b| ((b.address, key.protocol), b.weight)).collect();
        let places = match frontend.balancing {
            Balancing::Maglev => maglev::table(&members, self.maglev),
            _ => list::table(&members),
        };
        let ids: Vec<u32> = places
            .into_iter()
            .filter_map(|place| self.backend_ids.get(&members.get(place as usize)?.0))
            .collect();
        if let Some(before) = before
            && self.table.read(before) == ids
        {
            return Some(before);
        }
        let region = self.table.take(u32::try_from(ids.len()).ok()?)?;
        work.table.extend((region.at..).zip(ids));
        Some(region)
    }

    /// Keeps count of who uses which backend; `removed` gets those whose last use this was.
    fn account(
        &mut self,
        key: LbFrontendKey,
        now: Option<(&FrontendKey, &Frontend)>,
        work: &mut Work,
        removed: &mut Vec<BackendKey>,
    ) {
        let before = match now {
            Some((FrontendKey { protocol, .. }, frontend)) => {
                let all = frontend.backends.iter().map(|b| (b.address, *protocol));
                let entry = self.of.entry(key).or_default();
                if all.clone().eq(entry.iter().copied()) && !self.backend_ids.is_short() {
                    return;
                }
                for backend in all.clone() {
                    match self.backend_ids.hold(backend) {
                        Some(id) => {
                            let row = (backend_index(id), service::backend(&backend, id));
                            if self.backends.get(&row.0) != Some(&row.1) {
                                work.backends.push(row);
                            }
                        }
                        None => work.failed.push((key, NO_BACKEND_NUMBER)),
                    }
                }
                std::mem::replace(entry, all.collect())
            }
            None => self.of.remove(&key).unwrap_or_default(),
        };
        removed.extend(before.into_iter().filter(|backend| self.backend_ids.release(backend)));
    }

    /// Lets a backend rest that nobody uses any more; then its number means nobody.
    fn give_up(&mut self, backend: &BackendKey, now: Instant) {
        if let Some(end) = self.backend_ids.rest(backend) {
            self.resting.push_back((now, Resting::Backend(*backend, end)));
        }
    }

    /// Gives back what has rested long enough, and was not used again. Answers the rows written.
    fn rest_is_over(&mut self, now: Instant) -> usize {
        let (mut backends, mut services) = (Vec::new(), Vec::new());
        while let Some((since, _)) = self.resting.front()
            && now.duration_since(*since) >= REST
            && let Some((_, what)) = self.resting.pop_front()
        {
            match what {
                Resting::Region(region) => self.table.give(region),
                Resting::Backend(key, end) => backends.extend(self.backend_ids.rested(&key, end)),
                Resting::Service(key, end) => services.extend(self.service_ids.rested(&key, end)),
            }
        }
        let gone = |id: u32| (backend_index(id), service::no_backend(id));
        let written = self.backends.put(backends.into_iter().map(gone));
        written + self.addresses.delete(services)
    }

    fn rests(&self, backend: &BackendKey) -> bool {
        self.resting.iter().any(|(_, what)| matches!(what, Resting::Backend(key, _) if key == backend))
    }

    /// The frontends' map.
    pub fn frontends(&self) -> &Mirror<LbFrontendKey, LbFrontendValue> {
        &self.frontends
    }

    /// The map of those who may ask.
    pub fn sources(&self) -> &Mirror<LbSourceKey, u32> {
        &self.sources
    }

    /// The backends' map.
    pub fn backends(&self) -> &Mirror<u32, LbBackend> {
        &self.backends
    }

    /// The backends in a region, place by place.
    pub fn chosen(&self, region: LbRegion) -> Vec<LbBackend> {
        let ids = self.table.read(region).iter();
        ids.filter_map(|id| self.backends.get(&backend_index(*id)).filter(|b| b.backend_id == *id))
            .copied()
            .collect()
    }

    /// Places of `pleo_lb_table` that are taken, and how many there are.
    pub fn table_use(&self) -> (u32, u32) {
        self.table.usage()
    }

    /// The number of a frontend, 0 when it has none.
    pub fn service_id(&self, key: &FrontendKey) -> u32 {
        self.service_ids.get(&service::frontend_key(key)).unwrap_or(0)
    }

    /// The number of a backend, 0 when it has none.
    pub fn backend_id(&self, key: &BackendKey) -> u32 {
        self.backend_ids.get(key).unwrap_or(0)
    }
}

/// The regions that a row names, each once.
fn regions(frontend: &LbFrontendValue) -> impl Iterator<Item = LbRegion> + use<> {
    let (inside, outside) = (frontend.inside, frontend.outside);
    let other = Some(outside).filter(|region| *region != inside);
    std::iter::once(inside).chain(other).filter(|region| region.len > 0)
}
