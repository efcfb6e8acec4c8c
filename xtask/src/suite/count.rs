//! Reads the closing lines of cargo's test harness and of nextest.

use std::fmt;
use std::ops::AddAssign;

/// How many tests went how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Ran and held.
    pub passed: u64,
    /// Ran and did not, or never came to an end.
    pub failed: u64,
    /// Marked `#[ignore]`, or left out by a filter of nextest's.
    pub skipped: u64,
}

/// Whose output is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// `cargo test`: a closing line for each test binary, on standard output.
    Cargo,
    /// `cargo nextest run`: one closing line, on standard error, after whatever failed tests have printed.
    Nextest,
}

impl Count {
    /// Takes in what a line of a runner's output says, when it is a closing line.
    ///
    /// ```text
    /// test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s
    ///      Summary [   1.234s] 10/12 tests run: 8 passed (1 slow), 1 failed, 1 timed out, 2 skipped
    /// ```
    pub fn read(&mut self, runner: Runner, line: &str) {
        let line = plain(line);
        match runner {
            Runner::Cargo => {
                let counts = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "));
                if let Some((_, counts)) = counts {
                    *self += Self::of(counts);
                }
            }
            Runner::Nextest => {
                let counts = line.trim().strip_prefix("Summary [").and_then(|rest| rest.split_once(" run: "));
                if let Some((_, counts)) = counts {
                    *self = Self::of(counts);
                }
            }
        }
    }

    fn of(counts: &str) -> Self {
        let mut count = Self::default();
        for part in counts.split([';', ',']) {
            // `1 failed`, `1 timed out`, and `8 passed (1 slow` of `8 passed (1 slow, 1 flaky)`
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(word)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match word {
                "passed" => count.passed += number,
                "failed" | "timed" | "exec" => count.failed += number,
                "ignored" | "skipped" => count.skipped += number,
                _ => {}
            }
        }
        count
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

/// The line without terminal colours (`ESC [ ... letter`).
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{Count, Runner};

    fn count(runner: Runner, lines: &[&str]) -> Count {
        let mut count = Count::default();
        lines.iter().for_each(|line| count.read(runner, line));
        count
    }

    #[test]
    fn cargos_binaries_are_summed() {
        let said = [
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ];
        assert_eq!(count(Runner::Cargo, &said), Count { passed: 5, failed: 4, skipped: 1 });
    }

    #[test]
    fn nextests_summary_counts_what_timed_out_and_not_what_a_failed_test_printed() {
        let said = [
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s",
            "     Summary [  90.002s] 10 tests run: 7 passed (1 slow, 1 flaky), 1 failed, 2 timed out, 19 skipped",
            "        FAIL [   0.1s] pleopod-abi::layout sizes: 3 passed",
        ];
        assert_eq!(count(Runner::Nextest, &said), Count { passed: 7, failed: 3, skipped: 19 });
    }

    #[test]
    fn one_test_and_colours_are_read_too() {
        let said = [
            "\u{1b}[32;1m     Summary\u{1b}[0m [   0.003s] \u{1b}[1m1\u{1b}[0m test run: \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped",
        ];
        assert_eq!(count(Runner::Nextest, &said), Count { passed: 1, failed: 0, skipped: 0 });
    }

    #[test]
    fn a_test_that_prints_words_alike_is_not_counted() {
        for runner in [Runner::Cargo, Runner::Nextest] {
            assert_eq!(
                count(runner, &["9 passed, 9 failed", "my test result: ok. 9 passed"]),
                Count::default()
            );
        }
    }

    #[test]
    fn the_closing_line_has_its_form() {
        assert_eq!(Count { passed: 2, failed: 0, skipped: 0 }.to_string(), "2 passed, 0 failed");
        assert_eq!(Count { passed: 2, failed: 1, skipped: 3 }.to_string(), "2 passed, 1 failed, 3 skipped");
    }
}
