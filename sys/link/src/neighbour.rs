//! Neighbours: which Ethernet address an address on a link has.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;

use crate::address::family;
use crate::{MacBytes, Netlink, Result};

/// A neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// Link it is on.
    pub ifindex: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, once known.
    pub mac: Option<MacBytes>,
    /// Whether it stays until it is removed.
    pub permanent: bool,
}

// === impl Netlink ===

impl Netlink {
    /// Installs a permanent entry, in place of whatever is known about the address.
    pub fn replace_neighbour(&mut self, ifindex: u32, address: IpAddr, mac: MacBytes) -> Result<()> {
        let mut message = message(ifindex, address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let what = format!("install neighbour {address} on link {ifindex}");
        self.change(&what, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes an entry. `false` when it is not there.
    pub fn delete_neighbour(&mut self, ifindex: u32, address: IpAddr) -> Result<bool> {
        let what = format!("delete neighbour {address} on link {ifindex}");
        match self.change(&what, RouteNetlinkMessage::DelNeighbour(message(ifindex, address)), 0) {
            Err(e) if e.is_not_found() => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Entries of one link, or of all.
    pub fn neighbours(&mut self, ifindex: Option<u32>) -> Result<Vec<Neighbour>> {
        let mut message = NeighbourMessage::default();
        if let Some(ifindex) = ifindex {
            message.attributes.push(NeighbourAttribute::IfIndex(ifindex));
        }
        let answers = self.dump("list neighbours", RouteNetlinkMessage::GetNeighbour(message))?;
        let mut neighbours: Vec<Neighbour> = answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewNeighbour(message) => from_message(message),
                _ => None,
            })
            .filter(|neighbour| ifindex.is_none_or(|wanted| wanted == neighbour.ifindex))
            .collect();
        neighbours.sort();
        Ok(neighbours)
    }
}

fn message(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message.header.kind = RouteType::Unicast;
    let destination = match address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

fn from_message(message: &NeighbourMessage) -> Option<Neighbour> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::from(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::from(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour {
        ifindex: message.header.ifindex,
        address: address?,
        mac,
        permanent: message.header.state == NeighbourState::Permanent,
    })
}
