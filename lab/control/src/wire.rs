//! Kubernetes' protobuf, read only: typed Go clients send it when they create or delete built-in kinds.
//!
//! Answers are always JSON, which every client reads as well. Field numbers are in `schema/wire.txt`, one line a
//! type; `^` marks a message whose fields belong to the one around it. Go writes fields that were never set as zeros,
//! so a zero is taken for absence except where the API has an optional field in which zero means something.

use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::schema::{self, Schema, Shape};

#[cfg(test)]
mod tests;

/// What stands before the message.
pub const MAGIC: &[u8] = b"k8s\0";

/// Optional fields in which zero, or false, is something that was said.
const ZERO_COUNTS: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "blockOwnerDeletion",
    "controller",
    "enableServiceLinks",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "optional",
    "orphanDependents",
    "partition",
    "privileged",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "shareProcessNamespace",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
];

enum Raw<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

struct Field {
    name: &'static str,
    inline: bool,
}

fn numbers(kind: &str) -> Option<&'static HashMap<u64, Field>> {
    static ALL: OnceLock<HashMap<&'static str, HashMap<u64, Field>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        include_str!("../schema/wire.txt")
            .lines()
            .filter_map(|l| {
                let (name, rest) = l.split_once(':')?;
                let fields = rest.split(',').filter_map(|f| {
                    let (n, f) = f.trim().split_once(' ')?;
                    let inline = f.starts_with('^');
                    Some((n.parse().ok()?, Field { name: f.trim_start_matches('^'), inline }))
                });
                Some((name, fields.collect()))
            })
            .collect()
    });
    all.get(kind)
}

/// The object in a protobuf body; `None` when it cannot be read.
pub fn decode(body: &[u8]) -> Option<Value> {
    let unknown = message(body.strip_prefix(MAGIC)?)?;
    let (mut meta, mut raw): (&[u8], &[u8]) = (&[], &[]);
    for (n, r) in unknown {
        match (n, r) {
            (1, Raw::Bytes(b)) => meta = b,
            (2, Raw::Bytes(b)) => raw = b,
            _ => {}
        }
    }
    let text = |want: u64| {
        message(meta)?.into_iter().find_map(|(n, r)| match r {
            Raw::Bytes(b) if n == want => String::from_utf8(b.to_vec()).ok(),
            _ => None,
        })
    };
    let (api, kind) = (text(1).unwrap_or_default(), text(2)?);
    let group = api.split_once('/').map_or("core", |(g, _)| g.split('.').next().unwrap_or(g));
    let name = if kind == "DeleteOptions" {
        "meta.v1.DeleteOptions".to_owned()
    } else {
        format!("{group}.v1.{kind}")
    };
    let mut m = Map::new();
    m.insert("apiVersion".into(), api.into());
    m.insert("kind".into(), kind.into());
    record(raw, &name, schema::named(&name)?, &mut m)?;
    Some(Value::Object(m))
}

fn record(b: &[u8], kind: &str, schema: &Schema, out: &mut Map<String, Value>) -> Option<()> {
    let numbers = numbers(kind)?;
    for (n, raw) in message(b)? {
        let Some(f) = numbers.get(&n) else { continue };
        if f.inline {
            if let Raw::Bytes(b) = raw {
                record(b, f.name, schema, out)?;
            }
            continue;
        }
        let field = schema.field(f.name);
        match &field.shape {
            Shape::List(_, item) => {
                if let Some(v) = value(&raw, item, "")? {
                    match out.entry(f.name.to_owned()).or_insert_with(|| Value::Array(Vec::new())) {
                        Value::Array(a) => a.push(v),
                        _ => return None,
                    }
                }
            }
            Shape::Map(item) => {
                let Raw::Bytes(b) = raw else { return None };
                let (mut key, mut val) = (String::new(), None);
                for (n, r) in message(b)? {
                    match (n, &r) {
                        (1, Raw::Bytes(b)) => key = String::from_utf8(b.to_vec()).ok()?,
                        (2, _) => val = value(&r, item, "")?,
                        _ => {}
                    }
                }
                match out.entry(f.name.to_owned()).or_insert_with(|| Value::Object(Map::new())) {
                    Value::Object(m) => m.insert(key, val.unwrap_or_else(|| "".into())),
                    _ => return None,
                };
            }
            _ => {
                if let Some(v) = value(&raw, field, f.name)? {
                    out.insert(f.name.to_owned(), v);
                }
            }
        }
    }
    Some(())
}

/// One value. The inner `None` is a field that was not set; `name` is empty for members of lists and maps, which are
/// always set.
fn value(raw: &Raw<'_>, schema: &Schema, name: &str) -> Option<Option<Value>> {
    let counts = name.is_empty() || ZERO_COUNTS.contains(&name);
    Some(match (&schema.shape, raw) {
        (Shape::Bool, Raw::Number(n)) => (*n != 0 || counts).then(|| (*n != 0).into()),
        // Negative numbers are written as 64 bits, also those of 32.
        (Shape::Int32 | Shape::Int64, Raw::Number(n)) => (*n != 0 || counts).then(|| n.cast_signed().into()),
        (Shape::Number, Raw::Fixed(n)) => Some(f64::from_bits(*n).into()),
        (Shape::Text, Raw::Bytes(b)) => {
            let s = String::from_utf8(b.to_vec()).ok()?;
            (!s.is_empty() || name.is_empty()).then(|| s.into())
        }
        (Shape::Bytes, Raw::Bytes(b)) => Some(base64::engine::general_purpose::STANDARD.encode(b).into()),
        (Shape::Time, Raw::Bytes(b)) => time(b)?,
        (Shape::IntOrText, Raw::Bytes(b)) => int_or_text(b)?,
        (Shape::Quantity, Raw::Bytes(b)) => message(b)?.into_iter().find_map(|(n, r)| match r {
            Raw::Bytes(b) if n == 1 => String::from_utf8(b.to_vec()).ok().map(Value::from),
            _ => None,
        }),
        // Raw JSON is the only field of its message.
        (Shape::Any, Raw::Bytes(b)) => message(b)?.into_iter().find_map(|(n, r)| match r {
            Raw::Bytes(b) if n == 1 => serde_json::from_slice(b).ok(),
            _ => None,
        }),
        (Shape::Named(kind), Raw::Bytes(b)) => {
            let mut m = Map::new();
            record(b, kind, schema.real(), &mut m)?;
            Some(Value::Object(m))
        }
        // A list as the value of a map is wrapped in a message.
        (Shape::List(_, item), Raw::Bytes(b)) => {
            let mut a = Vec::new();
            for (n, r) in message(b)? {
                if n == 1 {
                    a.extend(value(&r, item, "")?);
                }
            }
            Some(Value::Array(a))
        }
        _ => return None,
    })
}

fn time(b: &[u8]) -> Option<Option<Value>> {
    let (mut seconds, mut nanos) = (None, 0);
    for (n, r) in message(b)? {
        match (n, r) {
            (1, Raw::Number(s)) => seconds = Some(s.cast_signed()),
            (2, Raw::Number(s)) => nanos = i32::try_from(s).unwrap_or(0),
            _ => {}
        }
    }
    let Some(s) = seconds else { return Some(None) };
    Some(jiff::Timestamp::new(s, nanos).ok().map(|t| t.to_string().into()))
}

fn int_or_text(b: &[u8]) -> Option<Option<Value>> {
    let (mut text, mut number, mut string) = (false, 0, String::new());
    for (n, r) in message(b)? {
        match (n, r) {
            (1, Raw::Number(k)) => text = k == 1,
            (2, Raw::Number(k)) => number = k.cast_signed(),
            (3, Raw::Bytes(b)) => string = String::from_utf8(b.to_vec()).ok()?,
            _ => {}
        }
    }
    Some(Some(if text { string.into() } else { number.into() }))
}

/// The fields of a message, in order.
fn message(mut b: &[u8]) -> Option<Vec<(u64, Raw<'_>)>> {
    let mut out = Vec::new();
    while !b.is_empty() {
        let tag = varint(&mut b)?;
        let raw = match tag & 7 {
            0 => Raw::Number(varint(&mut b)?),
            1 => {
                let (head, rest) = b.split_first_chunk::<8>()?;
                b = rest;
                Raw::Fixed(u64::from_le_bytes(*head))
            }
            2 => {
                let n = usize::try_from(varint(&mut b)?).ok()?;
                let (head, rest) = b.split_at_checked(n)?;
                b = rest;
                Raw::Bytes(head)
            }
            5 => {
                let (head, rest) = b.split_first_chunk::<4>()?;
                b = rest;
                Raw::Fixed(u32::from_le_bytes(*head).into())
            }
            _ => return None,
        };
        out.push((tag >> 3, raw));
    }
    Some(out)
}

fn varint(b: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = b.split_first()?;
        *b = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}
