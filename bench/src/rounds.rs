//! Rounds: every side has its turn in each, so that what the machine does meanwhile falls on all of them.

use std::time::Duration;

use crate::latency::{Summary, median};
use crate::load::Load;

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Rounds.
    pub rounds: usize,
    /// Length of one turn.
    pub span: Duration,
    /// The CPU of both ends.
    pub cpu: usize,
}

/// One of the things that are compared.
pub struct Side<'a> {
    /// What it is, for people.
    pub name: String,
    turn: Box<dyn FnMut() -> anyhow::Result<Summary> + 'a>,
}

/// What came out: the summaries of each side, in the order of the rounds.
#[derive(Debug)]
pub struct Outcome {
    sides: Vec<(String, Vec<Summary>)>,
    load: String,
}

/// A value over the rounds: the median, and the smallest and largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Median of the rounds.
    pub median: f64,
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

// === impl Side ===

impl<'a> Side<'a> {
    /// A side, and what makes its turn.
    pub fn new(name: impl Into<String>, turn: impl FnMut() -> anyhow::Result<Summary> + 'a) -> Self {
        Self { name: name.into(), turn: Box::new(turn) }
    }
}

// === impl Turns ===

impl Turns {
    /// All rounds. The first turn of each side, which warms caches, is not counted. The order turns with every round.
    pub fn run(&self, mut sides: Vec<Side<'_>>) -> anyhow::Result<Outcome> {
        for side in &mut sides {
            (side.turn)()?;
        }
        let load = Load::now();
        let mut taken: Vec<(String, Vec<Summary>)> =
            sides.iter().map(|side| (side.name.clone(), Vec::new())).collect();
        for round in 0..self.rounds {
            for turn in 0..sides.len() {
                let at = (turn + round) % sides.len();
                taken[at].1.push((sides[at].turn)()?);
            }
        }
        Ok(Outcome { sides: taken, load: load.since() })
    }
}

// === impl Outcome ===

impl Outcome {
    /// The p50 of a side over the rounds, nanoseconds.
    pub fn p50(&self, side: usize) -> Spread {
        Spread::of(self.sides[side].1.iter().map(|s| s.p50))
    }

    /// The p50 of `side` divided by that of `reference`, round by round.
    pub fn ratio(&self, side: usize, reference: usize) -> Spread {
        let pairs = self.sides[side].1.iter().zip(&self.sides[reference].1);
        Spread::of(pairs.map(|(a, b)| a.p50 / b.p50))
    }

    /// Prints every side, and its ratio to each of the sides named by `references`.
    pub fn print(&self, title: &str, references: &[usize]) {
        println!("\n{title}");
        for (at, (name, summaries)) in self.sides.iter().enumerate() {
            let p50 = self.p50(at);
            let p99 = Spread::of(summaries.iter().map(|s| s.p99));
            let us = |ns: f64| ns / 1000.0;
            let mut line = format!(
                "  {name:<34} p50 {:>8.2} us ({:.2} to {:.2})  p99 {:>8.2} us",
                us(p50.median),
                us(p50.low),
                us(p50.high),
                us(p99.median)
            );
            for reference in references.iter().filter(|r| **r != at) {
                let ratio = self.ratio(at, *reference);
                let name = self.sides[*reference].0.split(' ').next().unwrap_or_default();
                line += &format!("  {:.3} x {name} ({:.3} to {:.3})", ratio.median, ratio.low, ratio.high);
            }
            println!("{line}");
        }
        let rounds = self.sides.first().map_or(0, |(_, s)| s.len());
        println!("  {rounds} rounds; {}", self.load);
    }
}

// === impl Spread ===

impl Spread {
    /// Of some values; zeros of none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        Self { median: median(&values), low: if low.is_finite() { low } else { 0.0 }, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_has_its_turn_in_every_round_and_ratios_pair_them() {
        let turns = Turns { rounds: 3, span: Duration::ZERO, cpu: 0 };
        let summary = |p50: f64| Summary { count: 1, p50, p90: p50, p99: p50, max: p50 };
        let mut drift = 0.0;
        let one = Side::new("one", move || {
            drift += 1.0;
            Ok(summary(drift))
        });
        let mut again = 0.0;
        let two = Side::new("two", move || {
            again += 1.0;
            Ok(summary(again * 2.0))
        });
        let outcome = turns.run(vec![one, two]).expect("rounds");
        assert_eq!(outcome.p50(0), Spread { median: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(outcome.ratio(1, 0), Spread { median: 2.0, low: 2.0, high: 2.0 });
    }
}
