//! All tables that are kept in step with [`Desired`], and their rows for people.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::io;

use pleopod_abi::endpoint::{EndpointKey, EndpointValue, NetnsKey, NetnsValue};
use pleopod_abi::ipcache::{IpcacheKey, IpcacheLpmKey, IpcacheValue};
use pleopod_model::desired::{Desired, Frontend, FrontendKey};
use pleopod_model::observed::{Report, Row, RowState};

use crate::encode;
use crate::encode::service::BackendKey;
use crate::mirror::Mirror;
use crate::targets::services::Services;

/// The synced maps of one node.
pub struct Tables {
    /// `pleo_endpoints`.
    pub endpoints: Mirror<EndpointKey, EndpointValue>,
    /// `pleo_netns`.
    pub namespaces: Mirror<NetnsKey, NetnsValue>,
    /// `pleo_ipcache`.
    pub ipcache: Mirror<IpcacheKey, IpcacheValue>,
    /// `pleo_ipc_lpm`.
    pub prefixes: Mirror<IpcacheLpmKey, IpcacheValue>,
    /// `pleo_lb_fe`, `pleo_lb_table`, `pleo_lb_be` and `pleo_lb_addr`.
    pub services: Services,
}

/// Names of the synced tables, as `pleopod map get` takes them.
pub const NAMES: [&str; 6] = ["endpoints", "netns", "ipcache", "ipc_lpm", "lb_fe", "lb_be"];

// === impl Tables ===

impl Tables {
    /// Reads every map anew.
    pub fn load(&mut self) -> io::Result<()> {
        self.endpoints.load()?;
        self.namespaces.load()?;
        self.ipcache.load()?;
        self.prefixes.load()?;
        self.services.load()
    }

    /// Makes every map but those of Services hold what `desired` says. Who an address is comes before where it is, so
    /// that no packet reaches an endpoint whose peer is unknown. Answers the rows changed.
    pub fn converge(&mut self, desired: &Desired) -> usize {
        let (exact, prefixes) = encode::ipcache::ipcache(&desired.ipcache);
        self.ipcache.converge(&exact)
            + self.prefixes.converge(&prefixes)
            + self.namespaces.converge(&encode::endpoint::namespaces(desired))
            + self.endpoints.converge(&encode::endpoint::endpoints(&desired.endpoints))
    }

    /// Makes the maps of Services hold `frontends`: all of them, or only those named in `changed`. Answers the rows
    /// changed and the backends that serve nobody any more.
    pub fn converge_services(
        &mut self,
        frontends: &BTreeMap<FrontendKey, Frontend>,
        changed: Option<&BTreeSet<FrontendKey>>,
    ) -> (usize, Vec<BackendKey>) {
        let outcome = match changed {
            None => self.services.converge(frontends),
            Some(keys) => self.services.converge_some(frontends, keys),
        };
        (outcome.changed, outcome.removed)
    }

    /// Every row that could not be written, from all tables. Costs nothing when there is none, whatever the size of the
    /// tables.
    pub fn failed(&self) -> Vec<Row> {
        NAMES
            .iter()
            .filter(|name| self.errors(name) > 0)
            .flat_map(|name| self.rows(name).unwrap_or_default())
            .filter(|r| r.state != RowState::Sync)
            .collect()
    }

    /// A report of a pass that changed `changed` rows.
    pub fn report(&self, changed: usize) -> Report {
        Report { changed, failed: self.failed() }
    }

    /// The rows of one table with their state, sorted by key; `None` for a name that is not in [`NAMES`].
    pub fn rows(&self, name: &str) -> Option<Vec<Row>> {
        self.copy(name).map(|copy| copy.rows())
    }

    /// The rows of one table as they are now, to be made readable on another thread: a large table takes long to write
    /// in words, and a copy of it does not. `None` for a name that is not in [`NAMES`].
    pub fn copy(&self, name: &str) -> Option<Copied> {
        use encode::{endpoint, ipcache, service};
        Some(match name {
            "endpoints" => copy(&self.endpoints, endpoint::key_text, endpoint::value_text),
            "netns" => copy(&self.namespaces, endpoint::netns_key_text, endpoint::netns_value_text),
            "ipcache" => copy(&self.ipcache, ipcache::key_text, ipcache::value_text),
            "ipc_lpm" => copy(&self.prefixes, ipcache::lpm_key_text, ipcache::value_text),
            "lb_fe" => {
                copy(self.services.frontends(), service::frontend_key_text, service::frontend_value_text)
            }
            "lb_be" => copy(self.services.backends(), service::backend_key_text, service::backend_text),
            _ => return None,
        })
    }

    /// How many rows [`Self::rows`] would give; 0 for a name that is not in [`NAMES`].
    pub fn count(&self, name: &str) -> usize {
        match name {
            "endpoints" => count(&self.endpoints),
            "netns" => count(&self.namespaces),
            "ipcache" => count(&self.ipcache),
            "ipc_lpm" => count(&self.prefixes),
            "lb_fe" => count(self.services.frontends()),
            "lb_be" => count(self.services.backends()),
            _ => 0,
        }
    }

    /// How many rows of one table failed.
    pub fn errors(&self, name: &str) -> usize {
        match name {
            "endpoints" => self.endpoints.errors().len(),
            "netns" => self.namespaces.errors().len(),
            "ipcache" => self.ipcache.errors().len(),
            "ipc_lpm" => self.prefixes.errors().len(),
            "lb_fe" => self.services.frontends().errors().len(),
            "lb_be" => self.services.backends().errors().len(),
            _ => 0,
        }
    }
}

/// One table as it was, see [`Tables::copy`].
pub struct Copied(Box<dyn FnOnce() -> Vec<Row> + Send>);

// === impl Copied ===

impl Copied {
    /// The rows with their state, sorted by key.
    pub fn rows(self) -> Vec<Row> {
        (self.0)()
    }
}

fn count<K, V>(mirror: &Mirror<K, V>) -> usize
where
    K: Copy + Eq + Hash + std::fmt::Debug + 'static,
    V: Copy + PartialEq + 'static,
{
    let only_failed = mirror.errors().keys().filter(|key| mirror.get(key).is_none()).count();
    mirror.rows().len() + only_failed
}

fn copy<K, V>(
    mirror: &Mirror<K, V>,
    key: impl Fn(&K) -> String + Send + 'static,
    value: impl Fn(&V) -> String + Send + 'static,
) -> Copied
where
    K: Copy + Eq + Hash + std::fmt::Debug + Send + 'static,
    V: Copy + PartialEq + Send + 'static,
{
    let (table, rows, errors) = (mirror.name(), mirror.rows().clone(), mirror.errors().clone());
    Copied(Box::new(move || {
        let row = |k: &K, v: Option<&V>, state| Row {
            table: table.to_owned(),
            key: key(k),
            value: v.map(&value).unwrap_or_default(),
            state,
        };
        let good = rows.iter().filter(|(k, _)| !errors.contains_key(k));
        let mut all: Vec<Row> = good
            .map(|(k, v)| row(k, Some(v), RowState::Sync))
            .chain(errors.iter().map(|(k, why)| row(k, rows.get(k), RowState::Error(why.clone()))))
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }))
}
