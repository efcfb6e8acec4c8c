//! How many events a source may cause: a token bucket for each, so that a flood of one leaves room in the ring for the others.

/// What an event costs that tells of a packet on its way.
pub const COST: u32 = 1;
/// What one costs that tells of a drop or an ICMP error: nothing sums those up, each packet is an event.
pub const COST_EACH: u32 = 8;

/// Buckets of a CPU. Sources share them by a hash.
pub const BUCKETS: usize = 32;

/// A bucket. All zero is a full one that was last used long ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bucket {
    /// [Tick](pleopod_abi::time::ticks) of the last use.
    pub tick: u32,
    /// Tokens left then.
    pub tokens: u32,
}

/// The bucket of a source, by some of its bits.
#[inline(always)]
pub const fn bucket_of(bits: u32) -> usize {
    (bits.wrapping_mul(0x9e37_79b1) >> 27) as usize & (BUCKETS - 1)
}

/// Pays `cost` if there is enough; else nothing is paid. A tick brings `rate` tokens, up to `burst`.
#[inline(always)]
pub fn pay(bucket: &mut Bucket, tick: u32, cost: u32, rate: u32, burst: u32) -> bool {
    let passed = tick.wrapping_sub(bucket.tick);
    let grown = u64::from(bucket.tokens) + u64::from(passed) * u64::from(rate);
    let tokens = if grown > u64::from(burst) { burst } else { grown as u32 };
    bucket.tick = tick;
    let enough = tokens >= cost;
    bucket.tokens = if enough { tokens - cost } else { tokens };
    enough
}
