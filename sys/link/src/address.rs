//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::{Netlink, Result};

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The link.
    pub ifindex: u32,
    /// Address and prefix length.
    pub net: IpNet,
    /// Whether it is valid outside this link and host (`scope global`).
    pub global: bool,
}

// === impl Netlink ===

impl Netlink {
    /// Gives a link an address; it stays when it is there already. IPv6 addresses are usable at once (no duplicate
    /// address detection: the addresses are ours alone by allocation).
    pub fn add_address(&mut self, ifindex: u32, net: IpNet) -> Result<()> {
        let mut message = message(ifindex, net);
        if net.addr().is_ipv6() {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let what = format!("add address {net} to link {ifindex}");
        self.change(&what, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes an address from a link. `false` when it is not there.
    pub fn delete_address(&mut self, ifindex: u32, net: IpNet) -> Result<bool> {
        let what = format!("delete address {net} of link {ifindex}");
        match self.change(&what, RouteNetlinkMessage::DelAddress(message(ifindex, net)), 0) {
            Err(e) if e.is_not_found() => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Addresses of one link, or of all.
    pub fn addresses(&mut self, ifindex: Option<u32>) -> Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.index = ifindex.unwrap_or(0);
        let answers = self.dump("list addresses", RouteNetlinkMessage::GetAddress(message))?;
        let mut addresses: Vec<Address> = answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) => Address::from_message(message),
                _ => None,
            })
            .filter(|address| ifindex.is_none_or(|wanted| wanted == address.ifindex))
            .collect();
        addresses.sort();
        Ok(addresses)
    }
}

fn message(ifindex: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.index = ifindex;
    message.attributes = vec![AddressAttribute::Address(net.addr()), AddressAttribute::Local(net.addr())];
    message
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

// === impl Address ===

impl Address {
    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut local = None;
        let mut address = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                _ => {}
            }
        }
        // On point-to-point links IFA_ADDRESS is the other side's; IFA_LOCAL, where present, is ours.
        let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
        let global = message.header.scope == AddressScope::Universe;
        Some(Self { ifindex: message.header.index, net, global })
    }
}
