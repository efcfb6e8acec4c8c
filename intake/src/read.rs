//! One object at a time: from what the API server sent to what the network needs.
//!
//! A field that can be left out is left out and told; when the rest makes no sense without it the whole object is
//! refused, and what was known of it before stays in force.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pleopod_model::intent::Protocol;
use pleopod_model::{ObjectName, Problem};

use crate::Kind;
use crate::object::name_of;

pub mod endpoint;
pub mod identity;
pub mod node;
pub mod pod;
pub mod service;
pub mod slice;

#[cfg(test)]
mod tests;

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// Understood, perhaps with fields left out.
    Good(T, Vec<Problem>),
    /// Nothing of the network's concern; as if it did not exist.
    Irrelevant,
    /// Refused.
    Bad(Vec<Problem>),
}

/// Collects what is wrong with one object.
pub(crate) struct Complaints {
    kind: Kind,
    name: ObjectName,
    problems: Vec<Problem>,
}

// === impl Complaints ===

impl Complaints {
    pub fn about(kind: Kind, metadata: &ObjectMeta) -> Self {
        Self { kind, name: name_of(metadata), problems: Vec::new() }
    }

    pub fn tell(&mut self, field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(self.kind.as_str(), self.name.clone(), field, message, hint));
    }

    pub fn good<T>(self, value: T) -> Read<T> {
        Read::Good(value, self.problems)
    }

    pub fn bad<T>(mut self, field: impl Into<String>, message: impl Into<String>, hint: &str) -> Read<T> {
        self.tell(field, message, hint);
        Read::Bad(self.problems)
    }

    /// An address a packet can be sent to; tells and answers `None` for others.
    pub fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        match parse_address(text) {
            Ok(address) => Some(address),
            Err(why) => {
                self.tell(field, format!("{text:?} {why}; it is left out"), "correct the address");
                None
            }
        }
    }
}

/// Reads an address of one host.
pub(crate) fn parse_address(text: &str) -> Result<IpAddr, &'static str> {
    let address: IpAddr = text.parse().map_err(|_| "is not an IP address")?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err("is an IPv4 address written as IPv6; write it as IPv4");
    }
    if address.is_unspecified() {
        return Err("stands for no host");
    }
    if address.is_multicast() || address == IpAddr::from([255u8; 4]) {
        return Err("stands for many hosts");
    }
    if address.is_loopback() {
        return Err("is a loopback address");
    }
    Ok(address)
}

/// Reads a port, 1 to 65535.
pub(crate) fn parse_port(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|p| *p != 0)
}

/// Reads a protocol; absent means TCP.
pub(crate) fn parse_protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

/// `metadata.creationTimestamp` in seconds since the Unix epoch; 0 when absent.
pub(crate) fn created(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second())
}
