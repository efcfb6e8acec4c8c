//! stub
use crate::ops::{Place, Write};
use serde_json::Value;

/// stub
pub fn track(_new: &mut Value, _old: Option<&Value>, _p: &Place<'_>, _w: &Write) {}

/// stub
pub fn same(a: &Value, b: &Value) -> bool {
    a == b
}
