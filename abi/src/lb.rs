//! Service load balancing: `pleo_lb_fe`, `pleo_lb_slot`, `pleo_lb_rev`.
//!
//! connect() costs two lookups: the frontend by address and port, then one slot of its backends. To change the backends of a
//! live service write new slots first, then the frontend with the new count, then remove the slots beyond it.

use crate::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `pleo_lb_fe`: a port of a Service, or its address ([`LbFrontendKey::any_port`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbFrontendKey {
    /// Address of the service.
    pub addr: Addr16,
    /// Port of the service.
    pub port: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// [`scope`].
    pub scope: u8,
}

// === impl LbFrontendKey ===

impl LbFrontendKey {
    /// The row that every address of a Service has beside those of its ports: whoever asks for another port is refused, and no
    /// packet is sent there. Its value has no number and no backend.
    #[inline(always)]
    pub const fn any_port(addr: Addr16) -> Self {
        Self { addr, port: Be16::ZERO, proto: 0, scope: scope::CLUSTER }
    }
}

/// Values of [`LbFrontendKey::scope`].
pub mod scope {
    /// All backends.
    pub const CLUSTER: u8 = 0;
    /// Backends of this node (traffic policy `Local`).
    pub const LOCAL: u8 = 1;
}

/// Value of `pleo_lb_fe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbFrontendValue {
    /// Number of the service port on this node; prefix of its slots.
    pub service_id: u32,
    /// Slots 0 to `backend_count - 1` hold backends. 0: connections are refused.
    pub backend_count: u32,
    /// [`flags`](frontend_flags).
    pub flags: u32,
    /// Client affinity in seconds, 0 for none.
    pub affinity_timeout: u32,
}

/// Bits of [`LbFrontendValue::flags`].
pub mod frontend_flags {
    /// ClusterIP.
    pub const CLUSTER_IP: u32 = 1;
    /// NodePort.
    pub const NODE_PORT: u32 = 2;
    /// LoadBalancer address.
    pub const LOAD_BALANCER: u32 = 4;
    /// External address.
    pub const EXTERNAL_IP: u32 = 8;
    /// Only backends of this node (externalTrafficPolicy).
    pub const EXTERNAL_LOCAL: u32 = 16;
    /// Only backends of this node (internalTrafficPolicy).
    pub const INTERNAL_LOCAL: u32 = 32;
    /// Client affinity.
    pub const AFFINITY: u32 = 64;
}

/// Key of `pleo_lb_slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbSlotKey {
    /// [`LbFrontendValue::service_id`].
    pub service_id: u32,
    /// 0-based.
    pub slot: u32,
}

/// Value of `pleo_lb_slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbBackend {
    /// Address of the backend.
    pub addr: Addr16,
    /// Port of the backend.
    pub port: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// No bits yet.
    pub flags: u8,
    /// Number of the backend on this node.
    pub backend_id: u32,
}

/// Key of `pleo_lb_rev`: a socket and the backend it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbReverseKey {
    /// `bpf_get_socket_cookie`.
    pub cookie: u64,
    /// Address of the backend.
    pub addr: Addr16,
    /// Port of the backend.
    pub port: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// Zero.
    pub _pad: [u8; 5],
}

/// Value of `pleo_lb_rev`: the service that the socket asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LbReverseValue {
    /// Address of the service.
    pub addr: Addr16,
    /// Port of the service.
    pub port: Be16,
    /// Zero.
    pub _pad: u16,
    /// [`LbFrontendValue::service_id`].
    pub service_id: u32,
}
