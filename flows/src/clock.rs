//! The kernel stamps events with its monotonic clock; people read the time of day.
//!
//! The difference of the two clocks is measured again as events come, so that setting the node's clock shows in later
//! flows and never shifts earlier ones.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// How much older than the newest event the last measurement may be, in nanoseconds.
const STALE: u64 = 100_000_000;

/// Turns `bpf_ktime_get_ns` into nanoseconds since the Unix epoch.
#[derive(Debug)]
pub struct Clock {
    /// Realtime minus monotonic.
    offset: AtomicI64,
    /// Monotonic time of the measurement.
    measured: AtomicU64,
}

// === impl Clock ===

impl Clock {
    /// A clock measured now.
    pub fn new() -> Self {
        let clock = Self { offset: AtomicI64::new(0), measured: AtomicU64::new(0) };
        clock.measure();
        clock
    }

    /// The time of day of the monotonic time `ktime`.
    pub fn wall(&self, ktime: u64) -> i64 {
        if ktime.saturating_sub(self.measured.load(Ordering::Relaxed)) > STALE {
            self.measure();
        }
        i64::try_from(ktime).unwrap_or(i64::MAX).saturating_add(self.offset.load(Ordering::Relaxed))
    }

    fn measure(&self) {
        let (monotonic, realtime) = (monotonic(), realtime());
        self.offset.store(realtime.saturating_sub_unsigned(monotonic), Ordering::Relaxed);
        self.measured.store(monotonic, Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic() -> u64 {
    u64::try_from(nanoseconds(ClockId::Monotonic)).unwrap_or(0)
}

/// Nanoseconds since the Unix epoch.
pub fn realtime() -> i64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(id: ClockId) -> i64 {
    let time = clock_gettime(id);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now() {
        let clock = Clock::new();
        let error = clock.wall(monotonic()) - realtime();
        assert!(error.abs() < 50_000_000, "{error} ns apart");
    }

    #[test]
    fn nonsense_from_the_kernel_does_not_overflow() {
        let clock = Clock::new();
        assert!(clock.wall(u64::MAX) > 0);
    }
}
