//! Incremental internet checksums (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`). Numbers are 16-bit words in whatever order
//! they stand in memory, as one's complement sums do not care.

use pleopod_abi::{Addr16, Be16};

/// The checksum after one 16-bit word changed.
#[inline(always)]
pub const fn update16(checksum: Be16, old: u16, new: u16) -> Be16 {
    let sum = (!checksum.raw()) as u32 + (!old) as u32 + new as u32;
    Be16::from_raw(!fold(sum))
}

/// The difference that `new` in place of `old` makes to a sum of words.
#[inline(always)]
pub const fn difference32(old: u32, new: u32) -> u32 {
    let sum = (!old & 0xffff) + (!old >> 16) + (new & 0xffff) + (new >> 16);
    fold(sum) as u32
}

/// The difference that one address in place of another makes to a sum of words.
#[inline(always)]
pub const fn address_difference(old: Addr16, new: Addr16) -> u32 {
    let (o, n) = (old.words(), new.words());
    let sum = difference32(o[0], n[0])
        + difference32(o[1], n[1])
        + difference32(o[2], n[2])
        + difference32(o[3], n[3]);
    fold(sum) as u32
}

/// The checksum after a change whose [difference](difference32) is known.
#[inline(always)]
pub const fn apply(checksum: Be16, difference: u32) -> Be16 {
    let sum = (!checksum.raw()) as u32 + (difference & 0xffff) + (difference >> 16);
    Be16::from_raw(!fold(sum))
}

/// Folds carries until 16 bits are left.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// TTL (as it stands before the protocol byte) one lower, with the header checksum that goes with it.
#[inline(always)]
pub const fn decrement_ttl(ttl: u8, proto: u8, checksum: Be16) -> (u8, Be16) {
    let lower = ttl.wrapping_sub(1);
    let old = u16::from_ne_bytes([ttl, proto]);
    let new = u16::from_ne_bytes([lower, proto]);
    (lower, update16(checksum, old, new))
}
