//! One pod behind a Service, as it shall stand in a slice. Compared in place, so that asking about a Service with many
//! pods costs little when one of them changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::controllers::fit::domain;
use crate::controllers::pods;
use crate::meta;

/// A pod's place behind a Service.
pub(super) struct Member<'a> {
    pub ip: &'a str,
    pub uid: &'a str,
    name: &'a str,
    ns: &'a str,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    hostname: Option<&'a str>,
    node: &'a str,
    zone: Option<&'a str>,
    near: bool,
}

// === impl Member ===

impl<'a> Member<'a> {
    pub fn new(svc: &Value, pod: &'a Value, ip: &'a str, nodes: &BTreeMap<&str, &'a Value>) -> Self {
        let (terminating, serving) = (meta::is_deleting(pod), pods::is_ready(pod));
        let ready = meta::flag(svc, "/spec/publishNotReadyAddresses") || (serving && !terminating);
        let node = pods::node(pod);
        let zone = nodes.get(node).and_then(|n| domain(n, "topology.kubernetes.io/zone"));
        let close = matches!(meta::text(svc, "/spec/trafficDistribution"), "PreferClose" | "PreferSameZone");
        Self {
            ip,
            uid: meta::uid(pod),
            name: meta::name(pod),
            ns: meta::namespace(pod),
            ready,
            serving,
            terminating,
            hostname: hostname(svc, pod),
            node,
            zone,
            near: close && ready && zone.is_some(),
        }
    }

    /// What tells it from others, whatever its state.
    pub fn identity(&self) -> (&'a str, &'a str) {
        (self.uid, self.ip)
    }

    fn target(&self) -> Value {
        json!({"kind": "Pod", "namespace": self.ns, "name": self.name, "uid": self.uid})
    }

    fn is_target(&self, v: &Value) -> bool {
        meta::text(v, "/targetRef/uid") == self.uid && meta::text(v, "/targetRef/name") == self.name
    }

    /// As an endpoint of a slice.
    pub fn endpoint(&self) -> Value {
        let mut e = json!({
            "addresses": [self.ip],
            "conditions": {"ready": self.ready, "serving": self.serving, "terminating": self.terminating},
            "targetRef": self.target(),
        });
        if let Some(h) = self.hostname {
            e["hostname"] = h.into();
        }
        if !self.node.is_empty() {
            e["nodeName"] = self.node.into();
        }
        if let Some(z) = self.zone {
            e["zone"] = z.into();
            if self.near {
                e["hints"] = json!({"forZones": [{"name": z}]});
            }
        }
        e
    }

    /// Whether this is what an endpoint of a slice says.
    pub fn is_endpoint(&self, e: &Value) -> bool {
        let flag = |key: &str| e.pointer("/conditions").and_then(|c| c.get(key)).and_then(Value::as_bool);
        meta::text(e, "/addresses/0") == self.ip
            && flag("ready") == Some(self.ready)
            && flag("serving") == Some(self.serving)
            && flag("terminating") == Some(self.terminating)
            && self.is_target(e)
            && meta::text(e, "/hostname") == self.hostname.unwrap_or("")
            && meta::text(e, "/nodeName") == self.node
            && meta::text(e, "/zone") == self.zone.unwrap_or("")
            && meta::text(e, "/hints/forZones/0/name") == self.zone.filter(|_| self.near).unwrap_or("")
    }

    /// As an address of an Endpoints object.
    pub fn address(&self) -> Value {
        let mut a = json!({"ip": self.ip, "targetRef": self.target()});
        if let Some(h) = self.hostname {
            a["hostname"] = h.into();
        }
        if !self.node.is_empty() {
            a["nodeName"] = self.node.into();
        }
        a
    }

    /// Whether this is what an address of an Endpoints object says.
    pub fn is_address(&self, a: &Value) -> bool {
        meta::text(a, "/ip") == self.ip
            && self.is_target(a)
            && meta::text(a, "/hostname") == self.hostname.unwrap_or("")
            && meta::text(a, "/nodeName") == self.node
    }
}

fn hostname<'a>(svc: &Value, pod: &'a Value) -> Option<&'a str> {
    let name = meta::text(pod, "/spec/hostname");
    (!name.is_empty()
        && meta::text(pod, "/spec/subdomain") == meta::name(svc)
        && meta::namespace(pod) == meta::namespace(svc))
    .then_some(name)
}
