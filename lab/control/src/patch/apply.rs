//! stub
use crate::error::Result;
use crate::ops::{Place, Write};
use serde_json::Value;

/// stub
pub fn apply(_p: &Place<'_>, _old: Option<&Value>, applied: Value, _w: &Write) -> Result<Value> {
    Ok(applied)
}
