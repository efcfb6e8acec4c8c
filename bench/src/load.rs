//! What else the machine is doing: a number is worth little without it.

use std::fs;

/// CPU time so far, in the kernel's ticks.
#[derive(Clone, Debug)]
pub struct Load {
    /// Of each CPU: all ticks, and those it was idle.
    cpus: Vec<(u64, u64)>,
}

// === impl Load ===

impl Load {
    /// Reads /proc/stat.
    pub fn now() -> Self {
        Self { cpus: parse(&fs::read_to_string("/proc/stat").unwrap_or_default()) }
    }

    /// How busy each CPU was since, and the load average, as one line.
    pub fn since(&self) -> String {
        let now = Self::now();
        let busy = self.cpus.iter().zip(&now.cpus).enumerate().map(|(cpu, (before, after))| {
            let (all, idle) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
            format!("CPU {cpu} {:.0} %", 100.0 * (1.0 - idle as f64 / all.max(1) as f64))
        });
        let busy: Vec<String> = busy.collect();
        let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let average: Vec<&str> = average.split(' ').take(3).collect();
        format!("busy: {}; load average {}", busy.join(", "), average.join(" "))
    }
}

fn parse(stat: &str) -> Vec<(u64, u64)> {
    let lines = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "));
    lines
        .map(|line| {
            // user nice system idle iowait irq softirq steal; the guest's time is in user already (proc_stat(5)).
            let ticks: Vec<u64> =
                line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
            let idle = ticks.get(3).copied().unwrap_or(0) + ticks.get(4).copied().unwrap_or(0);
            (ticks.iter().sum(), idle)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_all_ticks_are_read_for_each_cpu() {
        let stat =
            "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 100 0\ncpu1 10 0 0 90 0 0 0 0 0 0\nintr 5\n";
        assert_eq!(parse(stat), [(36, 9), (100, 90)]);
    }
}
