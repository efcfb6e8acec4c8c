//! Label and field selectors: parsing what stands in a query, and matching.

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};
use crate::meta;

#[cfg(test)]
mod tests;

/// One demand on the labels of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// `key=value` or `key in (a, b)`.
    In(String, Vec<String>),
    /// `key!=value` or `key notin (a, b)`; also true when the key is absent.
    NotIn(String, Vec<String>),
    /// `key`
    Exists(String),
    /// `!key`
    Absent(String),
    /// `key>n`
    Above(String, i64),
    /// `key<n`
    Below(String, i64),
}

/// All of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<Demand>);

/// One `field=value` or `field!=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDemand {
    /// As `spec.nodeName`.
    pub path: String,
    /// The value asked for.
    pub value: String,
    /// `true` for `=`, `false` for `!=`.
    pub equal: bool,
}

/// All of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<FieldDemand>);

// === impl Labels ===

impl Labels {
    /// Reads the text of a `labelSelector` query parameter.
    pub fn parse(text: &str) -> Result<Self> {
        let mut demands = Vec::new();
        for part in split(text) {
            demands.push(demand(part.trim()).ok_or_else(|| {
                ApiError::bad_request(format!(
                    "unable to parse requirement: found {:?}, which is no label selector",
                    part.trim()
                ))
            })?);
        }
        Ok(Self(demands))
    }

    /// From `{key: value}`, as in `Service.spec.selector`.
    pub fn from_map(m: &Map<String, Value>) -> Self {
        Self(
            m.iter().map(|(k, v)| Demand::In(k.clone(), vec![v.as_str().unwrap_or("").to_owned()])).collect(),
        )
    }

    /// From a `metav1.LabelSelector`; `None` when there is none, which selects nothing.
    pub fn from_selector(v: Option<&Value>) -> Option<Self> {
        let v = v.filter(|v| v.is_object())?;
        let mut demands = match v.get("matchLabels").and_then(Value::as_object) {
            Some(m) => Self::from_map(m).0,
            None => Vec::new(),
        };
        demands.extend(meta::list(v, "/matchExpressions").iter().filter_map(expression));
        Some(Self(demands))
    }

    /// Whether labels fulfil every demand.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let get = |k: &str| labels.and_then(|l| l.get(k)).and_then(Value::as_str);
        self.0.iter().all(|d| d.holds(&get))
    }
}

// === impl Demand ===

impl Demand {
    /// Whether the demand holds for the labels that `get` reads.
    pub fn holds<'a>(&self, get: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::In(k, vs) => get(k).is_some_and(|v| vs.iter().any(|x| x == v)),
            Self::NotIn(k, vs) => get(k).is_none_or(|v| vs.iter().all(|x| x != v)),
            Self::Exists(k) => get(k).is_some(),
            Self::Absent(k) => get(k).is_none(),
            Self::Above(k, n) => get(k).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *n),
            Self::Below(k, n) => get(k).and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *n),
        }
    }
}

/// A `{key, operator, values}` of a label selector or a node selector.
pub fn expression(v: &Value) -> Option<Demand> {
    let key = meta::text(v, "/key").to_owned();
    let values: Vec<String> =
        meta::list(v, "/values").iter().filter_map(|x| x.as_str().map(str::to_owned)).collect();
    let number = || values.first().and_then(|n| n.parse::<i64>().ok());
    Some(match meta::text(v, "/operator") {
        "In" => Demand::In(key, values),
        "NotIn" => Demand::NotIn(key, values),
        "Exists" => Demand::Exists(key),
        "DoesNotExist" => Demand::Absent(key),
        "Gt" => Demand::Above(key, number()?),
        "Lt" => Demand::Below(key, number()?),
        _ => return None,
    })
}

fn split(text: &str) -> Vec<&str> {
    let (mut out, mut depth, mut from) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[from..]);
    out.into_iter().filter(|p| !p.trim().is_empty()).collect()
}

fn demand(part: &str) -> Option<Demand> {
    let good = |k: &str| {
        let k = k.trim();
        (!k.is_empty() && k.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)))
            .then(|| k.to_owned())
    };
    let value = |v: &str| {
        let v = v.trim();
        v.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)).then(|| v.to_owned())
    };
    if let Some((k, v)) = part.split_once("!=") {
        return Some(Demand::NotIn(good(k)?, vec![value(v)?]));
    }
    if let Some((k, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Demand::In(good(k)?, vec![value(v)?]));
    }
    if let Some((head, tail)) = part.split_once('(') {
        let body = tail.trim_end().strip_suffix(')')?;
        let values = body.split(',').map(value).collect::<Option<Vec<_>>>()?;
        let head = head.trim_end();
        if let Some(k) = head.strip_suffix(" notin") {
            return Some(Demand::NotIn(good(k)?, values));
        }
        return Some(Demand::In(good(head.strip_suffix(" in")?)?, values));
    }
    if let Some((k, v)) = part.split_once('>') {
        return Some(Demand::Above(good(k)?, v.trim().parse().ok()?));
    }
    if let Some((k, v)) = part.split_once('<') {
        return Some(Demand::Below(good(k)?, v.trim().parse().ok()?));
    }
    match part.strip_prefix('!') {
        Some(k) => Some(Demand::Absent(good(k)?)),
        None => Some(Demand::Exists(good(part)?)),
    }
}

// === impl Fields ===

impl Fields {
    /// Reads the text of a `fieldSelector`; `known` says which fields this resource can be selected by.
    pub fn parse(text: &str, known: &[String]) -> Result<Self> {
        let mut out = Vec::new();
        for part in text.split(',').filter(|p| !p.trim().is_empty()) {
            let (path, value, equal) = if let Some((p, v)) = part.split_once("!=") {
                (p, v, false)
            } else if let Some((p, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (p, v, true)
            } else {
                return Err(ApiError::bad_request(format!(
                    "unable to find a known field selector: invalid selector: {text:?}; can't understand {part:?}"
                )));
            };
            let path = path.trim();
            let built_in = matches!(path, "metadata.name" | "metadata.namespace");
            if !built_in && !known.iter().any(|k| k == path) {
                return Err(ApiError::bad_request(format!("field label not supported: {path}")));
            }
            out.push(FieldDemand { path: path.to_owned(), value: value.trim().to_owned(), equal });
        }
        Ok(Self(out))
    }

    /// Whether an object fulfils every demand. An absent field reads as the empty string.
    pub fn matches(&self, v: &Value) -> bool {
        self.0.iter().all(|d| {
            let mut at = Some(v);
            for step in d.path.split('.') {
                at = at.and_then(|v| v.get(step));
            }
            let have = match at {
                Some(Value::String(s)) => s.clone(),
                None | Some(Value::Null) => {
                    if matches!(d.path.as_str(), "spec.unschedulable" | "spec.hostNetwork") {
                        "false".into()
                    } else {
                        String::new()
                    }
                }
                Some(other) => other.to_string(),
            };
            (have == d.value) == d.equal
        })
    }
}
