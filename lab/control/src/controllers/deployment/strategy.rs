//! How much a rollout may do at once.

use serde_json::Value;

use crate::meta;

/// Whether old pods go before new ones come.
pub fn recreates(deploy: &Value) -> bool {
    meta::text(deploy, "/spec/strategy/type") == "Recreate"
}

/// Pods there may be beyond, and pods that may be missing from, `replicas`. Percentages of the first are rounded up,
/// of the second down; both zero would stand still, so then one may be missing.
pub fn room(deploy: &Value, replicas: i64) -> (i64, i64) {
    if recreates(deploy) {
        return (0, 0);
    }
    let read = |key: &str| deploy.pointer("/spec/strategy/rollingUpdate").and_then(|r| r.get(key));
    let surge = count(read("maxSurge"), replicas, true);
    let unavailable = count(read("maxUnavailable"), replicas, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable.min(replicas)) }
}

/// A number, or a percentage of `of`; 25% when nothing is said.
pub fn count(v: Option<&Value>, of: i64, up: bool) -> i64 {
    let percent = match v {
        Some(Value::Number(n)) => return n.as_i64().unwrap_or(0).max(0),
        Some(Value::String(s)) => s.trim_end_matches('%').parse::<i64>().unwrap_or(0).max(0),
        _ => 25,
    };
    let n = percent.saturating_mul(of);
    if up { n.saturating_add(99) / 100 } else { n / 100 }
}
