//! Latencies of single operations, and what is quoted of them.

use serde::{Deserialize, Serialize};

/// Every sample of one run, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<u32>);

/// What one run came to. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Operations.
    pub count: usize,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

// === impl Samples ===

impl Samples {
    /// Room for `n` samples, so that a run does not allocate.
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// One more.
    pub fn push(&mut self, duration: std::time::Duration) {
        self.0.push(u32::try_from(duration.as_nanos()).unwrap_or(u32::MAX));
    }

    /// Sorts and reads the percentiles off. `None` when there is no sample.
    pub fn summary(mut self) -> Option<Summary> {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1)?;
        let at = |q: f64| f64::from(self.0[(last as f64 * q).round() as usize]);
        Some(Summary { count: self.0.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) })
    }
}

/// The median of some values; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn percentiles_are_read_from_the_sorted_samples() {
        let mut samples = Samples::default();
        for n in (1..=101).rev() {
            samples.push(Duration::from_nanos(n));
        }
        let s = samples.summary().expect("samples");
        assert_eq!((s.count, s.p50, s.p90, s.max), (101, 51.0, 91.0, 101.0));
        assert_eq!(Samples::default().summary(), None);
        assert_eq!(median(&[4.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
