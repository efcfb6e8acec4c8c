//! Whether a pod may stand on a node: selectors, affinity, taints. The scheduler and daemon sets ask.

use serde_json::{Map, Value};

use crate::meta;
use crate::select::{Demand, expression};

/// Why a pod may not stand on a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// `nodeSelector` or required node affinity says no.
    Affinity,
    /// A taint the pod does not tolerate: key and value.
    Taint(String, String),
    /// `spec.unschedulable`.
    Unschedulable,
    /// A port of the host is taken.
    Ports,
    /// Not enough of a resource.
    Room(&'static str),
    /// Too many pods.
    TooManyPods,
    /// A pod there repels it, or it repels a pod there.
    AntiAffinity,
    /// No pod it wants to be with is there.
    PodAffinity,
    /// It would lean too far over to one side.
    Spread,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Affinity => write!(f, "node(s) didn't match Pod's node affinity/selector"),
            Self::Taint(k, v) => write!(f, "node(s) had untolerated taint {{{k}: {v}}}"),
            Self::Unschedulable => write!(f, "node(s) were unschedulable"),
            Self::Ports => write!(f, "node(s) didn't have free ports for the requested pod ports"),
            Self::Room(what) => write!(f, "Insufficient {what}"),
            Self::TooManyPods => write!(f, "Too many pods"),
            Self::AntiAffinity => write!(f, "node(s) didn't match pod anti-affinity rules"),
            Self::PodAffinity => write!(f, "node(s) didn't match pod affinity rules"),
            Self::Spread => write!(f, "node(s) didn't match pod topology spread constraints"),
        }
    }
}

/// Whether `nodeSelector` and the required node affinity of a pod spec choose a node.
pub fn wants(spec: &Value, node: &Value) -> bool {
    let labels = meta::labels(node);
    let get = |k: &str| labels.and_then(|l| l.get(k)).and_then(Value::as_str);
    if let Some(m) = spec.get("nodeSelector").and_then(Value::as_object)
        && !m.iter().all(|(k, v)| get(k) == v.as_str())
    {
        return false;
    }
    let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    match spec.pointer(required).filter(|r| !r.is_null()) {
        None => true,
        Some(r) => meta::list(r, "/nodeSelectorTerms").iter().any(|t| term(t, node, &get)),
    }
}

/// The sum of the weights of the preferred node affinities that a node fulfils.
pub fn liked(spec: &Value, node: &Value) -> i64 {
    let labels = meta::labels(node);
    let get = |k: &str| labels.and_then(|l| l.get(k)).and_then(Value::as_str);
    meta::list(spec, "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution")
        .iter()
        .filter(|p| p.get("preference").is_some_and(|t| term(t, node, &get)))
        .filter_map(|p| meta::int(p, "/weight"))
        .sum()
}

fn term<'a>(t: &Value, node: &'a Value, get: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    let (labels, fields) = (meta::list(t, "/matchExpressions"), meta::list(t, "/matchFields"));
    let name = |k: &str| (k == "metadata.name").then(|| meta::name(node));
    let all = |es: &[Value], get: &dyn Fn(&str) -> Option<&'a str>| {
        es.iter().all(|e| expression(e).is_some_and(|d: Demand| d.holds(get)))
    };
    !(labels.is_empty() && fields.is_empty()) && all(labels, get) && all(fields, &name)
}

/// The first taint of a node with one of these effects that the tolerations do not bear. A node that is not Ready
/// counts as tainted even before the taint is written.
pub fn untolerated(tolerations: &[Value], node: &Value, effects: &[&str]) -> Option<Misfit> {
    let bears = |k: &str, v: &str, e: &str| tolerations.iter().any(|t| tolerates(t, k, v, e));
    let hit = meta::list(node, "/spec/taints").iter().find_map(|t| {
        let (k, v, e) = (meta::text(t, "/key"), meta::text(t, "/value"), meta::text(t, "/effect"));
        (effects.contains(&e) && !bears(k, v, e)).then(|| (k.to_owned(), v.to_owned()))
    });
    if let Some((k, v)) = hit {
        return Some(if k == UNSCHEDULABLE { Misfit::Unschedulable } else { Misfit::Taint(k, v) });
    }
    if !effects.contains(&"NoSchedule") {
        return None;
    }
    if meta::flag(node, "/spec/unschedulable") && !bears(UNSCHEDULABLE, "", "NoSchedule") {
        return Some(Misfit::Unschedulable);
    }
    let key = match meta::condition(node, "Ready").map_or("", |c| meta::text(c, "/status")) {
        "True" => return None,
        "Unknown" => UNREACHABLE,
        _ => NOT_READY,
    };
    (!bears(key, "", "NoSchedule")).then(|| Misfit::Taint(key.into(), String::new()))
}

/// Taint of a node that is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint of a node that is silent.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a cordoned node.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taint of a node without network.
pub const NO_NETWORK: &str = "node.kubernetes.io/network-unavailable";

/// Whether a toleration bears a taint.
pub fn tolerates(t: &Value, key: &str, value: &str, effect: &str) -> bool {
    let (k, e) = (meta::text(t, "/key"), meta::text(t, "/effect"));
    (e.is_empty() || e == effect)
        && match meta::text(t, "/operator") {
            "Exists" => k.is_empty() || k == key,
            _ => k == key && meta::text(t, "/value") == value,
        }
}

/// What a pod asks of a node: millicores and bytes, the larger of its init containers and the sum of the others.
pub fn requests(pod: &Value) -> (i64, i64) {
    let of = |c: &Value| {
        let read = |key: &str| c.pointer("/resources/requests").and_then(|r| r.get(key));
        (read("cpu").and_then(milli).unwrap_or(0), read("memory").and_then(milli).unwrap_or(0) / 1000)
    };
    let (mut cpu, mut mem) = (0, 0);
    for c in meta::list(pod, "/spec/containers") {
        let (a, b) = of(c);
        (cpu, mem) = (cpu + a, mem + b);
    }
    let (mut init_cpu, mut init_mem) = (0, 0);
    for c in meta::list(pod, "/spec/initContainers") {
        let (a, b) = of(c);
        if meta::text(c, "/restartPolicy") == "Always" {
            (cpu, mem) = (cpu + a, mem + b);
        } else {
            (init_cpu, init_mem) = (init_cpu.max(a), init_mem.max(b));
        }
    }
    (cpu.max(init_cpu), mem.max(init_mem))
}

/// A quantity in thousandths.
pub fn milli(v: &Value) -> Option<i64> {
    let text = match v {
        Value::String(s) => s.trim().to_owned(),
        Value::Number(n) => n.to_string(),
        _ => return None,
    };
    let cut = text.find(|c: char| {
        c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E' if text.ends_with(|d: char| d.is_ascii_digit()))
    });
    let (number, unit) = text.split_at(cut.unwrap_or(text.len()));
    let factor: f64 = match unit {
        "" => 1e3,
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "P" => 1e18,
        "Ki" => 1024e3,
        "Mi" => 1_048_576e3,
        "Gi" => 1_073_741_824e3,
        "Ti" => 1_099_511_627_776e3,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a quantity beyond 64 bit saturates")]
    let n = (number.parse::<f64>().ok()? * factor).ceil() as i64;
    Some(n)
}

/// The ports a pod takes of its host: address, port, protocol.
pub fn host_ports(pod: &Value) -> Vec<(String, i64, String)> {
    let host = meta::flag(pod, "/spec/hostNetwork");
    let mut out = Vec::new();
    for p in meta::list(pod, "/spec/containers").iter().flat_map(|c| meta::list(c, "/ports")) {
        let port = meta::int(p, "/hostPort").filter(|n| *n > 0);
        if let Some(port) = port.or_else(|| meta::int(p, "/containerPort").filter(|_| host)) {
            let or = |s: &str, d: &str| if s.is_empty() { d.to_owned() } else { s.to_owned() };
            let proto = or(meta::text(p, "/protocol"), "TCP");
            out.push((or(meta::text(p, "/hostIP"), "0.0.0.0"), port, proto));
        }
    }
    out
}

/// A node label, as the key of a topology.
pub fn domain<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    meta::labels(node).and_then(|l: &Map<String, Value>| l.get(key)).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities() {
        for (text, want) in
            [("100m", 100), ("1", 1000), ("0.5", 500), ("2Gi", 2_147_483_648_000), ("1e3", 1_000_000)]
        {
            assert_eq!(milli(&json!(text)), Some(want), "{text}");
        }
        assert_eq!(milli(&json!("x")), None);
        assert_eq!(milli(&json!(4)), Some(4000));
    }

    #[test]
    fn affinity_terms_are_or_expressions_are_and() {
        let node = json!({"metadata": {"name": "n1", "labels": {"zone": "a", "disk": "ssd"}}});
        let spec = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
        let e = |k: &str, op: &str, v: &[&str]| json!({"key": k, "operator": op, "values": v});
        assert!(wants(
            &spec(json!([{"matchExpressions": [e("zone", "In", &["a"]), e("disk", "Exists", &[])]}])),
            &node
        ));
        assert!(!wants(
            &spec(json!([{"matchExpressions": [e("zone", "In", &["a"]), e("disk", "In", &["hdd"])]}])),
            &node
        ));
        assert!(wants(
            &spec(
                json!([{"matchExpressions": [e("zone", "In", &["b"])]}, {"matchFields": [e("metadata.name", "In", &["n1"])]}])
            ),
            &node
        ));
        assert!(!wants(&spec(json!([{}])), &node), "an empty term chooses nothing");
        assert!(!wants(&json!({"nodeSelector": {"zone": "b"}}), &node));
    }

    #[test]
    fn a_node_not_ready_is_tainted_before_the_taint_is_written() {
        let node = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        assert_eq!(untolerated(&[], &node("True"), &["NoSchedule"]), None);
        assert_eq!(
            untolerated(&[], &node("False"), &["NoSchedule"]),
            Some(Misfit::Taint(NOT_READY.into(), String::new()))
        );
        assert_eq!(untolerated(&[json!({"operator": "Exists"})], &node("False"), &["NoSchedule"]), None);
        assert_eq!(
            untolerated(
                &[json!({"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"})],
                &node("False"),
                &["NoSchedule"]
            ),
            Some(Misfit::Taint(NOT_READY.into(), String::new()))
        );
    }
}
