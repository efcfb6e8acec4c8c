//! A row for each Service address beside those of its ports: programs refuse every other port, and packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use pleopod_abi::lb::LbFrontendKey;
use pleopod_model::desired::{Frontend, FrontendKey};
use pleopod_model::intent::Protocol;

use super::Services;
use crate::encode::service;

impl Services {
    /// Makes the rows of all addresses those that `desired` needs. Answers how many were written or removed.
    pub(super) fn all_addresses(&mut self, desired: &BTreeMap<FrontendKey, Frontend>) -> usize {
        let alone = desired.iter().filter(|(_, frontend)| service::is_alone(frontend));
        // In order, as the keys are.
        let mut wanted: Vec<IpAddr> = alone.map(|(key, _)| key.address.ip()).collect();
        wanted.dedup();
        let value = service::address_value();
        let written = self.frontends.put(wanted.iter().map(|ip| (service::address_key(*ip), value)));
        let held = self.frontends.rows().keys().chain(self.frontends.errors().keys());
        let held = held.filter_map(service::address_of);
        let past: Vec<LbFrontendKey> =
            held.filter(|ip| wanted.binary_search(ip).is_err()).map(service::address_key).collect();
        written + self.frontends.delete(past)
    }

    /// The same for the addresses of `keys` only.
    pub(super) fn some_addresses(
        &mut self,
        desired: &BTreeMap<FrontendKey, Frontend>,
        keys: &BTreeSet<FrontendKey>,
    ) -> usize {
        let touched: BTreeSet<IpAddr> = keys.iter().map(|key| key.address.ip()).collect();
        let (wanted, past): (Vec<IpAddr>, Vec<IpAddr>) =
            touched.into_iter().partition(|ip| is_wanted(desired, *ip));
        let value = service::address_value();
        let written = self.frontends.put(wanted.into_iter().map(|ip| (service::address_key(ip), value)));
        written + self.frontends.delete(past.into_iter().map(service::address_key))
    }
}

/// Whether a Service has the address for itself.
fn is_wanted(desired: &BTreeMap<FrontendKey, Frontend>, ip: IpAddr) -> bool {
    let first = FrontendKey { address: SocketAddr::new(ip, 0), protocol: Protocol::Tcp };
    let mut of_it = desired.range(first..).take_while(|(key, _)| key.address.ip() == ip);
    of_it.any(|(_, frontend)| service::is_alone(frontend))
}
