//! Rows of what keeps pods running.

use serde_json::{Map, Value};

use super::age;
use crate::meta::{int, list, name, text};

/// Headings of a Deployment.
pub const DEPLOYMENT: &str = "Name Ready Up-to-date:i Available:i Age +Containers +Images +Selector";
/// Headings of a ReplicaSet.
pub const REPLICA_SET: &str = "Name Desired:i Current:i Ready:i Age +Containers +Images +Selector";
/// Headings of a DaemonSet.
pub const DAEMON_SET: &str = "Name Desired:i Current:i Ready:i Up-to-date:i Available:i Node_Selector Age +Containers +Images +Selector";
/// Headings of a StatefulSet.
pub const STATEFUL_SET: &str = "Name Ready Age +Containers +Images";

fn n(v: &Value, p: &str) -> i64 {
    int(v, p).unwrap_or(0)
}

fn tail(v: &Value, with_selector: bool) -> Vec<Value> {
    let each = |p: &str| {
        let all: Vec<&str> = list(v, "/spec/template/spec/containers").iter().map(|c| text(c, p)).collect();
        Value::from(all.join(","))
    };
    let mut out = vec![age(text(v, "/metadata/creationTimestamp")).into(), each("/name"), each("/image")];
    if with_selector {
        out.push(selector(v.pointer("/spec/selector")).into());
    }
    out
}

/// Cells of a Deployment.
pub fn deployment(v: &Value) -> Vec<Value> {
    let mut out: Vec<Value> = vec![
        name(v).into(),
        format!("{}/{}", n(v, "/status/readyReplicas"), n(v, "/spec/replicas")).into(),
        n(v, "/status/updatedReplicas").into(),
        n(v, "/status/availableReplicas").into(),
    ];
    out.extend(tail(v, true));
    out
}

/// Cells of a ReplicaSet.
pub fn replica_set(v: &Value) -> Vec<Value> {
    let mut out: Vec<Value> = vec![
        name(v).into(),
        n(v, "/spec/replicas").into(),
        n(v, "/status/replicas").into(),
        n(v, "/status/readyReplicas").into(),
    ];
    out.extend(tail(v, true));
    out
}

/// Cells of a DaemonSet.
pub fn daemon_set(v: &Value) -> Vec<Value> {
    let mut out: Vec<Value> = vec![
        name(v).into(),
        n(v, "/status/desiredNumberScheduled").into(),
        n(v, "/status/currentNumberScheduled").into(),
        n(v, "/status/numberReady").into(),
        n(v, "/status/updatedNumberScheduled").into(),
        n(v, "/status/numberAvailable").into(),
        labels(v.pointer("/spec/template/spec/nodeSelector")).into(),
    ];
    out.extend(tail(v, true));
    out
}

/// Cells of a StatefulSet.
pub fn stateful_set(v: &Value) -> Vec<Value> {
    let ready = format!("{}/{}", n(v, "/status/readyReplicas"), n(v, "/spec/replicas"));
    let mut out: Vec<Value> = vec![name(v).into(), ready.into()];
    out.extend(tail(v, false));
    out
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(v: Option<&Value>) -> String {
    match v.and_then(Value::as_object) {
        Some(m) if !m.is_empty() => pairs(m).join(","),
        _ => "<none>".into(),
    }
}

fn pairs(m: &Map<String, Value>) -> Vec<String> {
    let mut all: Vec<String> = m.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    all.sort();
    all
}

/// A `LabelSelector` as text, or `<none>`; a plain map of labels works as well.
pub fn selector(v: Option<&Value>) -> String {
    let Some(v) = v else { return "<none>".into() };
    if v.get("matchLabels").is_none() && v.get("matchExpressions").is_none() {
        return labels(Some(v));
    }
    let mut out = v.get("matchLabels").and_then(Value::as_object).map(pairs).unwrap_or_default();
    for e in list(v, "/matchExpressions") {
        let key = text(e, "/key");
        let values: Vec<&str> = list(e, "/values").iter().filter_map(Value::as_str).collect();
        out.push(match text(e, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if out.is_empty() { "<none>".into() } else { out.join(",") }
}
