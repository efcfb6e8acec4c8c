//! Which pods stand behind a Service: its EndpointSlices, and the older Endpoints object.
//!
//! A pod that is on its way out is not ready from that moment on. An endpoint stays in the slice it is in, so that a
//! change of one pod writes one slice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::change::{Change, Decision, owned_by, same, shelf};
use super::fit::domain;
use super::pods;
use crate::meta;
use crate::select::Labels;

mod legacy;
mod mirror;

pub use mirror::decide as mirror;

/// Most endpoints in one slice.
const MOST: usize = 100;
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

/// The endpoints of one slice: same family, same ports.
type Group = (Family, String);

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
    let mut wanted: BTreeMap<Group, Vec<Value>> = BTreeMap::new();
    let mut ports: BTreeMap<String, Value> = BTreeMap::new();
    for pod in &chosen {
        for family in &families {
            let Some(ip) = address(pod, *family) else { continue };
            let (key, list) = ports_of(svc, pod);
            ports.insert(key.clone(), list);
            wanted.entry((*family, key)).or_default().push(endpoint(svc, pod, ip, nodes));
        }
    }
    for family in &families {
        reconcile(svc, *family, &wanted, &ports, &own, &mut d);
    }
    for s in own.iter().filter(|s| family_of(s).is_none_or(|f| !families.contains(&f))) {
        d.push(Change::delete(shelf::SLICES, s));
    }
    legacy::decide(svc, &chosen, families.first().copied(), endpoints, &mut d);
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

/// The ports of a Service as they are on one pod; a port whose name the pod does not know is left out. The text
/// tells sets of ports apart.
fn ports_of(svc: &Value, pod: &Value) -> (String, Value) {
    let list: Vec<Value> = meta::list(svc, "/spec/ports").iter().filter_map(|p| port_of(p, pod)).collect();
    let list = Value::Array(list);
    (list.to_string(), list)
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

fn endpoint(svc: &Value, pod: &Value, ip: &str, nodes: &BTreeMap<&str, &Value>) -> Value {
    let (terminating, serving) = (meta::is_deleting(pod), pods::is_ready(pod));
    let ready = meta::flag(svc, "/spec/publishNotReadyAddresses") || (serving && !terminating);
    let mut e = json!({
        "addresses": [ip],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target(pod),
    });
    if let Some(h) = hostname(svc, pod) {
        e["hostname"] = h.into();
    }
    let node = pods::node(pod);
    if !node.is_empty() {
        e["nodeName"] = node.into();
        if let Some(zone) = nodes.get(node).and_then(|n| domain(n, "topology.kubernetes.io/zone")) {
            e["zone"] = zone.into();
            if ready
                && matches!(meta::text(svc, "/spec/trafficDistribution"), "PreferClose" | "PreferSameZone")
            {
                e["hints"] = json!({"forZones": [{"name": zone}]});
            }
        }
    }
    e
}

fn target(pod: &Value) -> Value {
    json!({"kind": "Pod", "namespace": meta::namespace(pod), "name": meta::name(pod), "uid": meta::uid(pod)})
}

fn hostname<'a>(svc: &Value, pod: &'a Value) -> Option<&'a str> {
    let name = meta::text(pod, "/spec/hostname");
    (!name.is_empty()
        && meta::text(pod, "/spec/subdomain") == meta::name(svc)
        && meta::namespace(pod) == meta::namespace(svc))
    .then_some(name)
}

/// What tells an endpoint from others, whatever its state.
fn identity(e: &Value) -> (String, String) {
    (meta::text(e, "/targetRef/uid").to_owned(), meta::text(e, "/addresses/0").to_owned())
}

/// Makes the slices of one family hold what is wanted, moving as little as possible.
fn reconcile(
    svc: &Value,
    family: Family,
    wanted: &BTreeMap<Group, Vec<Value>>,
    ports: &BTreeMap<String, Value>,
    own: &[&Value],
    d: &mut Decision,
) {
    let mut spare: Vec<&Value> = Vec::new();
    let mut kept: BTreeMap<String, Vec<(&Value, Vec<Value>)>> = BTreeMap::new();
    let groups: BTreeMap<&str, &Vec<Value>> =
        wanted.iter().filter(|((f, _), _)| *f == family).map(|((_, p), v)| (p.as_str(), v)).collect();
    for s in own.iter().filter(|s| family_of(s) == Some(family)) {
        let key = s.get("ports").filter(|p| !p.is_null()).cloned().unwrap_or_else(|| json!([]));
        match groups.keys().find(|k| ports.get(**k).is_some_and(|p| same(p, &key))) {
            Some(k) => kept.entry((*k).to_owned()).or_default().push((s, Vec::new())),
            None => spare.push(s),
        }
    }
    let mut create: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, list) in &groups {
        let mut waiting: BTreeMap<(String, String), &Value> = list.iter().map(|e| (identity(e), e)).collect();
        let slots = kept.entry((*key).to_owned()).or_default();
        for (s, hold) in slots.iter_mut() {
            for old in meta::list(s, "/endpoints") {
                if let Some(e) = waiting.remove(&identity(old)) {
                    hold.push(e.clone());
                }
            }
        }
        // What is new goes first where something changes anyway.
        slots.sort_by_key(|(s, hold)| same(&s["endpoints"], &Value::Array(hold.clone())));
        let mut rest: Vec<Value> =
            list.iter().filter(|e| waiting.contains_key(&identity(e))).cloned().collect();
        for (_, hold) in slots.iter_mut() {
            let n = rest.len().min(MOST.saturating_sub(hold.len()));
            hold.extend(rest.drain(..n));
        }
        while !rest.is_empty() {
            let n = rest.len().min(MOST);
            create.push((ports[*key].clone(), rest.drain(..n).collect()));
        }
        // An emptied slice is free for others.
        let mut i = 0;
        while i < slots.len() {
            if slots[i].1.is_empty() {
                spare.push(slots.remove(i).0);
            } else {
                i += 1;
            }
        }
    }
    for (key, slots) in &kept {
        for (s, hold) in slots {
            d.changes.extend(written(svc, family, Some(s), ports.get(key), hold));
        }
    }
    let full = kept.values().any(|s| !s.is_empty());
    let mut spare = spare.into_iter();
    for (ports, hold) in &create {
        d.changes.extend(written(svc, family, spare.next(), Some(ports), hold));
    }
    if !full && create.is_empty() {
        // A Service without endpoints keeps one empty slice of each family.
        d.changes.extend(written(svc, family, spare.next(), None, &[]));
    }
    d.changes.extend(spare.map(|s| Change::delete(shelf::SLICES, s)));
}

/// The wish that makes a slice hold this, if it does not already.
fn written(
    svc: &Value,
    family: Family,
    old: Option<&Value>,
    ports: Option<&Value>,
    hold: &[Value],
) -> Option<Change> {
    let mut labels: Map<String, Value> = meta::labels(svc).cloned().unwrap_or_default();
    labels.insert(SERVICE.into(), meta::name(svc).into());
    labels.insert(MANAGER.into(), ME.into());
    if meta::text(svc, "/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.into(), "".into());
    } else {
        labels.shift_remove(HEADLESS);
    }
    let mut s = old.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", meta::name(svc)), "namespace": meta::namespace(svc),
                "ownerReferences": [owned_by(svc, "v1", "Service")],
            },
            "addressType": if family == Family::V4 { "IPv4" } else { "IPv6" },
        })
    });
    meta::map(&mut s, "metadata").insert("labels".into(), labels.into());
    s["endpoints"] = hold.to_vec().into();
    s["ports"] = ports.cloned().unwrap_or(Value::Null);
    match old {
        Some(o) if same(o, &s) => None,
        Some(_) => Some(Change::Update { shelf: shelf::SLICES, object: s }),
        None => Some(Change::Create { shelf: shelf::SLICES, object: s }),
    }
}

#[cfg(test)]
mod tests;
