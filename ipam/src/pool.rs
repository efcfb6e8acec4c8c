//! One CIDR: the order in which its addresses are given.
//!
//! Addresses that were never given come first, in order; when there is none left, the one freed longest ago is given
//! again, and never before the grace time has passed. So an address rests as long as the CIDR allows.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::{Family, Owner, Timestamp};

/// Freed addresses remembered for CIDRs too large to ever run out.
const REMEMBERED: usize = 65_536;
/// From this size on, a CIDR counts as too large to ever run out.
const LARGE: u128 = 1 << 20;

/// One CIDR of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    cidr: IpNet,
    /// Offset in the CIDR of the first address never given.
    next: u128,
    /// Freed addresses, the one freed longest ago first.
    freed: VecDeque<(IpAddr, Timestamp)>,
    /// The same addresses, for look-up.
    resting: BTreeMap<IpAddr, Timestamp>,
}

// === impl Pool ===

impl Pool {
    /// A CIDR of which nothing was given yet. Bits after the prefix are dropped.
    pub fn new(cidr: IpNet) -> Self {
        let cidr = cidr.trunc();
        Self { cidr, next: first_offset(&cidr), freed: VecDeque::new(), resting: BTreeMap::new() }
    }

    /// The CIDR.
    pub fn cidr(&self) -> IpNet {
        self.cidr
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.cidr.addr())
    }

    /// How many addresses can be given at all.
    pub fn total(&self) -> u128 {
        end_offset(&self.cidr) - first_offset(&self.cidr)
    }

    /// Whether the address is in the CIDR, and not its network or broadcast address.
    pub fn gives(&self, address: IpAddr) -> bool {
        self.cidr.contains(&address)
            && offset_of(&self.cidr, address)
                .is_some_and(|o| o >= first_offset(&self.cidr) && o < end_offset(&self.cidr))
    }

    /// Takes the next address not in `used`.
    pub fn allocate(
        &mut self,
        used: &BTreeMap<IpAddr, Owner>,
        grace: Duration,
        now: Timestamp,
    ) -> Option<IpAddr> {
        self.forget_future(now);
        let end = end_offset(&self.cidr);
        while self.next < end {
            let address = at_offset(&self.cidr, self.next);
            self.next += 1;
            if !used.contains_key(&address) && !self.resting.contains_key(&address) {
                return Some(address);
            }
        }
        while let Some((address, at)) = self.freed.front().copied() {
            if now.since(at) < grace {
                return None;
            }
            self.freed.pop_front();
            self.resting.remove(&address);
            if !used.contains_key(&address) {
                return Some(address);
            }
        }
        None
    }

    /// Says that an address was taken by name, so that it no longer rests.
    pub fn taken(&mut self, address: IpAddr) {
        if self.resting.remove(&address).is_some() {
            self.freed.retain(|(freed, _)| *freed != address);
        }
    }

    /// Says that an address is free since `at`.
    pub fn release(&mut self, address: IpAddr, at: Timestamp) {
        if !self.gives(address) {
            return;
        }
        self.taken(address);
        self.resting.insert(address, at);
        self.freed.push_back((address, at));
        if self.total() > LARGE
            && self.freed.len() > REMEMBERED
            && let Some((oldest, _)) = self.freed.pop_front()
        {
            self.resting.remove(&oldest);
        }
    }

    /// Marks every unused address up to the highest used one as freed at `at`: what to assume when the journal is
    /// lost, since any of them may have been given out just before.
    pub fn rest_gaps(&mut self, used: &BTreeMap<IpAddr, Owner>, at: Timestamp) {
        let highest = used
            .keys()
            .filter(|a| self.gives(**a))
            .filter_map(|a| offset_of(&self.cidr, *a))
            .max()
            .map(|o| o + 1);
        let Some(end) = highest else { return };
        let start = if end.saturating_sub(self.next) > LARGE { end } else { self.next };
        for offset in start..end {
            let address = at_offset(&self.cidr, offset);
            if !used.contains_key(&address) {
                self.release(address, at);
            }
        }
        self.next = self.next.max(end);
    }

    /// How many addresses are within their grace time.
    pub fn waiting(&self, grace: Duration, now: Timestamp) -> usize {
        self.freed.iter().filter(|(_, at)| now.since(*at) < grace).count()
    }

    /// How long until the first of those waiting can be given.
    pub fn retry_after(&self, grace: Duration, now: Timestamp) -> Option<Duration> {
        self.freed.front().map(|(_, at)| grace.saturating_sub(now.since(*at)))
    }

    /// Freed addresses, the one freed longest ago first.
    pub fn freed(&self) -> impl Iterator<Item = (IpAddr, Timestamp)> + '_ {
        self.freed.iter().copied()
    }

    /// Offset of the first address never given.
    pub fn next(&self) -> u128 {
        self.next
    }

    /// Sets that offset, as on restore; kept inside the CIDR.
    pub fn set_next(&mut self, next: u128) {
        self.next = next.clamp(first_offset(&self.cidr), end_offset(&self.cidr));
    }

    /// What was freed before the machine booted lies in the future, and must not rest for days: it counts as freed now.
    fn forget_future(&mut self, now: Timestamp) {
        if self.freed.iter().any(|(_, at)| *at > now) {
            for (address, at) in &mut self.freed {
                if *at > now {
                    *at = now;
                    self.resting.insert(*address, now);
                }
            }
        }
    }
}

/// Host bits of the CIDR.
fn host_bits(cidr: &IpNet) -> u32 {
    u32::from(cidr.max_prefix_len() - cidr.prefix_len())
}

/// First offset given: the network address (and the IPv6 subnet-router anycast address, RFC 4291 section 2.6.1) is
/// left out, except in the CIDRs of one or two addresses (RFC 3021, RFC 6164).
fn first_offset(cidr: &IpNet) -> u128 {
    u128::from(host_bits(cidr) > 1)
}

/// One past the last offset given: the IPv4 broadcast address is left out.
fn end_offset(cidr: &IpNet) -> u128 {
    let size = 1u128.checked_shl(host_bits(cidr)).unwrap_or(u128::MAX);
    if cidr.addr().is_ipv4() && host_bits(cidr) > 1 { size - 1 } else { size }
}

fn at_offset(cidr: &IpNet, offset: u128) -> IpAddr {
    match cidr.network() {
        IpAddr::V4(net) => Ipv4Addr::from_bits(net.to_bits().wrapping_add(offset as u32)).into(),
        IpAddr::V6(net) => Ipv6Addr::from_bits(net.to_bits().wrapping_add(offset)).into(),
    }
}

fn offset_of(cidr: &IpNet, address: IpAddr) -> Option<u128> {
    match (cidr.network(), address) {
        (IpAddr::V4(net), IpAddr::V4(a)) => a.to_bits().checked_sub(net.to_bits()).map(u128::from),
        (IpAddr::V6(net), IpAddr::V6(a)) => a.to_bits().checked_sub(net.to_bits()),
        _ => None,
    }
}
