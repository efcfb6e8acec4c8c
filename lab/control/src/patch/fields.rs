//! Sets of fields: who owns what, in memory and in the `FieldsV1` notation.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{ListKind, Schema, Shape};

/// One step down into an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of a record or map.
    Field(String),
    /// A member of a keyed list, by the JSON of its keys.
    Key(String),
    /// A member of a set, by its JSON.
    Item(String),
}

/// A set of fields below one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// The place itself is in the set.
    pub member: bool,
    /// What is in the set below it.
    pub below: BTreeMap<Step, Set>,
}

// === impl Step ===

impl Step {
    fn write(&self) -> String {
        match self {
            Self::Field(f) => format!("f:{f}"),
            Self::Key(k) => format!("k:{k}"),
            Self::Item(v) => format!("v:{v}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Self::Field(rest.into()),
            "k" => Self::Key(canonical(&serde_json::from_str(rest).ok()?)),
            "v" => Self::Item(rest.into()),
            _ => return None,
        })
    }

    fn shown(&self) -> String {
        match self {
            Self::Field(f) => format!(".{f}"),
            Self::Item(v) => format!("[={v}]"),
            Self::Key(k) => {
                let v: Value = serde_json::from_str(k).unwrap_or(Value::Null);
                let parts: Vec<String> =
                    v.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
                format!("[{}]", parts.join(","))
            }
        }
    }
}

/// JSON with sorted keys.
fn canonical(v: &Value) -> String {
    match v {
        Value::Object(m) => {
            let sorted: BTreeMap<&String, &Value> = m.iter().collect();
            let parts: Vec<String> =
                sorted.iter().map(|(k, v)| format!("{}:{v}", Value::from(k.as_str()))).collect();
            format!("{{{}}}", parts.join(","))
        }
        other => other.to_string(),
    }
}

/// The step to a member of a list.
pub fn member(item: &Value, kind: &ListKind) -> Step {
    match kind {
        ListKind::Keyed(keys) => {
            let mut m = Map::new();
            for k in keys {
                match item.get(k) {
                    Some(v) => {
                        m.insert(k.clone(), v.clone());
                    }
                    // The only key of a built-in list that has a default.
                    None if k == "protocol" => {
                        m.insert(k.clone(), "TCP".into());
                    }
                    None => {}
                }
            }
            Step::Key(canonical(&Value::Object(m)))
        }
        _ => Step::Item(item.to_string()),
    }
}

/// How a value is seen: as one, as fields, or as members.
pub enum View<'a> {
    Leaf,
    Fields(&'a Map<String, Value>),
    Members(&'a [Value], &'a ListKind, &'a Schema),
}

/// How `schema` sees `v`.
pub fn view<'a>(v: &'a Value, schema: &'a Schema) -> View<'a> {
    if schema.is_atomic() {
        return View::Leaf;
    }
    match (&schema.real().shape, v) {
        (Shape::Record(_) | Shape::Map(_) | Shape::Any, Value::Object(m)) => View::Fields(m),
        (Shape::List(kind, item), Value::Array(a)) if *kind != ListKind::Atomic => {
            View::Members(a, kind, item)
        }
        _ => View::Leaf,
    }
}

// === impl Set ===

impl Set {
    /// Every field that `v` sets.
    pub fn of(v: &Value, schema: &Schema) -> Self {
        let mut s = Self::default();
        match view(v, schema) {
            View::Fields(m) if !m.is_empty() => {
                for (k, x) in m {
                    s.below.insert(Step::Field(k.clone()), Self::of(x, schema.field(k)));
                }
            }
            View::Members(a, kind, item) if !a.is_empty() => {
                for x in a {
                    let mut below = match kind {
                        ListKind::Keyed(_) => Self::of(x, item),
                        _ => Self::default(),
                    };
                    below.member = true;
                    s.below.insert(member(x, kind), below);
                }
            }
            _ => s.member = true,
        }
        s
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.values().all(Self::is_empty)
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (k, x) in &other.below {
            self.below.entry(k.clone()).or_default().add(x);
        }
    }

    /// What is here and not there.
    pub fn minus(&self, other: &Self) -> Self {
        let none = Self::default();
        let mut s = Self { member: self.member && !other.member, below: BTreeMap::new() };
        for (k, x) in &self.below {
            let left = x.minus(other.below.get(k).unwrap_or(&none));
            if !left.is_empty() {
                s.below.insert(k.clone(), left);
            }
        }
        s
    }

    /// What is in both.
    pub fn common(&self, other: &Self) -> Self {
        let mut s = Self { member: self.member && other.member, below: BTreeMap::new() };
        for (k, x) in &self.below {
            if let Some(y) = other.below.get(k) {
                let both = x.common(y);
                if !both.is_empty() {
                    s.below.insert(k.clone(), both);
                }
            }
        }
        s
    }

    /// As `FieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut m = Map::new();
        if self.member && !self.below.is_empty() {
            m.insert(".".into(), Value::Object(Map::new()));
        }
        for (k, x) in &self.below {
            m.insert(k.write(), x.to_json());
        }
        Value::Object(m)
    }

    /// From `FieldsV1`. An empty object is a member.
    pub fn from_json(v: &Value) -> Self {
        let mut s = Self::default();
        match v.as_object() {
            Some(m) if !m.is_empty() => {
                for (k, x) in m {
                    if k == "." {
                        s.member = true;
                    } else if let Some(step) = Step::read(k) {
                        s.below.insert(step, Self::from_json(x));
                    }
                }
            }
            _ => s.member = true,
        }
        s
    }

    /// Every member as a path for people, as `.spec.ports[name="x"].port`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, at: &str, out: &mut Vec<String>) {
        if self.member {
            out.push(at.to_owned());
        }
        for (k, x) in &self.below {
            x.collect(&format!("{at}{}", k.shown()), out);
        }
    }

    /// The subset at a step.
    pub fn at(&self, step: &Step) -> Option<&Self> {
        self.below.get(step)
    }
}

/// Fields that `new` adds or changes, and fields that only `old` had.
pub fn compare(old: &Value, new: &Value, schema: &Schema) -> (Set, Set) {
    let (mut changed, mut removed) = (Set::default(), Set::default());
    match (view(old, schema), view(new, schema)) {
        (View::Fields(a), View::Fields(b)) => {
            for (k, y) in b {
                let (step, sub) = (Step::Field(k.clone()), schema.field(k));
                match a.get(k) {
                    Some(x) => nest(compare(x, y, sub), step, &mut changed, &mut removed),
                    None => {
                        changed.below.insert(step, Set::of(y, sub));
                    }
                }
            }
            for (k, x) in a.iter().filter(|(k, _)| !b.contains_key(*k)) {
                removed.below.insert(Step::Field(k.clone()), Set::of(x, schema.field(k)));
            }
        }
        (View::Members(a, kind, item), View::Members(b, _, _)) => {
            let keyed = matches!(kind, ListKind::Keyed(_));
            let whole = |x: &Value| {
                let mut s = if keyed { Set::of(x, item) } else { Set::default() };
                s.member = true;
                s
            };
            for y in b {
                let step = member(y, kind);
                match a.iter().find(|x| member(x, kind) == step) {
                    Some(x) if keyed => nest(compare(x, y, item), step, &mut changed, &mut removed),
                    Some(_) => {}
                    None => {
                        changed.below.insert(step, whole(y));
                    }
                }
            }
            for x in a {
                let step = member(x, kind);
                if !b.iter().any(|y| member(y, kind) == step) {
                    removed.below.insert(step, whole(x));
                }
            }
        }
        _ if old == new => {}
        _ => {
            changed = Set::of(new, schema);
            removed = Set::of(old, schema).minus(&changed);
        }
    }
    (changed, removed)
}

fn nest(found: (Set, Set), step: Step, changed: &mut Set, removed: &mut Set) {
    if !found.0.is_empty() {
        changed.below.insert(step.clone(), found.0);
    }
    if !found.1.is_empty() {
        removed.below.insert(step, found.1);
    }
}
