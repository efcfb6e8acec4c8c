//! Reading and writing the metadata of an object that is plain JSON.

use serde_json::{Map, Value};

/// The value at a JSON pointer. Unlike `Value::pointer` this makes no strings on its way; keys with `~` in them are
/// not understood.
pub fn at<'a>(v: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut at = v;
    for step in pointer.split('/').skip(1) {
        at = match at {
            Value::Object(m) => m.get(step)?,
            Value::Array(a) => a.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

/// The string at a JSON pointer, or the empty string.
pub fn text<'a>(v: &'a Value, pointer: &str) -> &'a str {
    at(v, pointer).and_then(Value::as_str).unwrap_or("")
}

/// The integer at a JSON pointer.
pub fn int(v: &Value, pointer: &str) -> Option<i64> {
    at(v, pointer).and_then(Value::as_i64)
}

/// The flag at a JSON pointer; absent is false.
pub fn flag(v: &Value, pointer: &str) -> bool {
    at(v, pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// The list at a JSON pointer; absent is empty.
pub fn list<'a>(v: &'a Value, pointer: &str) -> &'a [Value] {
    at(v, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `metadata.name`.
pub fn name(v: &Value) -> &str {
    text(v, "/metadata/name")
}

/// `metadata.namespace`, empty for cluster-scoped objects.
pub fn namespace(v: &Value) -> &str {
    text(v, "/metadata/namespace")
}

/// `metadata.uid`.
pub fn uid(v: &Value) -> &str {
    text(v, "/metadata/uid")
}

/// `metadata.resourceVersion` as it was sent.
pub fn rv(v: &Value) -> &str {
    text(v, "/metadata/resourceVersion")
}

/// Writes `metadata.resourceVersion`.
pub fn set_rv(v: &mut Value, rv: u64) {
    map(v, "metadata").insert("resourceVersion".into(), rv.to_string().into());
}

/// `metadata.labels`, if there are any.
pub fn labels(v: &Value) -> Option<&Map<String, Value>> {
    at(v, "/metadata/labels").and_then(Value::as_object)
}

/// An annotation, or the empty string.
pub fn annotation<'a>(v: &'a Value, key: &str) -> &'a str {
    at(v, "/metadata/annotations").and_then(|a| a.get(key)).and_then(Value::as_str).unwrap_or("")
}

/// Whether the object is on its way out.
pub fn is_deleting(v: &Value) -> bool {
    at(v, "/metadata/deletionTimestamp").is_some_and(|t| !t.is_null())
}

/// `metadata.finalizers`.
pub fn finalizers(v: &Value) -> Vec<&str> {
    list(v, "/metadata/finalizers").iter().filter_map(Value::as_str).collect()
}

/// The object under `key`, made if it is not there or is something else.
pub fn map<'a>(v: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !v.is_object() {
        *v = Value::Object(Map::new());
    }
    let slot = &mut v[key];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(m) => m,
        _ => unreachable!("just made an object"),
    }
}

/// The object at the end of a path of keys, made on the way.
pub fn dig<'a>(v: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut at = v;
    for key in &path[..path.len().saturating_sub(1)] {
        map(at, key);
        at = &mut at[*key];
    }
    map(at, path.last().copied().unwrap_or_default())
}

/// Sets `key` unless it already holds something other than null.
pub fn default(m: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    match m.get(key) {
        Some(v) if !v.is_null() => {}
        _ => {
            m.insert(key.to_owned(), value.into());
        }
    }
}

/// The reference that marks its owner as the controller.
pub fn controller(v: &Value) -> Option<&Value> {
    list(v, "/metadata/ownerReferences").iter().find(|o| flag(o, "/controller"))
}

/// The condition of a type.
pub fn condition<'a>(v: &'a Value, kind: &str) -> Option<&'a Value> {
    list(v, "/status/conditions").iter().find(|c| text(c, "/type") == kind)
}

/// Whether a condition is there and `True`.
pub fn is_true(v: &Value, kind: &str) -> bool {
    condition(v, kind).is_some_and(|c| text(c, "/status") == "True")
}

/// Now, to the second, as Kubernetes writes time.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Seconds since `time`; `None` when it is no time.
pub fn seconds_since(time: &str) -> Option<i64> {
    let t: jiff::Timestamp = time.parse().ok()?;
    Some(jiff::Timestamp::now().as_second() - t.as_second())
}
