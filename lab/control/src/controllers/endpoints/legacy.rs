//! The Endpoints object of a Service: ready addresses and those not ready, grouped by ports.

use serde_json::{Map, Value, json};

use super::member::Member;
use crate::controllers::change::{Change, Decision, same, shelf};
use crate::meta;

/// Most addresses in one Endpoints object.
const MOST: usize = 1000;
pub(super) const MANAGED: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const ME: &str = "endpoint-controller";

struct Subset<'a> {
    ports: Value,
    ready: Vec<&'a Member<'a>>,
    unready: Vec<&'a Member<'a>>,
}

/// Writes the Endpoints object from the members of a Service in its first family, by their ports.
pub(super) fn decide(svc: &Value, groups: &[(&Value, &[Member<'_>])], old: Option<&Value>, d: &mut Decision) {
    let all = meta::flag(svc, "/spec/publishNotReadyAddresses");
    let mut left = MOST;
    let mut subsets: Vec<Subset<'_>> = Vec::new();
    for (ports, members) in groups {
        let mut s = Subset { ports: nameless(ports), ready: Vec::new(), unready: Vec::new() };
        for m in members.iter().filter(|m| all || !m.terminating).take(left) {
            if all || m.serving { s.ready.push(m) } else { s.unready.push(m) }
        }
        left -= s.ready.len() + s.unready.len();
        if !s.ready.is_empty() || !s.unready.is_empty() {
            subsets.push(s);
        }
    }
    let mut labels = meta::labels(svc).cloned().unwrap_or_default();
    if meta::text(svc, "/spec/clusterIP") == "None" {
        labels.insert(super::HEADLESS.into(), "".into());
    }
    labels.insert(MANAGED.into(), ME.into());
    if let Some(o) = old {
        let have = meta::list(o, "/subsets");
        let same = have.len() == subsets.len() && subsets.iter().zip(have).all(|(s, h)| s.is(h));
        if same && meta::labels(o) == Some(&labels) {
            return;
        }
    }
    // All but the addresses, which are many.
    let kept = old.and_then(Value::as_object).map(|o| {
        o.iter().filter(|(k, _)| *k != "subsets").map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>()
    });
    let mut new = kept.map(Value::Object).unwrap_or_else(|| {
        json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": meta::name(svc), "namespace": meta::namespace(svc)},
        })
    });
    meta::map(&mut new, "metadata").insert("labels".into(), labels.into());
    new["subsets"] = subsets.iter().map(Subset::value).collect();
    d.push(match old {
        Some(_) => Change::Update { shelf: shelf::ENDPOINTS, object: new },
        None => Change::Create { shelf: shelf::ENDPOINTS, object: new },
    });
}

/// Ports as this kind of object has them: no name for the nameless one.
fn nameless(ports: &Value) -> Value {
    let mut ports = ports.clone();
    for p in ports.as_array_mut().into_iter().flatten() {
        if let Value::Object(m) = p
            && m.get("name").and_then(Value::as_str) == Some("")
        {
            m.shift_remove("name");
        }
    }
    ports
}

// === impl Subset ===

impl Subset<'_> {
    fn is(&self, old: &Value) -> bool {
        let list = |key: &str, all: &[&Member<'_>]| {
            let have = meta::list(old, key);
            have.len() == all.len() && have.iter().zip(all).all(|(a, m)| m.is_address(a))
        };
        list("/addresses", &self.ready)
            && list("/notReadyAddresses", &self.unready)
            && same(&self.ports, old.get("ports").unwrap_or(&Value::Null))
    }

    fn value(&self) -> Value {
        let mut v = json!({});
        for (key, all) in [("addresses", &self.ready), ("notReadyAddresses", &self.unready)] {
            if !all.is_empty() {
                v[key] = all.iter().map(|m| m.address()).collect();
            }
        }
        v["ports"] = self.ports.clone();
        v
    }
}
