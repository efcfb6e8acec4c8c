//! What controllers ask of a pod.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::change::{controller_uid, later, time_at};
use crate::meta;
use crate::select::Labels;

/// Whether the pod's work is over for good.
pub fn is_over(pod: &Value) -> bool {
    matches!(meta::text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Neither over nor on its way out.
pub fn is_active(pod: &Value) -> bool {
    !is_over(pod) && !meta::is_deleting(pod)
}

/// Whether its Ready condition is true.
pub fn is_ready(pod: &Value) -> bool {
    meta::is_true(pod, "Ready")
}

/// Since when it is ready.
pub fn ready_since(pod: &Value) -> Option<Timestamp> {
    meta::condition(pod, "Ready").filter(|_| is_ready(pod)).and_then(|c| time_at(c, "/lastTransitionTime"))
}

/// Ready for at least `min` seconds; else, if it is ready, the time at which it will be so.
pub fn available(pod: &Value, min: i64, now: Timestamp) -> Result<(), Option<Timestamp>> {
    if !is_ready(pod) {
        return Err(None);
    }
    if min <= 0 {
        return Ok(());
    }
    match ready_since(pod).map(|t| later(t, min)) {
        Some(t) if t <= now => Ok(()),
        then => Err(then),
    }
}

/// The node it is on, or the empty string.
pub fn node(pod: &Value) -> &str {
    meta::text(pod, "/spec/nodeName")
}

/// Addresses of the pod, the primary one first.
pub fn addresses(pod: &Value) -> Vec<&str> {
    let all: Vec<&str> = meta::list(pod, "/status/podIPs")
        .iter()
        .map(|i| meta::text(i, "/ip"))
        .filter(|i| !i.is_empty())
        .collect();
    match (all.is_empty(), meta::text(pod, "/status/podIP")) {
        (true, ip) if !ip.is_empty() => vec![ip],
        _ => all,
    }
}

/// Sorts pods so that those to delete first stand first: not placed, not running, not ready, cheap by
/// `pod-deletion-cost`, crowded (many of `of_owner` on the same node), ready for a short time, restarted often, young.
pub fn worst_first(pods: &mut [&Value]) {
    let mut crowd: std::collections::HashMap<String, i64> = std::collections::HashMap::new();
    for p in pods.iter() {
        *crowd.entry(node(p).to_owned()).or_default() += 1;
    }
    pods.sort_by_cached_key(|p| {
        let phase = match meta::text(p, "/status/phase") {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let cost: i64 =
            meta::annotation(p, "controller.kubernetes.io/pod-deletion-cost").parse().unwrap_or_default();
        let restarts: i64 = meta::list(p, "/status/containerStatuses")
            .iter()
            .filter_map(|c| meta::int(c, "/restartCount"))
            .sum();
        let young = |t: Option<Timestamp>| t.map_or(0, |t| -t.as_second());
        (
            !node(p).is_empty(),
            phase,
            is_ready(p),
            cost,
            -crowd.get(node(p)).copied().unwrap_or_default(),
            young(ready_since(p)),
            -restarts,
            young(time_at(p, "/metadata/creationTimestamp")),
            meta::name(p).to_owned(),
        )
    });
}

/// The pods a controller has, and whose it wants or no longer wants.
#[derive(Debug, Default)]
pub struct Claim<'a> {
    /// Its own.
    pub own: Vec<&'a Value>,
    /// Nobody's, and they match.
    pub adopt: Vec<&'a Value>,
    /// Its own, and they no longer match.
    pub release: Vec<&'a Value>,
}

/// Sorts objects by whether the owner of this uid has them, wants them, or lets them go.
pub fn claim<'a>(uid: &str, selector: &Labels, all: &[&'a Value]) -> Claim<'a> {
    let mut c = Claim::default();
    for o in all {
        let fits = selector.matches(meta::labels(o));
        match controller_uid(o) {
            "" if fits && !meta::is_deleting(o) && !is_over(o) => c.adopt.push(o),
            u if u == uid && fits => c.own.push(o),
            u if u == uid && !meta::is_deleting(o) => c.release.push(o),
            _ => {}
        }
    }
    c
}

/// A pod made from the template of a workload.
pub fn from_template(workload: &Value, owner: Value) -> Value {
    let template = workload.pointer("/spec/template").unwrap_or(&Value::Null);
    let mut m = Map::new();
    m.insert("generateName".into(), format!("{}-", meta::name(workload)).into());
    m.insert("namespace".into(), meta::namespace(workload).into());
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(v) = template.pointer("/metadata").and_then(|t| t.get(key)).filter(|v| !v.is_null()) {
            m.insert(key.into(), v.clone());
        }
    }
    m.insert("ownerReferences".into(), json!([owner]));
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": m,
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    })
}
