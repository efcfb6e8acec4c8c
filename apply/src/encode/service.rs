//! Keys and records of `pleo_lb_fe` and `pleo_lb_slot`.

use std::net::{IpAddr, SocketAddr};

use pleopod_abi::lb::{LbBackend, LbFrontendKey, LbFrontendValue, LbSlotKey, frontend_flags, scope};
use pleopod_abi::{Addr16, Be16};
use pleopod_model::desired::{Frontend, FrontendKey, FrontendKind, Outside};
use pleopod_model::intent::Protocol;

/// Address and protocol of a backend.
pub type BackendKey = (SocketAddr, Protocol);

/// The key of a frontend.
pub fn frontend_key(key: &FrontendKey) -> LbFrontendKey {
    LbFrontendKey {
        addr: Addr16::from_ip(key.address.ip()),
        port: Be16::new(key.address.port()),
        proto: key.protocol.number(),
        scope: scope::CLUSTER,
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

/// Whether the programs can serve such a frontend. Others are planned and not written.
pub fn is_served(kind: FrontendKind) -> bool {
    kind == FrontendKind::ClusterIP
}

/// The flags of a frontend: its kind, its policies, affinity.
pub fn flags(frontend: &Frontend) -> u32 {
    let kind = match frontend.kind {
        FrontendKind::ClusterIP => frontend_flags::CLUSTER_IP,
        FrontendKind::NodePort => frontend_flags::NODE_PORT,
        FrontendKind::LoadBalancer => frontend_flags::LOAD_BALANCER,
        FrontendKind::ExternalIP => frontend_flags::EXTERNAL_IP,
    };
    let also = [
        (frontend_flags::EXTERNAL_LOCAL, frontend.outside == Outside::Local),
        (frontend_flags::INTERNAL_LOCAL, frontend.inside_local),
        (frontend_flags::AFFINITY, frontend.affinity.is_some()),
    ];
    also.into_iter().filter(|(_, is)| *is).fold(kind, |flags, (flag, _)| flags | flag)
}

/// A backend as a slot holds it.
pub fn backend(key: &BackendKey, backend_id: u32) -> LbBackend {
    LbBackend {
        addr: Addr16::from_ip(key.0.ip()),
        port: Be16::new(key.0.port()),
        proto: key.1.number(),
        flags: 0,
        backend_id,
    }
}

/// The inverse of [`backend`].
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

/// `id=3 backends=2 type=ClusterIP`.
pub fn frontend_value_text(value: &LbFrontendValue) -> String {
    let kind = [
        (frontend_flags::CLUSTER_IP, "ClusterIP"),
        (frontend_flags::NODE_PORT, "NodePort"),
        (frontend_flags::LOAD_BALANCER, "LoadBalancer"),
        (frontend_flags::EXTERNAL_IP, "ExternalIP"),
    ];
    let kind = kind.into_iter().find(|(bit, _)| value.flags & bit != 0).map_or("-", |(_, name)| name);
    format!("id={} backends={} type={kind}", value.service_id, value.backend_count)
}

/// `id=3 slot=0`.
pub fn slot_key_text(key: &LbSlotKey) -> String {
    format!("id={} slot={}", key.service_id, key.slot)
}

/// `172.16.1.111:80/TCP id=7`.
pub fn slot_value_text(value: &LbBackend) -> String {
    match backend_of(value) {
        Some((address, protocol)) => format!("{address}/{protocol} id={}", value.backend_id),
        None => format!("{}:{}/{} id={}", value.addr, value.port, value.proto, value.backend_id),
    }
}
