//! One object, several versions: Events of both API groups, and custom resources of several versions.
//!
//! Events are kept in the shape of `events.k8s.io/v1`'s older sister in the core group.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::resource::Resource;

/// Core field, `events.k8s.io` field.
const EVENT_FIELDS: [(&str, &str); 8] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("source", "deprecatedSource"),
    ("reportingInstance", "reportingInstance"),
];

/// The stored object in the version asked for.
pub fn outgoing<'a>(v: &'a Value, r: &Resource, version: &str) -> Cow<'a, Value> {
    let want = r.api_version(version);
    if v.get("apiVersion").and_then(Value::as_str) == Some(want.as_str()) {
        return Cow::Borrowed(v);
    }
    let mut v = v.clone();
    if r.group == "events.k8s.io" {
        rename(&mut v, |(core, new)| (core, new));
    }
    v["apiVersion"] = want.into();
    Cow::Owned(v)
}

/// What was sent, in the version it is stored in.
pub fn incoming(mut v: Value, r: &Resource) -> Value {
    if r.group == "events.k8s.io" {
        rename(&mut v, |(core, new)| (new, core));
        v["apiVersion"] = "v1".into();
    }
    v
}

fn rename(v: &mut Value, pick: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    if let Value::Object(m) = v {
        let old = std::mem::take(m);
        let mut new = Map::new();
        for (k, x) in old {
            let to = EVENT_FIELDS
                .iter()
                .map(|p| pick(*p))
                .find(|(from, _)| *from == k)
                .map(|(_, to)| to.to_owned());
            new.insert(to.unwrap_or(k), x);
        }
        *m = new;
    }
}
