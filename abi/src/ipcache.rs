//! `pleo_ipcache` (exact addresses, asked first) and `pleo_ipc_lpm` (prefixes): who an address is.

use crate::Addr16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `pleo_ipcache`: one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct IpcacheKey {
    /// The address.
    pub addr: Addr16,
}

/// Key of `pleo_ipc_lpm`, laid out as the kernel's `struct bpf_lpm_trie_key` wants it.
///
/// An IPv4 prefix of length n has `prefixlen` 96 + n. The world is two entries: `::ffff:0:0/96` and `::/0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct IpcacheLpmKey {
    /// Bits of `addr` that count, 0 to 128.
    pub prefixlen: u32,
    /// The network address; bits beyond the prefix are zero.
    pub addr: Addr16,
}

/// Value of both maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct IpcacheValue {
    /// Security identity.
    pub identity: u32,
    /// [`flags`](ipcache_flags).
    pub flags: u32,
    /// Address of the node the address lives on, `::` when it is this node or no node.
    pub tunnel_endpoint: Addr16,
}

/// Bits of [`IpcacheValue::flags`].
pub mod ipcache_flags {
    /// Reach it through the tunnel (not used by native routing).
    pub const TUNNEL: u32 = 1;
    /// Outside the cluster though its identity is not the world's: an API server that is no node. Pods reach it with the
    /// node's address, as they do the world.
    pub const OUTSIDE: u32 = 2;
}

// === impl IpcacheLpmKey ===

impl IpcacheLpmKey {
    /// The key of `addr/len`; `len` counts bits of the address's own family. `None` when it is too long for the family.
    pub fn new(addr: Addr16, len: u8) -> Option<Self> {
        let (base, most) = if addr.is_v4() { (96, 32) } else { (0, 128) };
        if len > most {
            return None;
        }
        let prefixlen = base + u32::from(len);
        let bits = u128::from_be_bytes(addr.octets());
        let mask = if prefixlen == 0 { 0 } else { u128::MAX << (128 - prefixlen) };
        Some(Self { prefixlen, addr: Addr16::from_octets((bits & mask).to_be_bytes()) })
    }
}
