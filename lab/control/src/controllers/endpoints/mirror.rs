//! A Service without a selector: its hand-written Endpoints object becomes EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{MANAGER, SERVICE, label};
use crate::controllers::change::{Change, Decision, owned_by, same, shelf};
use crate::meta;

const ME: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";

/// What to write for an Endpoints object, given the Service of its name and the slices of that.
pub fn decide(svc: Option<&Value>, endpoints: Option<&Value>, name: &str, slices: &[&Value]) -> Decision {
    let mut d = Decision::default();
    let mut own: Vec<&Value> =
        slices.iter().copied().filter(|s| label(s, SERVICE) == name && label(s, MANAGER) == ME).collect();
    let bare = |s: &Value| {
        s.pointer("/spec/selector").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty)
    };
    let wanted = match (svc, endpoints) {
        (Some(s), Some(e)) if bare(s) && label(e, SKIP) != "true" && !meta::is_deleting(e) => subsets(e),
        _ => Vec::new(),
    };
    for (family, ports, list) in wanted {
        let Some(e) = endpoints else { continue };
        let at = own.iter().position(|s| {
            meta::text(s, "/addressType") == family && same(s.get("ports").unwrap_or(&Value::Null), &ports)
        });
        let old = at.map(|i| own.remove(i));
        let mut s = old.cloned().unwrap_or_else(|| {
            let mut labels = meta::labels(e).cloned().unwrap_or_default();
            labels.insert(SERVICE.into(), name.into());
            labels.insert(MANAGER.into(), ME.into());
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "generateName": format!("{name}-"), "namespace": meta::namespace(e), "labels": labels,
                    "ownerReferences": [owned_by(e, "v1", "Endpoints")],
                },
                "addressType": family, "ports": ports,
            })
        });
        s["endpoints"] = list.into();
        match old {
            Some(o) if same(o, &s) => {}
            Some(_) => d.push(Change::Update { shelf: shelf::SLICES, object: s }),
            None => d.push(Change::Create { shelf: shelf::SLICES, object: s }),
        }
    }
    d.changes.extend(own.into_iter().map(|s| Change::delete(shelf::SLICES, s)));
    d
}

/// Address type, ports and endpoints of each slice there shall be.
fn subsets(e: &Value) -> Vec<(&'static str, Value, Vec<Value>)> {
    let mut out: BTreeMap<(&'static str, String), (Value, Vec<Value>)> = BTreeMap::new();
    for subset in meta::list(e, "/subsets") {
        let ports: Vec<Value> = meta::list(subset, "/ports")
            .iter()
            .map(|p| {
                let mut q = p.clone();
                q["name"] = meta::text(p, "/name").into();
                if meta::text(p, "/protocol").is_empty() {
                    q["protocol"] = "TCP".into();
                }
                q
            })
            .collect();
        let ports = Value::Array(ports);
        for (key, ready) in [("/addresses", true), ("/notReadyAddresses", false)] {
            for a in meta::list(subset, key) {
                let Ok(ip) = meta::text(a, "/ip").parse::<IpAddr>() else { continue };
                let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
                let mut x = json!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
                for part in ["hostname", "nodeName", "targetRef"] {
                    if let Some(v) = a.get(part).filter(|v| !v.is_null()) {
                        x[part] = v.clone();
                    }
                }
                let slot =
                    out.entry((family, ports.to_string())).or_insert_with(|| (ports.clone(), Vec::new()));
                slot.1.push(x);
            }
        }
    }
    out.into_iter().map(|((f, _), (p, l))| (f, p, l)).collect()
}
