//! Routes of the main table.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};

use crate::address::family;
use crate::{Netlink, ROUTE_PROTOCOL, Result};

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// Link to leave by; for a route with a gateway the kernel finds it when absent.
    pub ifindex: Option<u32>,
    /// Next router; absent for a destination on the link itself.
    pub gateway: Option<IpAddr>,
    /// Source address of packets that have none yet.
    pub source: Option<IpAddr>,
    /// Whether the gateway is to be taken as reachable on the link even though no prefix of the link covers it.
    pub onlink: bool,
    /// MTU towards the destination, bytes.
    pub mtu: Option<u32>,
    /// Scope; matters for IPv4 only.
    pub scope: Scope,
    /// Who installed it; [`ROUTE_PROTOCOL`] for ours.
    pub protocol: u8,
}

/// How far away a destination is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Behind a router.
    #[default]
    Global,
    /// On the link.
    Link,
}

/// Which routes to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Only those of this protocol.
    pub protocol: Option<u8>,
    /// Only those leaving by this link.
    pub ifindex: Option<u32>,
}

// === impl Netlink ===

impl Netlink {
    /// Installs a route, in place of one with the same destination if there is one.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        let what = format!("install route {route}");
        self.change(&what, RouteNetlinkMessage::NewRoute(route.to_message()), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a route. Only one of the same destination and protocol goes. `false` when it is not there.
    pub fn delete_route(&mut self, route: &Route) -> Result<bool> {
        let what = format!("delete route {route}");
        let mut message = route.to_message();
        // To the kernel: of any scope.
        message.header.scope = RouteScope::NoWhere;
        match self.change(&what, RouteNetlinkMessage::DelRoute(message), 0) {
            Err(e) if e.is_not_found() => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Unicast routes of the main table.
    pub fn routes(&mut self, filter: RouteFilter) -> Result<Vec<Route>> {
        let mut message = RouteMessage::default();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        if let Some(protocol) = filter.protocol {
            message.header.protocol = RouteProtocol::from(protocol);
        }
        if let Some(ifindex) = filter.ifindex {
            message.attributes.push(RouteAttribute::Oif(ifindex));
        }
        let answers = self.dump("list routes", RouteNetlinkMessage::GetRoute(message))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(message) => Route::from_message(message),
                _ => None,
            })
            .filter(|route| filter.protocol.is_none_or(|wanted| wanted == route.protocol))
            .filter(|route| filter.ifindex.is_none_or(|wanted| Some(wanted) == route.ifindex))
            .collect())
    }
}

// === impl Route ===

impl Route {
    /// A route of ours to a destination on the link itself.
    pub fn on_link(destination: IpNet, ifindex: u32) -> Self {
        Self {
            destination,
            ifindex: Some(ifindex),
            gateway: None,
            source: None,
            onlink: false,
            mtu: None,
            scope: Scope::Link,
            protocol: ROUTE_PROTOCOL,
        }
    }

    /// A route of ours behind a router.
    pub fn via(destination: IpNet, gateway: IpAddr) -> Self {
        Self {
            destination,
            ifindex: None,
            gateway: Some(gateway),
            source: None,
            onlink: false,
            mtu: None,
            scope: Scope::Global,
            protocol: ROUTE_PROTOCOL,
        }
    }

    fn to_message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination.addr());
        message.header.destination_prefix_length = self.destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.kind = RouteType::Unicast;
        message.header.scope = match self.scope {
            Scope::Global => RouteScope::Universe,
            Scope::Link => RouteScope::Link,
        };
        if self.onlink {
            message.header.flags = netlink_packet_route::route::RouteFlags::Onlink;
        }
        let attributes = [
            (self.destination.prefix_len() > 0)
                .then(|| RouteAttribute::Destination(RouteAddress::from(self.destination.network()))),
            self.ifindex.map(RouteAttribute::Oif),
            self.gateway.map(|ip| RouteAttribute::Gateway(ip.into())),
            self.source.map(|ip| RouteAttribute::PrefSource(ip.into())),
            self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
        ];
        message.attributes = attributes.into_iter().flatten().collect();
        message
    }

    fn from_message(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.kind != RouteType::Unicast {
            return None;
        }
        let unspecified: IpAddr = match header.address_family {
            netlink_packet_route::AddressFamily::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
            netlink_packet_route::AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let mut route = Self {
            destination: IpNet::new(unspecified, header.destination_prefix_length).ok()?,
            ifindex: None,
            gateway: None,
            source: None,
            onlink: header.flags.contains(netlink_packet_route::route::RouteFlags::Onlink),
            mtu: None,
            scope: if header.scope == RouteScope::Link { Scope::Link } else { Scope::Global },
            protocol: header.protocol.into(),
        };
        let mut table = u32::from(header.table);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => {
                    route.destination = IpNet::new(ip(address)?, header.destination_prefix_length).ok()?;
                }
                RouteAttribute::Oif(index) => route.ifindex = Some(*index),
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::PrefSource(address) => route.source = ip(address),
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Metrics(metrics) => {
                    route.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        (table == u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(route)
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(ifindex) = self.ifindex {
            write!(f, " dev {ifindex}")?;
        }
        Ok(())
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}
