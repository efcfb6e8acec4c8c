//! Progress lines: which step of how many, what it found, how long it took.

use std::time::Instant;

/// A verb's steps, counted.
pub struct Steps {
    verb: &'static str,
    of: usize,
    done: usize,
}

/// A step under way.
pub struct Step {
    head: String,
    since: Instant,
}

impl Steps {
    /// `of` steps of `verb` are about to be taken.
    pub fn new(verb: &'static str, of: usize) -> Self {
        Self { verb, of, done: 0 }
    }

    /// Begins the next step.
    pub fn next(&mut self, what: &str) -> Step {
        self.done += 1;
        Step { head: format!("{} {}/{} {what}", self.verb, self.done, self.of), since: Instant::now() }
    }
}

impl Step {
    /// Says that something long begins, before its own output.
    pub fn doing(&self, what: &str) {
        eprintln!("{}: {what} ...", self.head);
    }

    /// Says what the step found out on the way.
    pub fn note(&self, what: &str) {
        eprintln!("{}: {what}", self.head);
    }

    /// Ends the step with what came of it.
    pub fn done(self, what: &str) {
        eprintln!("{}: {what} ({:.1} s)", self.head, self.since.elapsed().as_secs_f64());
    }
}
