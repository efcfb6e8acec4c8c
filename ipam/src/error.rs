//! What can go wrong when giving addresses or reading the journal.

use std::net::IpAddr;
use std::time::Duration;

use crate::{Family, Owner};

/// An address or endpoint number can't be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The node has no pod CIDR of this family.
    #[error("the node has no {family} pod CIDR; set spec.podCIDRs of the Node")]
    NoCidr {
        /// The family asked for.
        family: Family,
    },
    /// Every address is in use or waiting out its grace time.
    #[error(
        "no free {family} address in {cidrs}: {used} of {total} in use, {waiting} freed less than {} s ago{}",
        grace.as_secs(),
        retry_hint(*retry_after)
    )]
    Exhausted {
        /// The family asked for.
        family: Family,
        /// The CIDRs, comma separated.
        cidrs: String,
        /// Addresses that can be given at all.
        total: u128,
        /// Addresses held by someone.
        used: usize,
        /// Addresses freed less than the grace time ago.
        waiting: usize,
        /// The grace time.
        grace: Duration,
        /// When the first of those waiting can be given.
        retry_after: Option<Duration>,
    },
    /// The address belongs to someone else.
    #[error("{address} is held by {owner}")]
    Taken {
        /// The address asked for.
        address: IpAddr,
        /// Its holder.
        owner: Owner,
    },
    /// The address is the network, broadcast or subnet-router anycast address of its CIDR.
    #[error("{address} is the network or broadcast address of {cidr} and is never given")]
    Reserved {
        /// The address asked for.
        address: IpAddr,
        /// The CIDR.
        cidr: ipnet::IpNet,
    },
    /// The address is in none of the node's pod CIDRs.
    #[error("{address} is outside the node's pod CIDRs ({cidrs})")]
    OutOfRange {
        /// The address asked for.
        address: IpAddr,
        /// The CIDRs, comma separated.
        cidrs: String,
    },
    /// All 65,535 endpoint numbers are in use.
    #[error("no free endpoint number: all 65535 of this node are in use")]
    NoEndpointId,
    /// The endpoint number belongs to someone else.
    #[error("endpoint number {id} is held by {owner}")]
    EndpointIdTaken {
        /// The number.
        id: u16,
        /// Its holder.
        owner: Owner,
    },
}

/// The journal can't be used; who reads it rebuilds the leases from the interfaces that are there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Not a journal, or cut short.
    #[error("the lease journal is damaged ({0})")]
    Damaged(String),
    /// The bytes are not those that were written.
    #[error("the lease journal is damaged (checksum {found:016x}, expected {expected:016x})")]
    Checksum {
        /// As the header says.
        expected: u64,
        /// As computed.
        found: u64,
    },
    /// Written by another version of Pleopod.
    #[error("the lease journal has version {found}, this agent reads {supported}")]
    Version {
        /// As the header says.
        found: u32,
        /// What this agent reads.
        supported: u32,
    },
    /// Two leases hold the same thing.
    #[error("the lease journal contradicts itself ({0})")]
    Contradiction(String),
}

fn retry_hint(after: Option<Duration>) -> String {
    match after {
        Some(after) => format!("; the next is free in {:.1} s", after.as_secs_f64()),
        None => String::new(),
    }
}
