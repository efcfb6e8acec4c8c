//! Housekeeping of what the programs write themselves: connections, translations, fragments.
//!
//! The maps are LRU, so nothing ever fails for want of a sweep; the sweep keeps their fill honest and frees places before
//! the kernel has to guess which entry is dead. [`sweeper`] does it away from whoever must not wait.

use std::collections::HashSet;
use std::net::IpAddr;

use pleopod_abi::Addr16;
use pleopod_abi::ct::{CtKey, CtValue};
use pleopod_abi::frag::{FragKey, FragValue};
use pleopod_abi::lb::{LbReverseKey, LbReverseValue};
use pleopod_abi::nat::{NatKey, NatValue};
use pleopod_abi::time::beats;
use pleopod_sys_bpf::{Loaded, TypedMap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Error;

pub mod sweeper;

/// The maps that the programs write.
#[derive(Debug)]
pub struct Connections {
    /// `pleo_ct`.
    pub ct: TypedMap<CtKey, CtValue>,
    /// `pleo_nat`.
    pub nat: TypedMap<NatKey, NatValue>,
    /// `pleo_frag`.
    pub frag: TypedMap<FragKey, FragValue>,
    /// `pleo_lb_rev`.
    pub reverse: TypedMap<LbReverseKey, LbReverseValue>,
}

/// What a sweep saw in one map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries that stay.
    pub live: usize,
    /// Entries removed.
    pub removed: usize,
}

/// What a sweep saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// `pleo_ct`.
    pub ct: Swept,
    /// `pleo_nat`.
    pub nat: Swept,
    /// `pleo_frag`.
    pub frag: Swept,
}

// === impl Connections ===

impl Connections {
    /// The maps of `loaded`.
    pub fn new(loaded: &Loaded) -> Result<Self, Error> {
        Ok(Self {
            ct: loaded.typed("pleo_ct")?,
            nat: loaded.typed("pleo_nat")?,
            frag: loaded.typed("pleo_frag")?,
            reverse: loaded.typed("pleo_lb_rev")?,
        })
    }

    /// Removes what has expired. `now` is CLOCK_MONOTONIC in nanoseconds, as the programs see it.
    ///
    /// An entry that a packet brings back to life between the look and the removal is lost; the connection is then
    /// picked up in the middle by its next packet.
    pub fn sweep(&self, now: u64) -> Result<Sweep, Error> {
        let now = beats(now);
        Ok(Sweep {
            ct: remove_where("pleo_ct", &self.ct, |_, value| value.expires <= now)?,
            nat: remove_where("pleo_nat", &self.nat, |_, value| value.expires <= now)?,
            frag: remove_where("pleo_frag", &self.frag, |_, value| value.expires <= now)?,
        })
    }

    /// Removes everything about addresses whose pods are gone, so that the next pod that gets one of them starts clean.
    pub fn forget(&self, addresses: &[IpAddr]) -> Result<usize, Error> {
        if addresses.is_empty() {
            return Ok(0);
        }
        let gone: HashSet<Addr16> = addresses.iter().map(|ip| Addr16::from_ip(*ip)).collect();
        let ct = remove_where("pleo_ct", &self.ct, |key, _| gone.contains(&key.a) || gone.contains(&key.b))?;
        let nat = remove_where("pleo_nat", &self.nat, |key, value| {
            gone.contains(&key.src) || gone.contains(&key.dst) || gone.contains(&value.addr)
        })?;
        Ok(ct.removed + nat.removed)
    }
}

fn remove_where<K, V>(
    name: &'static str,
    map: &TypedMap<K, V>,
    dead: impl Fn(&K, &V) -> bool,
) -> Result<Swept, Error>
where
    K: IntoBytes + FromBytes + Immutable + Copy,
    V: IntoBytes + FromBytes + Immutable + Copy,
{
    let failed = |source| Error::Map { map: name, source };
    let mut live = 0;
    let mut keys = Vec::new();
    map.each(|key, value| if dead(&key, &value) { keys.push(key) } else { live += 1 }).map_err(failed)?;
    if let Some((_, error)) = map.delete(&keys).into_iter().next() {
        return Err(failed(error));
    }
    Ok(Swept { live, removed: keys.len() })
}
