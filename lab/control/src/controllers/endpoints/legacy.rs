//! The Endpoints object of a Service: ready addresses and those not ready, grouped by ports.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Family, address, hostname, ports_of, target};
use crate::controllers::change::{Change, Decision, same, shelf};
use crate::controllers::pods;
use crate::meta;

/// Most addresses in one Endpoints object.
const MOST: usize = 1000;
pub(super) const MANAGED: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const ME: &str = "endpoint-controller";

/// Writes the Endpoints object from the pods a Service chooses, for its first family.
pub(super) fn decide(
    svc: &Value,
    chosen: &[&Value],
    family: Option<Family>,
    old: Option<&Value>,
    d: &mut Decision,
) {
    let Some(family) = family else { return };
    let all = meta::flag(svc, "/spec/publishNotReadyAddresses");
    let mut subsets: BTreeMap<String, Subset> = BTreeMap::new();
    let with_address = chosen.iter().filter_map(|p| Some((*p, address(p, family)?)));
    for (pod, ip) in with_address.filter(|(p, _)| all || !meta::is_deleting(p)).take(MOST) {
        let (key, ports) = ports_of(svc, pod);
        let mut a = json!({"ip": ip, "targetRef": target(pod)});
        if let Some(h) = hostname(svc, pod) {
            a["hostname"] = h.into();
        }
        if !pods::node(pod).is_empty() {
            a["nodeName"] = pods::node(pod).into();
        }
        let s =
            subsets.entry(key).or_insert_with(|| Subset { ports, ready: Vec::new(), unready: Vec::new() });
        if all || pods::is_ready(pod) { s.ready.push(a) } else { s.unready.push(a) }
    }
    let subsets: Vec<Value> = subsets.into_values().map(Subset::value).collect();
    let mut labels = meta::labels(svc).cloned().unwrap_or_default();
    if meta::text(svc, "/spec/clusterIP") == "None" {
        labels.insert(super::HEADLESS.into(), "".into());
    }
    labels.insert(MANAGED.into(), ME.into());
    let mut new = old.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": meta::name(svc), "namespace": meta::namespace(svc)},
        })
    });
    meta::map(&mut new, "metadata").insert("labels".into(), labels.into());
    new["subsets"] = subsets.into();
    match old {
        Some(o) if same(o, &new) => {}
        Some(_) => d.push(Change::Update { shelf: shelf::ENDPOINTS, object: new }),
        None => d.push(Change::Create { shelf: shelf::ENDPOINTS, object: new }),
    }
}

struct Subset {
    ports: Value,
    ready: Vec<Value>,
    unready: Vec<Value>,
}

impl Subset {
    /// As the API has it: no name for the nameless port, no empty lists.
    fn value(self) -> Value {
        let mut ports = self.ports;
        for p in ports.as_array_mut().into_iter().flatten() {
            if let Value::Object(m) = p
                && m.get("name").and_then(Value::as_str) == Some("")
            {
                m.shift_remove("name");
            }
        }
        let mut v = json!({});
        for (key, list) in [("addresses", self.ready), ("notReadyAddresses", self.unready)] {
            if !list.is_empty() {
                v[key] = list.into();
            }
        }
        v["ports"] = ports;
        v
    }
}
