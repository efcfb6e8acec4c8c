//! Choice of a backend.

/// Slot of a random number among `count` slots, each as likely as the others to within 2^-32. `None` when there is none.
#[inline(always)]
pub const fn pick(random: u32, count: u32) -> Option<u32> {
    if count == 0 { None } else { Some(((random as u64 * count as u64) >> 32) as u32) }
}
