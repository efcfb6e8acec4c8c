//! Maglev hashing (Eisenbud and others, NSDI 2016, section 3.4), with weights.
//!
//! ```text
//! backend   its own order of all places (offset + n * skip, the size is prime)
//!    A      3 0 4 1 5 2 6     the backends take turns; at its turn each
//!    B      0 2 4 6 1 3 5  => takes the first place of its order that is
//!    C      3 4 5 6 0 1 2     still free, until all places are taken
//! ```
//!
//! Each has its share to one place. When a backend goes its places are taken over by all others, and of the rest only few
//! change hands: fewer the more places there are for each backend. When one of 100 goes, at worst (measured by the tests):
//!
//! | places | 1021 | 4093 | 10,007 | 16,381 | 65,521 |
//! |---|---|---|---|---|---|
//! | others that move | 5.0 % | 2.9 % | 1.8 % | 1.4 % | 0.6 % |
//!
//! With a weight a backend is at its turn in as many of the rounds as its weight is of the largest one.

use std::net::IpAddr;

use super::Member;
use super::siphash::siphash24;

/// The sizes that can be asked for. [`size`] makes a prime of them.
pub const SIZES: std::ops::RangeInclusive<u32> = 251..=131_071;

/// Any key will do, as long as it is the same on all nodes, of all versions.
const KEY: (u64, u64) = (0x706c_656f_706f_6400, 0x6d61_676c_6576_0001);

/// The smallest prime that is not below `wanted`, within [`SIZES`].
pub fn size(wanted: u32) -> u32 {
    // Both ends are prime, so there always is one.
    (wanted.clamp(*SIZES.start(), *SIZES.end())..=*SIZES.end()).find(|n| is_prime(*n)).unwrap_or(*SIZES.end())
}

fn is_prime(n: u32) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

/// One backend's walk over the places.
struct Walk {
    member: u32,
    at: u32,
    skip: u32,
    weight: u32,
    /// What of its turns it has not had yet, in parts of the largest weight.
    credit: u32,
}

/// The table of `size` places (a prime), as positions in `members`; empty when no member has a weight. If there are more
/// members than places, those that come last in order of addresses have none.
pub fn table(members: &[Member], size: u32) -> Vec<u32> {
    let mut walks = walks(members, size);
    let Some(largest) = walks.iter().map(|w| w.weight).max() else { return Vec::new() };
    let mut table = vec![u32::MAX; size as usize];
    let mut left = size;
    loop {
        for walk in &mut walks {
            walk.credit += walk.weight;
            if walk.credit < largest {
                continue;
            }
            walk.credit -= largest;
            while table[walk.at as usize] != u32::MAX {
                walk.step(size);
            }
            table[walk.at as usize] = walk.member;
            left -= 1;
            if left == 0 {
                return table;
            }
            walk.step(size);
        }
    }
}

fn walks(members: &[Member], size: u32) -> Vec<Walk> {
    let mut order: Vec<usize> = (0..members.len()).filter(|i| members[*i].1 > 0).collect();
    order.sort_unstable_by_key(|i| members[*i].0);
    let walk = |i: usize| {
        let ((address, protocol), weight) = members[i];
        let ip = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut name = [0; 20];
        name[..16].copy_from_slice(&ip.octets());
        name[16..18].copy_from_slice(&address.port().to_be_bytes());
        name[18] = protocol.number();
        let offset = siphash24(KEY, &name);
        name[19] = 1;
        let skip = siphash24(KEY, &name);
        Walk {
            member: u32::try_from(i).unwrap_or(u32::MAX - 1),
            at: below(offset, size),
            skip: below(skip, size - 1) + 1,
            weight: u32::from(weight),
            credit: 0,
        }
    };
    order.into_iter().map(walk).collect()
}

/// `hash` modulo `n`.
fn below(hash: u64, n: u32) -> u32 {
    u32::try_from(hash % u64::from(n)).unwrap_or_default()
}

// === impl Walk ===

impl Walk {
    fn step(&mut self, size: u32) {
        self.at += self.skip;
        if self.at >= size {
            self.at -= size;
        }
    }
}

#[cfg(test)]
mod tests;
