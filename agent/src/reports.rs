//! Tells people of problems, at their objects, one after the other and until the API server has taken it.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use pleopod_model::Problem;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often, and how long after one another, a report is tried.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// Pause after the first failure; each failure doubles it.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// Tries of one report. After these the problem is only in `status` and in the log.
    pub most: u32,
}

/// Why one report failed.
#[derive(Debug)]
pub struct Failed {
    /// One line.
    pub why: String,
    /// Whether trying again may help.
    pub again: bool,
}

/// Reports that the API server did not take yet.
#[derive(Debug, Default)]
struct Queue {
    /// Problems of the present that were told, or are waiting to be.
    known: HashSet<Problem>,
    waiting: VecDeque<(Problem, u32)>,
}

// === impl Tries ===

impl Tries {
    /// About a quarter of an hour in all.
    pub const STANDARD: Self =
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60), most: 20 };

    fn pause(&self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(16)).min(self.longest)
    }
}

// === impl Queue ===

impl Queue {
    /// The problems are these now: new ones wait, those that are over are not told any more.
    fn follow(&mut self, problems: &[Problem]) {
        let now: HashSet<&Problem> = problems.iter().collect();
        self.known.retain(|problem| now.contains(problem));
        self.waiting.retain(|(problem, _)| now.contains(problem));
        for problem in problems {
            if self.known.insert(problem.clone()) {
                self.waiting.push_back((problem.clone(), 0));
            }
        }
    }
}

/// Tells of each problem once, by `tell`, until nobody sends any more. Problems that are over before they were told are
/// left out. While one fails for want of an API server the others wait too.
pub async fn work<F>(mut problems: watch::Receiver<Vec<Problem>>, tries: Tries, tell: impl Fn(Problem) -> F)
where
    F: Future<Output = Result<(), Failed>>,
{
    let mut queue = Queue::default();
    let mut failures = 0;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            changed = problems.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = problems.borrow_and_update().clone();
                queue.follow(&now);
            }
            () = sleep_until(next), if !queue.waiting.is_empty() => {
                let Some((problem, tried)) = queue.waiting.pop_front() else { continue };
                let Err(failed) = tell(problem.clone()).await else {
                    failures = 0;
                    continue;
                };
                let (why, tried) = (failed.why, tried + 1);
                if failed.again && tried < tries.most {
                    tracing::debug!(why, %problem, tried, "reporting a problem; tried again");
                    queue.waiting.push_back((problem, tried));
                    next = Instant::now() + tries.pause(failures);
                    failures += 1;
                } else {
                    tracing::warn!(why, %problem, tried, "the problem is not reported at its object");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
