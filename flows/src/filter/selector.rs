//! Kubernetes label selectors over security labels (`source:key=value`).
//!
//! `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a, b)`, `key notin (a, b)`, joined by commas. A key
//! with a source (`k8s:app`) means that source; without one, any.

#[cfg(test)]
mod tests;

/// A selector: every requirement holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    source: Option<String>,
    key: String,
    operator: Operator,
}

#[derive(Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

// === impl Selector ===

impl Selector {
    /// Reads a selector.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text)?;
        let requirements =
            parts.iter().map(|part| Requirement::parse(part)).collect::<Result<Vec<_>, _>>()?;
        if requirements.is_empty() {
            return Err("expected a label selector such as app=web".to_owned());
        }
        Ok(Self(requirements))
    }

    /// Whether the labels fit.
    pub fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

// === impl Requirement ===

impl Requirement {
    fn parse(text: &str) -> Result<Self, String> {
        let one = |value: &str| vec![value.trim().to_owned()];
        let (key, operator) = if let Some(key) = text.strip_prefix('!') {
            (key, Operator::Absent)
        } else if let Some((key, value)) = text.split_once("!=") {
            (key, Operator::NotIn(one(value)))
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            (key, Operator::In(one(value)))
        } else if let Some((head, list)) = text.split_once('(') {
            let list =
                list.strip_suffix(')').ok_or_else(|| format!("{text:?} has no closing parenthesis"))?;
            let values = list.split(',').map(|value| value.trim().to_owned()).collect();
            match head.trim().rsplit_once(char::is_whitespace) {
                Some((key, "in")) => (key, Operator::In(values)),
                Some((key, "notin")) => (key, Operator::NotIn(values)),
                _ => return Err(format!("{text:?} has a list without in or notin")),
            }
        } else {
            (text, Operator::Exists)
        };
        let key = key.trim();
        let (source, key) = key.split_once(':').map_or((None, key), |(source, key)| (Some(source), key));
        // `any:` is how Cilium writes "of whatever source".
        let source = source.filter(|source| *source != "any");
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("{text:?} has no label key"));
        }
        Ok(Self { source: source.map(str::to_owned), key: key.to_owned(), operator })
    }

    fn matches(&self, labels: &[String]) -> bool {
        let value = labels.iter().find_map(|label| self.value(label));
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
        }
    }

    /// The value of the label, if it has this requirement's key.
    fn value<'a>(&self, label: &'a str) -> Option<&'a str> {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        let (source, key) = key.split_once(':').unwrap_or(("", key));
        let fits = key == self.key && self.source.as_ref().is_none_or(|wanted| wanted == source);
        fits.then_some(value)
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' if inside => return Err(format!("{text:?} has a parenthesis in a list")),
            '(' => inside = true,
            ')' if !inside => return Err(format!("{text:?} has a closing parenthesis too many")),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    Ok(parts)
}
