//! Keys and records of the maps of Services.

use std::net::{IpAddr, SocketAddr};

use pleopod_abi::lb::{
    LbAddress, LbBackend, LbFrontendKey, LbFrontendValue, LbSource, LbSourceKey, balancing as numbers,
    frontend_flags,
};
use pleopod_abi::{Addr16, Be16};
use pleopod_model::desired::{Frontend, FrontendKey, FrontendKind, Outside, Unserved};
use pleopod_model::intent::{Balancing, Protocol, RemovedBackend};

/// Address and protocol of a backend.
pub type BackendKey = (SocketAddr, Protocol);

/// The key of a frontend.
pub fn frontend_key(key: &FrontendKey) -> LbFrontendKey {
    LbFrontendKey {
        addr: Addr16::from_ip(key.address.ip()),
        port: Be16::new(key.address.port()),
        proto: key.protocol.number(),
        _pad: 0,
    }
}

/// Whether nothing but Services has the address of a frontend: what they don't offer there, nobody does.
pub fn is_alone(frontend: &Frontend) -> bool {
    frontend.kind == FrontendKind::ClusterIP
}

/// The row of a Service address, which stands for every port that has none of its own.
pub fn address_key(address: IpAddr) -> LbFrontendKey {
    LbFrontendKey::any_port(Addr16::from_ip(address))
}

/// What such a row holds: no number and no backend.
pub fn address_value() -> LbFrontendValue {
    LbFrontendValue { flags: frontend_flags::CLUSTER_IP, ..LbFrontendValue::default() }
}

/// The inverse of [`address_key`]; `None` for the row of a port.
pub fn address_of(key: &LbFrontendKey) -> Option<IpAddr> {
    (*key == LbFrontendKey::any_port(key.addr)).then(|| key.addr.to_ip())
}

/// The inverse of [`frontend_key`]; `None` for the row of an address, and for a protocol that no Service has.
pub fn frontend_of(key: &LbFrontendKey) -> Option<FrontendKey> {
    let address = SocketAddr::new(key.addr.to_ip(), key.port.get());
    Some(FrontendKey { address, protocol: protocol(key.proto)? })
}

/// Whether clients outside are given the same backends as those inside, or none at all.
pub fn is_same_outside(frontend: &Frontend) -> bool {
    frontend.outside == Outside::Refused || frontend.backends.iter().all(|b| b.inside == b.outside)
}

/// The flags of a frontend.
pub fn flags(frontend: &Frontend) -> u16 {
    let kind = match frontend.kind {
        FrontendKind::ClusterIP => frontend_flags::CLUSTER_IP,
        FrontendKind::NodePort => frontend_flags::NODE_PORT,
        FrontendKind::LoadBalancer => frontend_flags::LOAD_BALANCER,
        FrontendKind::ExternalIP => frontend_flags::EXTERNAL_IP,
    };
    let outside = match frontend.outside {
        Outside::Refused => frontend_flags::OUTSIDE_REFUSED,
        Outside::Cluster => 0,
        Outside::Local => frontend_flags::OUTSIDE_LOCAL,
    };
    let when = |is: bool, flag: u16| if is { flag } else { 0 };
    kind | outside
        | when(frontend.unserved() == Unserved::Drop, frontend_flags::ELSEWHERE)
        | when(frontend.source_ranges.is_some(), frontend_flags::SOURCE_RANGES)
        | when(frontend.removed_backend == RemovedBackend::Reset, frontend_flags::RESET_REMOVED)
}

/// How a place is chosen, as a frontend's row says it.
pub fn balancing(balancing: Balancing) -> u8 {
    match balancing {
        // Who has the fewest connections is not known to the programs.
        Balancing::Random | Balancing::LeastConnections => numbers::RANDOM,
        Balancing::RoundRobin => numbers::ROUND_ROBIN,
        Balancing::SourceHash => numbers::SOURCE_HASH,
        Balancing::Maglev => numbers::MAGLEV,
    }
}

/// The rows of those who may ask a frontend.
pub fn sources(frontend: &Frontend, service_id: u32) -> Vec<LbSourceKey> {
    let ranges = frontend.source_ranges.iter().flatten();
    ranges
        .map(|range| {
            let base = if range.addr().is_ipv4() { 32 + 96 } else { 32 };
            let addr = Addr16::from_ip(range.network());
            LbSourceKey {
                prefixlen: base + u32::from(range.prefix_len()),
                source: LbSource { service_id, addr },
            }
        })
        .collect()
}

/// The address of a frontend, for answers.
pub fn address(key: &FrontendKey) -> LbAddress {
    LbAddress {
        addr: Addr16::from_ip(key.address.ip()),
        port: Be16::new(key.address.port()),
        proto: key.protocol.number(),
        _pad: 0,
    }
}

/// A backend.
pub fn backend(key: &BackendKey, backend_id: u32) -> LbBackend {
    LbBackend {
        addr: Addr16::from_ip(key.0.ip()),
        port: Be16::new(key.0.port()),
        proto: key.1.number(),
        flags: 0,
        backend_id,
    }
}

/// What stands in the place of a backend that is gone: its number, so that the next one gets another.
pub fn no_backend(backend_id: u32) -> LbBackend {
    LbBackend { backend_id, ..LbBackend::default() }
}

/// The inverse of [`backend`]; `None` for one that is gone.
pub fn backend_of(value: &LbBackend) -> Option<BackendKey> {
    Some((SocketAddr::new(value.addr.to_ip(), value.port.get()), protocol(value.proto)?))
}

fn protocol(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.number() == number)
}

/// `10.96.0.10:53/UDP`, or `10.96.0.10:*` for the row of an address.
pub fn frontend_key_text(key: &LbFrontendKey) -> String {
    match (frontend_of(key), address_of(key)) {
        (Some(f), _) => format!("{}/{}", f.address, f.protocol),
        (_, Some(IpAddr::V4(ip))) => format!("{ip}:*"),
        (_, Some(IpAddr::V6(ip))) => format!("[{ip}]:*"),
        _ => format!("{}:{}/{}", key.addr, key.port, key.proto),
    }
}

/// `id=3 places=2 type=ClusterIP`.
pub fn frontend_value_text(value: &LbFrontendValue) -> String {
    let kind = [
        (frontend_flags::CLUSTER_IP, "ClusterIP"),
        (frontend_flags::NODE_PORT, "NodePort"),
        (frontend_flags::LOAD_BALANCER, "LoadBalancer"),
        (frontend_flags::EXTERNAL_IP, "ExternalIP"),
    ];
    let kind = kind.into_iter().find(|(bit, _)| value.flags & bit != 0).map_or("-", |(_, name)| name);
    format!("id={} places={} type={kind}", value.service_id, value.inside.len)
}

/// `7`: the index of a backend.
pub fn backend_key_text(key: &u32) -> String {
    key.to_string()
}

/// `172.16.1.111:80/TCP id=7`.
pub fn backend_text(value: &LbBackend) -> String {
    match backend_of(value) {
        Some((address, protocol)) => format!("{address}/{protocol} id={}", value.backend_id),
        None => "-".to_owned(),
    }
}
