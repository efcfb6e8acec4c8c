//! Licences and sources of dependencies, against the lists of deny.toml: what cargo-deny would say, without building it.

use anyhow::{Result, bail};

use super::Findings;
use super::metadata::Workspace;

/// The licences we accept, as deny.toml lists them.
#[derive(Debug)]
pub struct Policy {
    allow: Vec<String>,
}

impl Policy {
    /// Reads `allow` under `[licenses]`.
    pub fn read(deny: &str) -> Result<Self> {
        let lines = deny.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let section =
            lines.skip_while(|line| *line != "[licenses]").skip(1).take_while(|line| !is_table(line));
        let text: String = section.collect();
        let list =
            text.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']')).map(|(list, _)| list);
        let allow: Vec<String> =
            list.unwrap_or_default().split('"').skip(1).step_by(2).map(str::to_owned).collect();
        if allow.is_empty() {
            bail!("[licenses] has no list `allow = [...]`");
        }
        Ok(Self { allow })
    }
}

fn is_table(line: &str) -> bool {
    line.starts_with('[')
        && line.ends_with(']')
        && line[1..].starts_with(|c: char| c.is_alphabetic() || c == '[')
}

/// Looks at every foreign package.
pub fn check(policy: &Policy, workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for package in &workspace.foreign {
        let name = &package.package;
        match &package.licence {
            None => findings.push(format!("{name}: names no licence")),
            Some(licence) => match accepted(licence, &policy.allow) {
                Some(true) => {}
                Some(false) => {
                    findings.push(format!("{name}: its licence `{licence}` is not allowed by deny.toml"))
                }
                None => findings.push(format!("{name}: its licence `{licence}` can't be read")),
            },
        }
        if !package.source.as_deref().is_some_and(|source| source.starts_with("registry+")) {
            let source = package.source.as_deref().unwrap_or("a path");
            findings.push(format!("{name}: comes from {source}; dependencies come from the registry"));
        }
    }
    findings
}

/// Whether an SPDX expression can be satisfied with these licences; none when it is no expression. The old `A/B` is `A OR B`.
fn accepted(expression: &str, allow: &[String]) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allow };
    let value = reader.any()?;
    reader.words.is_empty().then_some(value)
}

struct Reader<'a> {
    words: &'a [&'a str],
    allow: &'a [String],
}

impl Reader<'_> {
    fn eat(&mut self, word: &str) -> bool {
        let there = self.words.first() == Some(&word);
        if there {
            self.words = &self.words[1..];
        }
        there
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        (!matches!(*first, "OR" | "AND" | "WITH" | "(" | ")")).then_some(*first)
    }

    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.eat("OR") {
            value |= self.all()?;
        }
        Some(value)
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.eat("AND") {
            value &= self.one()?;
        }
        Some(value)
    }

    fn one(&mut self) -> Option<bool> {
        if self.eat("(") {
            let value = self.any()?;
            return self.eat(")").then_some(value);
        }
        let mut licence = self.next()?.to_owned();
        if self.eat("WITH") {
            licence = format!("{licence} WITH {}", self.next()?);
        }
        Some(self.allow.contains(&licence))
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, accepted, check};
    use crate::house::metadata::{Foreign, Workspace};

    const DENY: &str = "[graph]\ntargets = [\"x\"]\n[licenses]\n# words\nallow = [\n  \"MIT\",\n  \"Apache-2.0\", # \"GPL-3.0\"\n  \
                        \"Apache-2.0 WITH LLVM-exception\",\n]\n[bans]\nallow = [\"no\"]\n";

    #[test]
    fn the_list_is_read_from_its_section() {
        let policy = Policy::read(DENY).expect("a policy");
        assert_eq!(policy.allow, ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]);
        assert!(Policy::read("[bans]\nallow = [\"MIT\"]\n").is_err());
    }

    #[test]
    fn expressions_are_weighed() {
        let allow = Policy::read(DENY).expect("a policy").allow;
        for (expression, value) in [
            ("MIT", Some(true)),
            ("MIT OR GPL-3.0", Some(true)),
            ("MIT/Unlicense", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT AND ISC", Some(false)),
            ("(GPL-3.0 OR MIT) AND Apache-2.0", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("Apache-2.0 WITH Other-exception", Some(false)),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT Apache-2.0", None),
            ("", None),
        ] {
            assert_eq!(accepted(expression, &allow), value, "{expression}");
        }
    }

    #[test]
    fn a_package_without_licence_or_from_elsewhere_is_found() {
        let package = |licence: Option<&str>, source: Option<&str>| Foreign {
            package: "x 1.0.0".into(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        let policy = Policy::read(DENY).expect("a policy");
        let count = |p| check(&policy, &Workspace { members: Vec::new(), foreign: vec![p] }).len();
        assert_eq!(count(package(Some("MIT"), Some("registry+x"))), 0);
        assert_eq!(count(package(None, Some("registry+x"))), 1);
        assert_eq!(count(package(Some("GPL-3.0"), Some("registry+x"))), 1);
        assert_eq!(count(package(Some("MIT"), Some("git+x"))), 1);
        assert_eq!(count(package(Some("MIT"), None)), 1);
    }
}
