//! Taking away what a kind does not know, as decoding into a typed object does.

use serde_json::Value;

use super::{Schema, Shape};

/// What was wrong with the text of an object.
#[derive(Debug, Default)]
pub struct Findings {
    /// Paths of fields the kind does not have.
    pub unknown: Vec<String>,
    /// Values of the wrong type: the path and the sentence.
    pub mistyped: Vec<(String, String)>,
}

/// Removes unknown fields and nulls of known fields from `v`, noting what it found. Built-in types also lose empty
/// maps and lists, which their Go types do not write; `tidy` says whether `schema` is one of those.
pub fn prune(v: &mut Value, schema: &Schema, path: &str, tidy: bool, out: &mut Findings) {
    let tidy = tidy || matches!(schema.shape, Shape::Named(_));
    let schema = schema.real();
    match (&schema.shape, &mut *v) {
        (_, Value::Null) | (Shape::Any | Shape::Named(_), _) => {}
        (Shape::Record(r), Value::Object(m)) => {
            let mut gone = Vec::new();
            for (k, x) in m.iter_mut() {
                let at = join(path, k);
                match r.fields.get(k) {
                    Some(_) if x.is_null() => gone.push(k.clone()),
                    Some(s) if tidy && is_empty(x, s) => gone.push(k.clone()),
                    Some(s) => prune(x, s, &at, tidy, out),
                    None if r.open => {}
                    None => {
                        out.unknown.push(at);
                        gone.push(k.clone());
                    }
                }
            }
            for k in gone {
                m.shift_remove(&k);
            }
        }
        (Shape::Map(item), Value::Object(m)) => {
            for (k, x) in m.iter_mut() {
                prune(x, item, &join(path, k), tidy, out);
            }
        }
        (Shape::List(_, item), Value::Array(a)) => {
            for (i, x) in a.iter_mut().enumerate() {
                prune(x, item, &format!("{path}[{i}]"), tidy, out);
            }
        }
        (shape, v) => {
            if let Some(want) = mismatch(shape, v) {
                let got = match v {
                    Value::Bool(_) => "bool".to_owned(),
                    Value::Number(n) => format!("number {n}").trim_end_matches(' ').to_owned(),
                    Value::String(_) => "string".to_owned(),
                    Value::Array(_) => "array".to_owned(),
                    _ => "object".to_owned(),
                };
                out.mistyped.push((
                    path.to_owned(),
                    format!("json: cannot unmarshal {got} into Go struct field {path} of type {want}"),
                ));
            }
        }
    }
}

fn is_empty(v: &Value, schema: &Schema) -> bool {
    match (&schema.shape, v) {
        (Shape::Map(_), Value::Object(m)) => m.is_empty(),
        (Shape::List(..), Value::Array(a)) => a.is_empty(),
        _ => false,
    }
}

fn mismatch(shape: &Shape, v: &Value) -> Option<&'static str> {
    let (ok, want) = match shape {
        Shape::Bool => (v.is_boolean(), "bool"),
        Shape::Int32 => (v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()), "int32"),
        Shape::Int64 => (v.is_i64() || v.is_u64(), "int64"),
        Shape::Number => (v.is_number(), "float64"),
        Shape::Text => (v.is_string(), "string"),
        Shape::Time => (v.is_string(), "time.Time"),
        Shape::Bytes => (v.is_string(), "[]uint8"),
        Shape::IntOrText => (v.is_string() || v.is_i64(), "intstr.IntOrString"),
        Shape::Quantity => (v.is_string() || v.is_number(), "resource.Quantity"),
        Shape::Map(_) => (v.is_object(), "map[string]interface {}"),
        Shape::List(..) => (v.is_array(), "[]interface {}"),
        Shape::Record(_) => (v.is_object(), "struct"),
        Shape::Any | Shape::Named(_) => (true, ""),
    };
    (!ok).then_some(want)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
