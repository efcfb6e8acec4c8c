//! Addresses and ports given to Services.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::Config;
use crate::meta::{int, list, text};
use crate::resource::Resource;

/// The node ports there are.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// What is taken.
#[derive(Debug)]
pub struct Allocations {
    first: u32,
    size: u32,
    next: u32,
    reserved: HashSet<Ipv4Addr>,
    ips: HashSet<Ipv4Addr>,
    ports: HashSet<u16>,
    next_port: u16,
}

/// Network address and prefix length of an IPv4 range.
pub fn parse_cidr(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (a, p) = text.split_once('/')?;
    let (a, p): (Ipv4Addr, u8) = (a.parse().ok()?, p.parse().ok()?);
    (p <= 32).then(|| (Ipv4Addr::from(u32::from(a) & mask(p)), p))
}

fn mask(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - u32::from(prefix)) }
}

// === impl Allocations ===

impl Allocations {
    /// Nothing taken yet, except the address of the cluster DNS, which only who asks for it gets.
    pub fn new(config: &Config) -> Self {
        let (net, prefix) = parse_cidr(&config.service_cidr).unwrap_or((Ipv4Addr::new(10, 96, 0, 0), 12));
        let size = (!mask(prefix)).max(1);
        let mut reserved = HashSet::new();
        if let IpAddr::V4(ip) = config.dns_ip {
            reserved.insert(ip);
        }
        // Dynamic addresses come from above the first 256, so that the low ones stay for those who ask.
        let next = if size > 1024 { 257 } else { 1 };
        Self {
            first: u32::from(net),
            size,
            next,
            reserved,
            ips: HashSet::new(),
            ports: HashSet::new(),
            next_port: *NODE_PORTS.start(),
        }
    }

    /// The address of the `kubernetes` Service.
    pub fn first_service_ip(&self) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from(self.first.checked_add(1)?)))
    }

    /// Takes a certain address.
    pub fn take_ip(&mut self, ip: Ipv4Addr) -> Result<(), String> {
        let offset = u32::from(ip).wrapping_sub(self.first);
        if offset == 0 || offset >= self.size {
            return Err(format!("failed to allocate IP {ip}: the provided IP is not in the valid range"));
        }
        if !self.ips.insert(ip) {
            return Err(format!("failed to allocate IP {ip}: provided IP is already allocated"));
        }
        Ok(())
    }

    /// Takes any free address.
    pub fn any_ip(&mut self) -> Option<Ipv4Addr> {
        for _ in 0..self.size {
            let ip = Ipv4Addr::from(self.first + self.next);
            self.next = if self.next + 1 >= self.size { 1 } else { self.next + 1 };
            if !self.reserved.contains(&ip) && self.ips.insert(ip) {
                return Some(ip);
            }
        }
        None
    }

    /// Gives an address back.
    pub fn drop_ip(&mut self, ip: &str) {
        if let Ok(ip) = ip.parse() {
            self.ips.remove(&ip);
        }
    }

    /// Takes a certain node port.
    pub fn take_port(&mut self, port: u16) -> Result<(), &'static str> {
        if !NODE_PORTS.contains(&port) {
            return Err("provided port is not in the valid range. The range of valid ports is 30000-32767");
        }
        if self.ports.insert(port) { Ok(()) } else { Err("provided port is already allocated") }
    }

    /// Takes any free node port.
    pub fn any_port(&mut self) -> Option<u16> {
        for _ in NODE_PORTS {
            let port = self.next_port;
            self.next_port = if port == *NODE_PORTS.end() { *NODE_PORTS.start() } else { port + 1 };
            if self.ports.insert(port) {
                return Some(port);
            }
        }
        None
    }

    /// Gives a node port back.
    pub fn drop_port(&mut self, port: i64) {
        if let Ok(p) = u16::try_from(port) {
            self.ports.remove(&p);
        }
    }

    /// Gives back all that a deleted object held.
    pub fn release(&mut self, r: &Resource, v: &Value) {
        if !(r.group.is_empty() && r.plural == "services") {
            return;
        }
        self.drop_ip(text(v, "/spec/clusterIP"));
        for p in list(v, "/spec/ports") {
            self.drop_port(int(p, "/nodePort").unwrap_or(0));
        }
        self.drop_port(int(v, "/spec/healthCheckNodePort").unwrap_or(0));
    }
}
