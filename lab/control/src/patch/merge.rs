//! RFC 7386: null removes, objects merge, everything else replaces.

use serde_json::{Map, Value};

/// Changes `v` by `diff`.
pub fn merge(v: &mut Value, diff: Value) {
    let Value::Object(diff) = diff else {
        *v = diff;
        return;
    };
    if !v.is_object() {
        *v = Value::Object(Map::new());
    }
    if let Value::Object(m) = v {
        for (k, x) in diff {
            if x.is_null() {
                m.shift_remove(&k);
            } else {
                merge(m.entry(k).or_insert(Value::Null), x);
            }
        }
    }
}
