//! What a command said, and what can be asked about it.

/// Why a check does not hold.
pub type Outcome = Result<(), String>;

/// A command that has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output and standard error, in the order they came.
    pub text: String,
}

// === impl Seen ===

impl Seen {
    /// Its output has `part`.
    pub fn says(&self, part: &str) -> Outcome {
        if self.text.contains(part) { Ok(()) } else { Err(format!("the output has no `{part}`")) }
    }

    /// Its output has every one of `parts`.
    pub fn says_all<T: AsRef<str>>(&self, parts: &[T]) -> Outcome {
        parts.iter().try_for_each(|part| self.says(part.as_ref()))
    }

    /// Its output does not have `part`.
    pub fn lacks(&self, part: &str) -> Outcome {
        if self.text.contains(part) { Err(format!("the output has `{part}`")) } else { Ok(()) }
    }

    /// It said nothing.
    pub fn silent(&self) -> Outcome {
        if self.text.trim().is_empty() { Ok(()) } else { Err("there is output".to_owned()) }
    }

    /// It ended with `code`.
    pub fn ended(&self, code: i32) -> Outcome {
        if self.code == code { Ok(()) } else { Err(format!("exit code {}, not {code}", self.code)) }
    }

    /// `parts` stand in this order, each on a line of its own, other lines between them or not.
    pub fn in_order(&self, parts: &[&str]) -> Outcome {
        let mut lines = self.text.lines();
        parts.iter().try_for_each(|part| {
            let found = lines.any(|line| line.contains(part));
            if found { Ok(()) } else { Err(format!("no line with `{part}`, or not in this order")) }
        })
    }

    /// How many lines have `part`.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        self.text.lines().filter(|line| line.contains(part)).count()
    }

    /// The words of the first line whose first word is `name`, as of a table's row.
    #[must_use]
    pub fn row(&self, name: &str) -> Vec<&str> {
        let mut rows = self.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.find(|words| words.first() == Some(&name)).unwrap_or_default()
    }
}

/// Whether something is so, and what to say when it isn't.
pub fn so(holds: bool, reason: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(reason()) }
}
