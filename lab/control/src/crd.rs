//! stub
use crate::error::FieldError;
use crate::ops::Place;
use serde_json::Value;
/// stub
pub fn admit(_old: Option<&Value>, _v: &mut Value, _errors: &mut Vec<FieldError>) {}
/// stub
pub fn admit_object(_p: &Place<'_>, _old: Option<&Value>, _v: &mut Value, _errors: &mut Vec<FieldError>) {}
