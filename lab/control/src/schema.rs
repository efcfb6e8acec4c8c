//! What fields an object of a kind has, and how its lists merge.
//!
//! The built-in kinds come from `schema/types.txt`: one line a type, `field type` pairs. Types are
//! `s` text, `b` flag, `i` 32 bit, `l` 64 bit, `n` number, `is` number or text, `q` quantity, `t` time,
//! `y` base64, `*` anything, `{X}` map, `[X]` atomic list, `[=X]` set, `[a,b=X]` list keyed by a and b,
//! `@name` another type; `~` before a type makes it one indivisible value; `!` after a name: required.
//! Custom kinds come from the structural schema of their definition.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use serde_json::Value;

mod prune;
pub use prune::{Findings, prune};

#[cfg(test)]
mod tests;

/// The shape of a value.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// A 32 bit integer.
    Int32,
    /// A 64 bit integer.
    Int64,
    /// Any number.
    Number,
    /// A string.
    Text,
    /// A string or an integer.
    IntOrText,
    /// A resource quantity, written as string or number.
    Quantity,
    /// RFC 3339 time.
    Time,
    /// Base64.
    Bytes,
    /// A map from any key.
    Map(Box<Schema>),
    /// A list.
    List(ListKind, Box<Schema>),
    /// Known fields.
    Record(Record),
    /// A type of the built-in table, by name.
    Named(&'static str),
}

/// How a list is merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListKind {
    /// As one value.
    Atomic,
    /// Members are scalars, each there or not.
    Set,
    /// Members are records told apart by these fields.
    Keyed(Vec<String>),
}

/// Known fields of an object.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Field by name.
    pub fields: BTreeMap<String, Schema>,
    /// Fields that must be there.
    pub required: Vec<String>,
    /// Unknown fields are kept.
    pub open: bool,
}

/// A shape and whether it is merged as one value.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The shape.
    pub shape: Shape,
    /// Merged as one value even if it has parts.
    pub atomic: bool,
}

// === impl Schema ===

/// A schema that says nothing.
pub static ANY: Schema = Schema { shape: Shape::Any, atomic: false };

impl Schema {
    fn plain(shape: Shape) -> Self {
        Self { shape, atomic: false }
    }

    /// The schema behind a name, or itself.
    pub fn real(&self) -> &Schema {
        match self.shape {
            Shape::Named(n) => named(n).unwrap_or(&ANY),
            _ => self,
        }
    }

    /// Whether the value is owned and merged as a whole.
    pub fn is_atomic(&self) -> bool {
        self.atomic || self.real().atomic
    }

    /// The schema of a field; `ANY` when unknown.
    pub fn field(&self, name: &str) -> &Schema {
        match &self.real().shape {
            Shape::Record(r) => r.fields.get(name).unwrap_or(&ANY),
            Shape::Map(item) => item,
            _ => &ANY,
        }
    }

    /// The schema of the custom kind whose `openAPIV3Schema` this is.
    pub fn of_custom(root: &Value) -> Self {
        let mut s = structural(root);
        if let Shape::Record(r) = &mut s.shape {
            r.fields.insert("apiVersion".into(), Self::plain(Shape::Text));
            r.fields.insert("kind".into(), Self::plain(Shape::Text));
            r.fields.insert("metadata".into(), Self::plain(Shape::Named("meta.v1.ObjectMeta")));
        }
        s
    }
}

/// A type of the built-in table.
pub fn named(name: &str) -> Option<&'static Schema> {
    table().get(name)
}

/// Every type of the built-in table.
pub fn table() -> &'static HashMap<&'static str, Schema> {
    static TABLE: OnceLock<HashMap<&'static str, Schema>> = OnceLock::new();
    TABLE.get_or_init(|| {
        include_str!("../schema/types.txt")
            .lines()
            .filter_map(|line| {
                let (name, rest) = line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, "")))?;
                let mut r = Record::default();
                for field in fields(rest) {
                    let (f, t) = field.split_once(' ')?;
                    let f = match f.strip_suffix('!') {
                        Some(f) => {
                            r.required.push(f.to_owned());
                            f
                        }
                        None => f,
                    };
                    r.fields.insert(f.to_owned(), parse(t));
                }
                Some((name, Schema::plain(Shape::Record(r))))
            })
            .collect()
    })
}

/// Splits at `, `; commas between list keys have no space behind them.
fn fields(rest: &'static str) -> impl Iterator<Item = &'static str> {
    rest.split(", ").filter(|f| !f.is_empty())
}

fn parse(t: &'static str) -> Schema {
    if let Some(t) = t.strip_prefix('~') {
        return Schema { atomic: true, ..parse(t) };
    }
    if let Some(t) = t.strip_prefix('@') {
        return Schema::plain(Shape::Named(t));
    }
    if let Some(t) = t.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        return Schema::plain(Shape::Map(Box::new(parse(t))));
    }
    if let Some(t) = t.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let (kind, item) = match t.split_once('=') {
            None => (ListKind::Atomic, t),
            Some(("", item)) => (ListKind::Set, item),
            Some((keys, item)) => (ListKind::Keyed(keys.split(',').map(str::to_owned).collect()), item),
        };
        return Schema::plain(Shape::List(kind, Box::new(parse(item))));
    }
    Schema::plain(match t {
        "s" => Shape::Text,
        "b" => Shape::Bool,
        "i" => Shape::Int32,
        "l" => Shape::Int64,
        "n" => Shape::Number,
        "is" => Shape::IntOrText,
        "q" => Shape::Quantity,
        "t" => Shape::Time,
        "y" => Shape::Bytes,
        _ => Shape::Any,
    })
}

fn structural(v: &Value) -> Schema {
    let is = |key: &str| v.get(key).and_then(Value::as_bool).unwrap_or(false);
    let atomic = v.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
    if is("x-kubernetes-int-or-string") {
        return Schema::plain(Shape::IntOrText);
    }
    let open = is("x-kubernetes-preserve-unknown-fields");
    let shape = match v.get("type").and_then(Value::as_str).unwrap_or("") {
        "boolean" => Shape::Bool,
        "integer" => Shape::Int64,
        "number" => Shape::Number,
        "string" => Shape::Text,
        "array" => {
            let item = v.get("items").map_or_else(|| ANY.clone(), structural);
            let kind = match v.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => ListKind::Set,
                Some("map") => ListKind::Keyed(
                    v.get("x-kubernetes-list-map-keys")
                        .and_then(Value::as_array)
                        .map(|a| a.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect())
                        .unwrap_or_default(),
                ),
                _ => ListKind::Atomic,
            };
            Shape::List(kind, Box::new(item))
        }
        "object" => match (v.get("properties").and_then(Value::as_object), v.get("additionalProperties")) {
            (None, Some(extra)) if extra.is_object() => Shape::Map(Box::new(structural(extra))),
            (None, Some(Value::Bool(true))) => Shape::Map(Box::new(ANY.clone())),
            (None, _) if open => Shape::Any,
            (fields, _) => Shape::Record(Record {
                fields: fields
                    .map(|f| f.iter().map(|(k, v)| (k.clone(), structural(v))).collect())
                    .unwrap_or_default(),
                required: Vec::new(),
                open,
            }),
        },
        _ => Shape::Any,
    };
    Schema { shape, atomic }
}
