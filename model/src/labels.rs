//! Security labels: what identities are made of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One label with where it comes from, printed `source:key[=value]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// `k8s` or `reserved`.
    pub source: String,
    /// Key, for example `app`.
    pub key: String,
    /// Value; empty when the label is only a key.
    pub value: String,
}

/// A sorted set of labels, at most one for each `source:key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Labels(BTreeMap<(String, String), String>);

// === impl Label ===

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.key)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, "={}", self.value) }
    }
}

impl Label {
    /// Reads `source:key[=value]`; without a source it is `k8s`.
    pub fn parse(text: &str) -> Self {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (source, key) = key.split_once(':').unwrap_or(("k8s", key));
        Self { source: source.into(), key: key.into(), value: value.into() }
    }
}

// === impl Labels ===

impl Labels {
    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one label.
    pub fn insert(&mut self, source: impl Into<String>, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert((source.into(), key.into()), value.into());
    }

    /// The value of `source:key`.
    pub fn get(&self, source: &str, key: &str) -> Option<&str> {
        self.0.get(&(source.to_owned(), key.to_owned())).map(String::as_str)
    }

    /// The labels in order of source, then key.
    pub fn iter(&self) -> impl Iterator<Item = Label> + '_ {
        self.0.iter().map(|((source, key), value)| Label {
            source: source.clone(),
            key: key.clone(),
            value: value.clone(),
        })
    }

    /// How many labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every label as `source:key[=value]`, sorted.
    pub fn to_strings(&self) -> Vec<String> {
        self.iter().map(|l| l.to_string()).collect()
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<T: IntoIterator<Item = Label>>(iter: T) -> Self {
        Self(iter.into_iter().map(|l| ((l.source, l.key), l.value)).collect())
    }
}

impl From<Vec<String>> for Labels {
    fn from(texts: Vec<String>) -> Self {
        texts.iter().map(|t| Label::parse(t)).collect()
    }
}

impl From<Labels> for Vec<String> {
    fn from(labels: Labels) -> Self {
        labels.to_strings()
    }
}
