//! `pleo_nat`: source translation of pods that talk to the world. Two entries for a connection, one per direction.

use crate::{Addr16, Be16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `pleo_nat`: a packet's own tuple, not normalised.
///
/// - `OUT`: what the pod sends (pod address and port, destination address and port);
/// - `IN`: what comes back (destination address and port, node address and chosen port).
///
/// ICMP echo keeps its identifier in `sport` for `OUT` and in `dport` for `IN`, and zero in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NatKey {
    /// Source address.
    pub src: Addr16,
    /// Destination address.
    pub dst: Addr16,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// IP protocol number.
    pub proto: u8,
    /// [`nat_dir`].
    pub dir: u8,
    /// Zero.
    pub _pad: u16,
}

/// Values of [`NatKey::dir`].
pub mod nat_dir {
    /// From the pod to the world.
    pub const OUT: u8 = 0;
    /// Back.
    pub const IN: u8 = 1;
}

/// Value of `pleo_nat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct NatValue {
    /// `OUT`: the new source address. `IN`: the pod's address, the new destination.
    pub addr: Addr16,
    /// `OUT`: the new source port. `IN`: the pod's port.
    pub port: Be16,
    /// [`flags`](nat_flags), the same in both entries of a connection.
    pub flags: u16,
    /// End of life, in [beats](crate::time::beats), the same in both entries.
    pub expires: u32,
}

/// Bits of [`NatValue::flags`].
pub mod nat_flags {
    /// Something came back.
    pub const REPLIED: u16 = 1;
    /// The pod sent FIN.
    pub const FIN_OUT: u16 = 2;
    /// The world sent FIN.
    pub const FIN_IN: u16 = 4;
    /// Either side sent RST.
    pub const RESET: u16 = 8;
}
