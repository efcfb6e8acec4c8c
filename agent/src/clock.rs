//! The clocks of the agent. What is counted is counted on a clock that nobody sets; the time of day is for people to read.

use std::time::SystemTime;

use pleopod_ipam::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Now, as leases count time: setting the node's clock does not move it, and it does not stand still while the node
/// sleeps. So an address rests neither too short nor for ever.
pub fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Boottime);
    let nanoseconds = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    Timestamp(u64::try_from(nanoseconds).unwrap_or_default())
}

/// The time of day, nanoseconds since the Unix epoch.
pub fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn leases_count_on_a_clock_that_nobody_sets() {
        let before = now();
        let text = std::fs::read_to_string("/proc/uptime").expect("the uptime");
        let up: f64 = text.split(' ').next().and_then(|t| t.parse().ok()).expect("seconds");
        let up = Timestamp(u64::try_from(Duration::from_secs_f64(up).as_nanos()).expect("fits"));
        assert!(up.since(before) < Duration::from_secs(5) && before.since(up) < Duration::from_secs(5));
        // The epoch is longer ago than any machine is up.
        assert!(time_of_day() > now().0.saturating_mul(2));
    }
}
