//! Addresses, endpoint numbers and leases of one node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use pleopod_model::{IdentityId, Mac, ObjectName, Problem};
use serde::{Deserialize, Serialize};

use crate::ids::EndpointIds;
use crate::pool::Pool;
use crate::{Attachment, Error, Family, Lease, Owner, Timestamp};

#[cfg(test)]
mod tests;

/// Settings of this room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Config {
    /// How long an address rests after it was freed.
    pub grace: Duration,
}

/// What one node has given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipam {
    pub(crate) config: Config,
    pub(crate) pools: Vec<Pool>,
    pub(crate) used: BTreeMap<IpAddr, Owner>,
    pub(crate) ids: EndpointIds,
    pub(crate) leases: BTreeMap<Attachment, Lease>,
}

/// One address in use, for `status --verbose`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// The address.
    pub address: IpAddr,
    /// `router`, `health` or `namespace/name` of the pod.
    pub owner: String,
    /// Held since before the agent's last start.
    pub restored: bool,
}

/// How full a family is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Addresses that can be given at all.
    pub total: u128,
    /// Addresses in use, those outside today's CIDRs included.
    pub used: usize,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self { grace: Duration::from_secs(30) }
    }
}

// === impl Ipam ===

impl Ipam {
    /// Nothing given yet, addresses to come from `cidrs` (of each family, in order).
    pub fn new(config: Config, cidrs: &[IpNet]) -> Self {
        let mut ipam = Self {
            config,
            pools: Vec::new(),
            used: BTreeMap::new(),
            ids: EndpointIds::new(1),
            leases: BTreeMap::new(),
        };
        ipam.set_cidrs(cidrs);
        ipam
    }

    /// Rebuilds the books from what is there, when the journal is lost. Leases that clash with an earlier one are left
    /// out and told; unused addresses below the highest used one rest as if freed `now`.
    pub fn rebuild(
        config: Config,
        cidrs: &[IpNet],
        node: &[(Owner, IpAddr)],
        leases: Vec<Lease>,
        now: Timestamp,
    ) -> (Self, Vec<Problem>) {
        let mut ipam = Self::new(config, cidrs);
        let mut problems = Vec::new();
        for (owner, address) in node {
            ipam.used.insert(*address, owner.clone());
        }
        for mut lease in leases {
            let pod = lease.pod.clone();
            lease.restored = true;
            if let Err(error) = ipam.adopt(lease) {
                problems.push(Problem::new(
                    "Pod",
                    pod,
                    "",
                    format!("its interface could not be taken over: {error}"),
                    "delete the pod, so that it is made anew",
                ));
            }
        }
        let highest = ipam.ids.iter().map(|(id, _)| id).max().unwrap_or(0);
        let mut ids = EndpointIds::new(highest.wrapping_add(1));
        for (id, owner) in ipam.ids.iter() {
            // Cannot clash: the numbers come out of a map.
            let _ = ids.take(id, owner.clone());
        }
        ipam.ids = ids;
        for pool in &mut ipam.pools {
            pool.rest_gaps(&ipam.used, now);
        }
        (ipam, problems)
    }

    /// Changes the CIDRs new addresses come from. What was given stays given, wherever it is.
    pub fn set_cidrs(&mut self, cidrs: &[IpNet]) {
        let mut old = std::mem::take(&mut self.pools);
        for cidr in cidrs {
            let cidr = cidr.trunc();
            if self.pools.iter().any(|p| p.cidr() == cidr) {
                continue;
            }
            match old.iter().position(|p| p.cidr() == cidr) {
                Some(i) => self.pools.push(old.swap_remove(i)),
                None => self.pools.push(Pool::new(cidr)),
            }
        }
    }

    /// The CIDRs new addresses come from.
    pub fn cidrs(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.pools.iter().map(Pool::cidr)
    }

    /// Whether one of `addresses` is in none of today's CIDRs.
    pub fn outside(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| !self.pools.iter().any(|pool| pool.cidr().contains(address)))
    }

    /// The families the node has a CIDR for, IPv4 first.
    pub fn families(&self) -> Vec<Family> {
        [Family::V4, Family::V6].into_iter().filter(|f| self.pools.iter().any(|p| p.family() == *f)).collect()
    }

    /// Gives `owner` one address of `family`.
    pub fn allocate(&mut self, owner: Owner, family: Family, now: Timestamp) -> Result<IpAddr, Error> {
        let grace = self.config.grace;
        for pool in self.pools.iter_mut().filter(|p| p.family() == family) {
            if let Some(address) = pool.allocate(&self.used, grace, now) {
                self.used.insert(address, owner);
                return Ok(address);
            }
        }
        Err(self.exhausted(family, now))
    }

    /// Gives `owner` this very address. Asking again for what one holds is fine; a resting address is given.
    pub fn allocate_specific(&mut self, owner: Owner, address: IpAddr) -> Result<(), Error> {
        match self.used.get(&address) {
            Some(holder) if *holder == owner => return Ok(()),
            Some(holder) => return Err(Error::Taken { address, owner: holder.clone() }),
            None => {}
        }
        let Some(pool) = self.pools.iter_mut().find(|p| p.cidr().contains(&address)) else {
            return Err(Error::OutOfRange { address, cidrs: self.cidrs_text(Family::of(address)) });
        };
        if !pool.gives(address) {
            return Err(Error::Reserved { address, cidr: pool.cidr() });
        }
        pool.taken(address);
        self.used.insert(address, owner);
        Ok(())
    }

    /// Frees an address; it rests from `now`. Tells whether anyone had it.
    pub fn release(&mut self, address: IpAddr, now: Timestamp) -> bool {
        if self.used.remove(&address).is_none() {
            return false;
        }
        if let Some(pool) = self.pools.iter_mut().find(|p| p.cidr().contains(&address)) {
            pool.release(address, now);
        }
        true
    }

    /// The node's own address of each family for `owner` ([`Owner::Router`] or [`Owner::Health`]): the one it has, or
    /// `preferred` (as the Node's annotation remembers it) when that is free, or a new one. An address that a change of
    /// the CIDRs left [outside](Self::outside) stays as long as there are leases: their pods send to it.
    pub fn node_addresses(
        &mut self,
        owner: &Owner,
        preferred: &[IpAddr],
        now: Timestamp,
    ) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = Vec::new();
        for family in self.families() {
            let held =
                self.used.iter().find(|(a, o)| Family::of(**a) == family && *o == owner).map(|(a, _)| *a);
            if let Some(address) = held {
                if !self.leases.is_empty() || !self.outside(&[address]) {
                    addresses.push(address);
                    continue;
                }
                self.release(address, now);
            }
            let wish = preferred.iter().copied().filter(|a| Family::of(*a) == family);
            let granted = wish.into_iter().find(|a| self.allocate_specific(owner.clone(), *a).is_ok());
            addresses.push(match granted {
                Some(address) => address,
                None => self.allocate(owner.clone(), family, now)?,
            });
        }
        Ok(addresses)
    }

    /// The endpoint number of the node itself ([`Owner::Router`]) or its health address, given on first call.
    pub fn node_endpoint_id(&mut self, owner: &Owner) -> Result<u16, Error> {
        match self.ids.of(owner) {
            Some(id) => Ok(id),
            None => self.ids.allocate(owner.clone()),
        }
    }

    /// Leases an address of each family and an endpoint number to a pod's interface. Asking again answers the same
    /// lease. On failure nothing stays taken.
    pub fn lease(
        &mut self,
        attachment: &Attachment,
        pod: ObjectName,
        pod_uid: &str,
        now: Timestamp,
    ) -> Result<&mut Lease, Error> {
        if !self.leases.contains_key(attachment) {
            let owner = Owner::Pod(attachment.clone());
            let families = self.families();
            if families.is_empty() {
                return Err(Error::NoCidr { family: Family::V4 });
            }
            let endpoint_id = self.ids.allocate(owner.clone())?;
            let mut addresses = Vec::with_capacity(families.len());
            for family in families {
                match self.allocate(owner.clone(), family, now) {
                    Ok(address) => addresses.push(address),
                    Err(error) => {
                        self.ids.release(endpoint_id);
                        for address in addresses {
                            self.release(address, now);
                        }
                        return Err(error);
                    }
                }
            }
            let lease = Lease {
                attachment: attachment.clone(),
                network: String::new(),
                pod,
                pod_uid: pod_uid.to_owned(),
                endpoint_id,
                addresses,
                created_at: 0,
                since: now,
                host_ifname: String::new(),
                pod_mac: Mac::default(),
                host_mac: Mac::default(),
                netns: String::new(),
                netns_cookie: 0,
                identity: IdentityId::INIT,
                restored: false,
            };
            self.leases.insert(attachment.clone(), lease);
        }
        // Present: it was there, or has just been inserted.
        self.leases.get_mut(attachment).ok_or(Error::NoEndpointId)
    }

    /// Ends a lease; its addresses rest from `now`. `None` when there was none.
    pub fn end_lease(&mut self, attachment: &Attachment, now: Timestamp) -> Option<Lease> {
        let lease = self.leases.remove(attachment)?;
        self.ids.release(lease.endpoint_id);
        let owner = Owner::Pod(attachment.clone());
        for address in &lease.addresses {
            if self.used.get(address) == Some(&owner) {
                self.release(*address, now);
            }
        }
        Some(lease)
    }

    /// One lease.
    pub fn get(&self, attachment: &Attachment) -> Option<&Lease> {
        self.leases.get(attachment)
    }

    /// One lease, to fill in its link facts or identity.
    pub fn get_mut(&mut self, attachment: &Attachment) -> Option<&mut Lease> {
        self.leases.get_mut(attachment)
    }

    /// All leases, by attachment.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// Attachments to `network` that are not among `valid`: what CNI GC ends. Those of other networks are none of its
    /// business (CNI 1.1.0, GC); those whose network nobody said count as this one's.
    pub fn strays(&self, network: &str, valid: &[Attachment]) -> Vec<Attachment> {
        let of_network = |lease: &&Lease| lease.network.is_empty() || lease.network == network;
        let stray = |lease: &&Lease| !valid.contains(&lease.attachment);
        self.leases.values().filter(of_network).filter(stray).map(|lease| lease.attachment.clone()).collect()
    }

    /// Every address in use, sorted.
    pub fn allocated(&self) -> Vec<Allocated> {
        self.used
            .iter()
            .map(|(address, owner)| {
                let lease = match owner {
                    Owner::Pod(attachment) => self.leases.get(attachment),
                    _ => None,
                };
                Allocated {
                    address: *address,
                    owner: lease.map_or_else(|| owner.to_string(), |l| l.pod.to_string()),
                    restored: lease.is_some_and(|l| l.restored),
                }
            })
            .collect()
    }

    /// How full a family is.
    pub fn usage(&self, family: Family) -> Usage {
        Usage {
            total: self
                .pools
                .iter()
                .filter(|p| p.family() == family)
                .map(Pool::total)
                .fold(0, u128::saturating_add),
            used: self.used.keys().filter(|a| Family::of(**a) == family).count(),
        }
    }

    /// Takes over a lease that exists already. It may lie outside the CIDRs.
    pub(crate) fn adopt(&mut self, lease: Lease) -> Result<(), Error> {
        let owner = Owner::Pod(lease.attachment.clone());
        for address in &lease.addresses {
            if let Some(holder) = self.used.get(address)
                && *holder != owner
            {
                return Err(Error::Taken { address: *address, owner: holder.clone() });
            }
        }
        self.ids.take(lease.endpoint_id, owner.clone())?;
        for address in &lease.addresses {
            if let Some(pool) = self.pools.iter_mut().find(|p| p.cidr().contains(address)) {
                pool.taken(*address);
            }
            self.used.insert(*address, owner.clone());
        }
        self.leases.insert(lease.attachment.clone(), lease);
        Ok(())
    }

    fn exhausted(&self, family: Family, now: Timestamp) -> Error {
        let grace = self.config.grace;
        let pools = || self.pools.iter().filter(|p| p.family() == family);
        if pools().next().is_none() {
            return Error::NoCidr { family };
        }
        Error::Exhausted {
            family,
            cidrs: self.cidrs_text(family),
            total: pools().map(Pool::total).fold(0, u128::saturating_add),
            used: self.used.keys().filter(|a| pools().any(|p| p.cidr().contains(*a))).count(),
            waiting: pools().map(|p| p.waiting(grace, now)).sum(),
            grace,
            retry_after: pools().filter_map(|p| p.retry_after(grace, now)).min(),
        }
    }

    fn cidrs_text(&self, family: Family) -> String {
        let texts: Vec<String> =
            self.pools.iter().filter(|p| p.family() == family).map(|p| p.cidr().to_string()).collect();
        if texts.is_empty() { "none".into() } else { texts.join(", ") }
    }
}
