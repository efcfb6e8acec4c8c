//! What every namespace has, and what happens when one goes.

use serde_json::{Value, json};

use super::change::{Change, shelf};
use crate::meta;

/// The ServiceAccount `default` and the ConfigMap with the certificate authority that a living namespace must have.
pub fn furnish(ns: &Value, account: Option<&Value>, roots: Option<&Value>, ca: &str) -> Vec<Change> {
    let name = meta::name(ns);
    let mut out = Vec::new();
    if meta::is_deleting(ns) {
        return out;
    }
    if account.is_none() {
        out.push(Change::Create {
            shelf: shelf::ACCOUNTS,
            object: json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name},
            }),
        });
    }
    let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such \
                 as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                 distributions of Kubernetes clusters.";
    match roots {
        None => out.push(Change::Create {
            shelf: shelf::CONFIG_MAPS,
            object: json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": "kube-root-ca.crt", "namespace": name,
                    "annotations": {"kubernetes.io/description": about},
                },
                "data": {"ca.crt": ca},
            }),
        }),
        Some(c) if meta::text(c, "/data/ca.crt") != ca => {
            let mut c = c.clone();
            c["data"] = json!({"ca.crt": ca});
            out.push(Change::Update { shelf: shelf::CONFIG_MAPS, object: c });
        }
        Some(_) => {}
    }
    out
}

/// The step that lets a namespace go once it is empty: `Some` is the namespace without its own finalizer.
pub fn release(ns: &Value, left: usize) -> Option<Value> {
    let holds = meta::list(ns, "/spec/finalizers").iter().any(|f| f == "kubernetes");
    (meta::is_deleting(ns) && left == 0 && holds).then(|| {
        let mut o = ns.clone();
        if let Some(all) = meta::map(&mut o, "spec").get_mut("finalizers").and_then(Value::as_array_mut) {
            all.retain(|f| f != "kubernetes");
        }
        o
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_gets_what_it_lacks_and_no_more() {
        let ns = json!({"metadata": {"name": "a"}});
        let first = furnish(&ns, None, None, "CA");
        assert_eq!(first.len(), 2);
        let [Change::Create { object: sa, .. }, Change::Create { object: cm, .. }] = &first[..] else {
            panic!()
        };
        assert_eq!((meta::name(sa), meta::namespace(sa)), ("default", "a"));
        assert_eq!(furnish(&ns, Some(sa), Some(cm), "CA"), []);
        assert_eq!(furnish(&ns, Some(sa), Some(cm), "CB").len(), 1);
        let going = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(furnish(&going, None, None, "CA"), [], "nothing is made in a namespace that goes");
    }

    #[test]
    fn a_namespace_goes_when_it_is_empty() {
        let ns = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes", "mine"]}});
        assert_eq!(release(&ns, 1), None);
        let after = release(&ns, 0).unwrap_or_default();
        assert_eq!(after["spec"]["finalizers"], json!(["mine"]));
        assert_eq!(release(&after, 0), None);
    }
}
