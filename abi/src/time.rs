//! Time as the maps keep it. The kernel side reads `bpf_ktime_get_ns` (CLOCK_MONOTONIC); maps keep shifted values, because a
//! shift is free and a division is not.

/// A tick is 2^20 ns, about 1.05 ms. Wraps after 52 days: compare by [`ticks_since`].
pub const TICK_SHIFT: u32 = 20;

/// A beat is 2^30 ns, about 1.07 s. Does not wrap in 146 years.
pub const BEAT_SHIFT: u32 = 30;

/// Monotonic nanoseconds to ticks.
#[inline(always)]
pub const fn ticks(ns: u64) -> u32 {
    (ns >> TICK_SHIFT) as u32
}

/// Ticks that have passed from `then` to `now`, across a wrap.
#[inline(always)]
pub const fn ticks_since(now: u32, then: u32) -> u32 {
    now.wrapping_sub(then)
}

/// Monotonic nanoseconds to beats.
#[inline(always)]
pub const fn beats(ns: u64) -> u32 {
    (ns >> BEAT_SHIFT) as u32
}

/// The start of a beat in monotonic nanoseconds.
pub const fn beat_to_ns(beat: u32) -> u64 {
    (beat as u64) << BEAT_SHIFT
}

/// Milliseconds to ticks, rounded up.
pub const fn millis_to_ticks(ms: u64) -> u32 {
    (ms * 1_000_000).div_ceil(1 << TICK_SHIFT) as u32
}

/// Seconds to beats, rounded up.
pub const fn secs_to_beats(secs: u64) -> u32 {
    (secs * 1_000_000_000).div_ceil(1 << BEAT_SHIFT) as u32
}
