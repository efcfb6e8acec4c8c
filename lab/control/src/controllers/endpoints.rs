//! Which pods stand behind a Service: its EndpointSlices, and the older Endpoints object.
//!
//! A pod that is on its way out is not ready from that moment on. An endpoint stays in the slice it is in, so that a
//! change of one pod writes one slice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::change::{Change, Decision, shelf};
use super::pods;
use crate::meta;
use crate::select::Labels;

mod legacy;
mod member;
mod mirror;
mod slices;

use member::Member;

pub use mirror::decide as mirror;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGER: &str = "endpointslice.kubernetes.io/managed-by";
const ME: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// An address family, as `EndpointSlice.addressType` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// 32 bit.
    V4,
    /// 128 bit.
    V6,
}

/// What to write for a Service, given the pods of its namespace, all nodes, and the slices and Endpoints it has now.
pub fn decide(
    svc: &Value,
    all: &[&Value],
    nodes: &BTreeMap<&str, &Value>,
    slices: &[&Value],
    endpoints: Option<&Value>,
) -> Decision {
    let mut d = Decision::default();
    let own: Vec<&Value> = slices
        .iter()
        .copied()
        .filter(|s| label(s, SERVICE) == meta::name(svc) && label(s, MANAGER) == ME)
        .collect();
    let selector = svc.pointer("/spec/selector").and_then(Value::as_object).filter(|m| !m.is_empty());
    let (Some(selector), false) = (selector, meta::is_deleting(svc)) else {
        return d;
    };
    if meta::text(svc, "/spec/type") == "ExternalName" {
        d.changes.extend(own.iter().map(|s| Change::delete(shelf::SLICES, s)));
        return d;
    }
    let selector = Labels::from_map(selector);
    let mut chosen: Vec<&Value> =
        all.iter().copied().filter(|p| !pods::is_over(p) && selector.matches(meta::labels(p))).collect();
    chosen.sort_by_key(|p| meta::name(p));
    let families = families(svc, &chosen);
    let mut sets: Vec<Value> = Vec::new();
    let mut wanted: BTreeMap<(Family, usize), Vec<Member<'_>>> = BTreeMap::new();
    let mut ports = Ports::new(svc);
    for pod in &chosen {
        for family in &families {
            let Some(ip) = address(pod, *family) else { continue };
            let set = ports.of(pod, &mut sets);
            wanted.entry((*family, set)).or_default().push(Member::new(svc, pod, ip, nodes));
        }
    }
    for family in &families {
        let groups: Vec<(&Value, &[Member<'_>])> = wanted
            .iter()
            .filter(|((f, _), _)| f == family)
            .map(|((_, i), m)| (&sets[*i], m.as_slice()))
            .collect();
        slices::reconcile(svc, *family, &groups, &own, &mut d);
    }
    for s in own.iter().filter(|s| family_of(s).is_none_or(|f| !families.contains(&f))) {
        d.push(Change::delete(shelf::SLICES, s));
    }
    let first = families.first().copied();
    let groups: Vec<(&Value, &[Member<'_>])> = wanted
        .iter()
        .filter(|((f, _), _)| Some(*f) == first)
        .map(|((_, i), m)| (&sets[*i], m.as_slice()))
        .collect();
    legacy::decide(svc, &groups, endpoints, &mut d);
    d
}

/// What to take away when a Service is gone: what was made for it.
pub fn abandoned(name: &str, slices: &[&Value], endpoints: Option<&Value>) -> Decision {
    let mut d = Decision::default();
    let own = slices.iter().filter(|s| label(s, SERVICE) == name && label(s, MANAGER) == ME);
    d.changes.extend(own.map(|s| Change::delete(shelf::SLICES, s)));
    let made = endpoints.filter(|e| label(e, legacy::MANAGED) == legacy::ME);
    d.changes.extend(made.map(|e| Change::delete(shelf::ENDPOINTS, e)));
    d
}

/// Whether a Service chooses a pod.
pub fn selects(svc: &Value, pod: &Value) -> bool {
    svc.pointer("/spec/selector")
        .and_then(Value::as_object)
        .is_some_and(|m| !m.is_empty() && Labels::from_map(m).matches(meta::labels(pod)))
}

/// The label of a slice that names its Service.
pub fn service_of(slice: &Value) -> &str {
    label(slice, SERVICE)
}

fn label<'a>(o: &'a Value, key: &str) -> &'a str {
    meta::labels(o).and_then(|l| l.get(key)).and_then(Value::as_str).unwrap_or("")
}

fn family_of(slice: &Value) -> Option<Family> {
    match meta::text(slice, "/addressType") {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}

fn families(svc: &Value, chosen: &[&Value]) -> Vec<Family> {
    let mut said: Vec<Family> = meta::list(svc, "/spec/ipFamilies")
        .iter()
        .filter_map(|f| match f.as_str() {
            Some("IPv4") => Some(Family::V4),
            Some("IPv6") => Some(Family::V6),
            _ => None,
        })
        .collect();
    if said.is_empty() {
        let ip = meta::text(svc, "/spec/clusterIP").parse::<IpAddr>().ok();
        let pod = || chosen.iter().find_map(|p| pods::addresses(p).first()?.parse::<IpAddr>().ok());
        said.push(if ip.or_else(pod).is_some_and(|i| i.is_ipv6()) { Family::V6 } else { Family::V4 });
    }
    said
}

fn address(pod: &Value, family: Family) -> Option<&str> {
    pods::addresses(pod).into_iter().find(|a| match a.parse::<IpAddr>() {
        Ok(ip) => ip.is_ipv6() == (family == Family::V6),
        Err(_) => false,
    })
}

/// The ports of a Service as they are on its pods. Only a port that is named differs from pod to pod.
struct Ports<'a> {
    svc: &'a Value,
    named: bool,
    fixed: Option<usize>,
}

impl<'a> Ports<'a> {
    fn new(svc: &'a Value) -> Self {
        let named =
            meta::list(svc, "/spec/ports").iter().any(|p| p.get("targetPort").is_some_and(Value::is_string));
        Self { svc, named, fixed: None }
    }

    /// Index of the pod's set of ports in `sets`, where it is put if it is new. A port whose name the pod does not
    /// know is left out.
    fn of(&mut self, pod: &Value, sets: &mut Vec<Value>) -> usize {
        if let Some(i) = self.fixed {
            return i;
        }
        let list: Vec<Value> =
            meta::list(self.svc, "/spec/ports").iter().filter_map(|p| port_of(p, pod)).collect();
        let list = Value::Array(list);
        let i = sets.iter().position(|s| *s == list).unwrap_or_else(|| {
            sets.push(list);
            sets.len() - 1
        });
        self.fixed = (!self.named).then_some(i);
        i
    }
}

fn port_of(p: &Value, pod: &Value) -> Option<Value> {
    let protocol = match meta::text(p, "/protocol") {
        "" => "TCP",
        x => x,
    };
    let number = match p.get("targetPort") {
        Some(Value::String(name)) if !name.is_empty() => named_port(pod, name, protocol)?,
        Some(Value::Number(n)) if n.as_i64() != Some(0) => n.as_i64()?,
        _ => meta::int(p, "/port")?,
    };
    let mut out = json!({"name": meta::text(p, "/name"), "port": number, "protocol": protocol});
    if let Some(app) = p.get("appProtocol").filter(|a| !a.is_null()) {
        out["appProtocol"] = app.clone();
    }
    Some(out)
}

fn named_port(pod: &Value, name: &str, protocol: &str) -> Option<i64> {
    let sidecars = meta::list(pod, "/spec/initContainers")
        .iter()
        .filter(|c| meta::text(c, "/restartPolicy") == "Always");
    meta::list(pod, "/spec/containers").iter().chain(sidecars).flat_map(|c| meta::list(c, "/ports")).find_map(
        |p| {
            let proto = match meta::text(p, "/protocol") {
                "" => "TCP",
                x => x,
            };
            (meta::text(p, "/name") == name && proto == protocol).then(|| meta::int(p, "/containerPort"))?
        },
    )
}

#[cfg(test)]
mod tests;
