//! Records to events: names for what the kernel knows by number.

use std::net::IpAddr;
use std::sync::Arc;

use pleopod_abi::event::flow_flags;
use pleopod_abi::reason::XlatePoint;
use pleopod_abi::{identity, proto};

use crate::decode::{Call, Outcome, Packet, Record};
use crate::event::{End, Event, Kind, PacketFacts, SockFacts};
use crate::lookup::Lookup;

#[cfg(test)]
mod tests;

/// The event a record stands for; `time` is the time of day in nanoseconds.
pub fn enrich(record: &Record, time: i64, lookup: &Lookup) -> Event {
    match record {
        Record::Flow(packet) => flow(packet, time, lookup),
        Record::Sock(call) => sock(call, time, lookup),
    }
}

fn flow(packet: &Packet, time: i64, lookup: &Lookup) -> Event {
    let raw = &packet.raw;
    let known = packet.has(flow_flags::HAS_ADDRESSES);
    let ports = matches!(raw.proto, proto::TCP | proto::UDP | proto::SCTP);
    let side = |address: pleopod_abi::Addr16, port: pleopod_abi::Be16, identity| {
        let port = if ports { port.get() } else { 0 };
        end(known.then(|| address.to_ip()), port, raw.proto, identity, lookup)
    };
    Event {
        time,
        cpu: raw.header.cpu,
        protocol: raw.proto,
        source: side(raw.src, raw.sport, raw.src_identity),
        destination: side(raw.dst, raw.dport, raw.dst_identity),
        kind: Kind::Packet(PacketFacts {
            point: packet.point,
            dropped: match packet.outcome {
                Outcome::Forwarded(_) => None,
                Outcome::Dropped(reason) => Some(reason),
            },
            ct: packet.ct,
            reply: packet.is_reply(),
            direction: packet.direction,
            endpoint: raw.endpoint_id,
            tcp_flags: raw.tcp_flags,
            icmp_type: raw.icmp_type,
            icmp_code: raw.icmp_code,
            macs: (raw.src_mac, raw.dst_mac),
            ifindex: raw.ifindex,
            interface: lookup.interface(raw.ifindex).cloned(),
            packets: raw.packets,
            length: raw.len,
        }),
    }
}

fn sock(call: &Call, time: i64, lookup: &Lookup) -> Event {
    let raw = &call.raw;
    let peer_address = raw.dst.to_ip();
    let local = match raw.endpoint_id {
        0 => lookup.endpoint_of_namespace(raw.netns_cookie),
        id => Some(id),
    }
    .and_then(|id| lookup.endpoint(id));
    let own_address = if raw.src.is_unspecified() {
        let family = |address: &&IpAddr| address.is_ipv4() == peer_address.is_ipv4();
        match local {
            Some(local) => local.addresses.iter().find(family).copied(),
            None => lookup.node_address(peer_address.is_ipv4()),
        }
    } else {
        Some(raw.src.to_ip())
    };
    let mut own = end(own_address, raw.sport.get(), raw.proto, raw.src_identity, lookup);
    if let (None, Some(local)) = (&own.peer, local) {
        own.peer = Some(Arc::clone(&local.peer));
        own.identity = local.peer.identity;
    }
    let peer = end(Some(peer_address), raw.dport.get(), raw.proto, 0, lookup);
    // What comes back is from the peer.
    let (source, destination) = match call.point {
        XlatePoint::PreForward | XlatePoint::PostForward => (own, peer),
        XlatePoint::PreReverse | XlatePoint::PostReverse => (peer, own),
    };
    Event {
        time,
        cpu: raw.header.cpu,
        protocol: raw.proto,
        source,
        destination,
        kind: Kind::Sock(SockFacts {
            point: call.point,
            translated: call.translated,
            cookie: raw.socket_cookie,
            cgroup: raw.cgroup_id,
            pid: raw.pid,
        }),
    }
}

/// One side. The kernel's identity wins over the snapshot's, which may be older.
fn end(address: Option<IpAddr>, port: u16, protocol: u8, told: u32, lookup: &Lookup) -> End {
    let peer = address.and_then(|address| lookup.peer_of(address)).cloned();
    let service = match (&peer, address) {
        (None, Some(address)) => lookup.service_of(address, port, protocol).cloned(),
        _ => None,
    };
    let identity = match (told, &peer) {
        (identity::UNKNOWN, Some(peer)) => peer.identity,
        (identity::UNKNOWN, None) if address.is_some_and(|address| address.is_loopback()) => identity::HOST,
        // Nobody of the cluster: a Service's address or the world's.
        (identity::UNKNOWN, None) if address.is_some() => identity::WORLD,
        (told, _) => told,
    };
    let labels = if peer.is_none() { Some(lookup.labels(identity)) } else { None };
    End { address, port, identity, peer, service, labels }
}
