//! What happens to an object before it is kept: defaults are filled in, then the rules of its kind are checked.

use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::error::{ApiError, FieldError, Result};
use crate::meta::{self, default, map, text};
use crate::ops::Place;
use crate::store::Tx;

pub mod alloc;
mod labels;
mod names;
mod pod;
mod service;
mod workload;

/// Defaults and checks one object. `old` is what it replaces. Gives warnings.
pub fn admit(
    core: &Core,
    tx: &Tx<'_>,
    p: &Place<'_>,
    old: Option<&Value>,
    new: &mut Value,
    dry_run: bool,
) -> Result<Vec<String>> {
    let r = p.resource;
    let mut errors: Vec<FieldError> = Vec::new();
    let mut warnings = Vec::new();
    if old.is_none() {
        names::check(r, new, &mut errors);
    }
    labels::check(new, &mut errors);
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") => {
            pod::defaults(tx, old, new)?;
            if p.sub != "binding" {
                pod::check(old, new, p.sub, &mut errors);
            }
        }
        ("", "services") => {
            service::defaults(old, new);
            service::check(old, new, &mut errors);
            if errors.is_empty() {
                service::allocate(core, old, new, dry_run, &mut errors);
            }
        }
        ("", "namespaces") => namespace(new),
        ("", "nodes") => node(new, &mut errors),
        ("", "secrets") => secret(old, new, &mut errors),
        ("", "events") => {
            default(map_root(new), "type", "Normal");
        }
        (
            "" | "apps",
            "deployments" | "replicasets" | "daemonsets" | "statefulsets" | "replicationcontrollers",
        ) => {
            workload::defaults(&r.plural, new);
            workload::check(&r.plural, old, new, &mut errors);
        }
        ("batch", "jobs") => workload::job(new),
        ("discovery.k8s.io", "endpointslices") => endpoint_slice(old, new, &mut errors),
        ("networking.k8s.io", "networkpolicies") => network_policy(new),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            binding(old, new, &mut errors)
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => crate::crd::admit(old, new, &mut errors),
        _ if r.custom => crate::crd::admit_object(p, old, new, &mut errors),
        _ => {}
    }
    if p.sub == "status" {
        // The spec was checked when it was written.
        errors.retain(|e| e.field.starts_with("status"));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(&r.group, &r.kind, meta::name(new), &errors));
    }
    warnings.sort();
    Ok(warnings)
}

fn map_root(v: &mut Value) -> &mut Map<String, Value> {
    match v {
        Value::Object(m) => m,
        other => {
            *other = json!({});
            match other {
                Value::Object(m) => m,
                _ => unreachable!("just made an object"),
            }
        }
    }
}

fn namespace(v: &mut Value) {
    let name = meta::name(v).to_owned();
    let fresh = v.pointer("/status/phase").is_none();
    meta::dig(v, &["metadata", "labels"]).insert("kubernetes.io/metadata.name".into(), name.into());
    if fresh {
        meta::default(map(v, "spec"), "finalizers", json!(["kubernetes"]));
        map(v, "status").insert("phase".into(), "Active".into());
    }
}

fn node(v: &mut Value, errors: &mut Vec<FieldError>) {
    map(v, "spec");
    map(v, "status");
    let name = meta::name(v).to_owned();
    let labels = meta::dig(v, &["metadata", "labels"]);
    default(labels, "kubernetes.io/hostname", name);
    default(labels, "kubernetes.io/os", "linux");
    default(labels, "kubernetes.io/arch", "amd64");
    for (i, t) in meta::list(v, "/spec/taints").iter().enumerate() {
        let effect = text(t, "/effect");
        if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let may = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            errors.push(FieldError::unsupported(format!("spec.taints[{i}].effect"), &effect.into(), &may));
        }
    }
}

fn secret(old: Option<&Value>, v: &mut Value, errors: &mut Vec<FieldError>) {
    use base64::Engine as _;
    default(map_root(v), "type", "Opaque");
    if let Some(plain) = map_root(v).shift_remove("stringData").and_then(|s| s.as_object().cloned()) {
        let data = map(v, "data");
        for (k, x) in plain {
            let coded = base64::engine::general_purpose::STANDARD.encode(x.as_str().unwrap_or(""));
            data.insert(k, coded.into());
        }
    }
    if let Some(old) = old
        && text(old, "/type") != text(v, "/type")
    {
        errors.push(FieldError::invalid("type", &v["type"].clone(), "field is immutable"));
    }
}

fn endpoint_slice(old: Option<&Value>, v: &mut Value, errors: &mut Vec<FieldError>) {
    let kind = text(v, "/addressType").to_owned();
    let may = ["FQDN", "IPv4", "IPv6"];
    if kind.is_empty() {
        errors.push(FieldError::required("addressType", ""));
    } else if !may.contains(&kind.as_str()) {
        errors.push(FieldError::unsupported("addressType", &kind.clone().into(), &may));
    }
    if old.is_some_and(|o| text(o, "/addressType") != kind) {
        errors.push(FieldError::invalid("addressType", &kind.clone().into(), "field is immutable"));
    }
    if let Some(ports) = v.get_mut("ports").and_then(Value::as_array_mut) {
        for p in ports.iter_mut() {
            default(map_root(p), "protocol", "TCP");
            default(map_root(p), "name", "");
        }
    }
    default(map_root(v), "endpoints", json!([]));
    for (i, e) in meta::list(v, "/endpoints").iter().enumerate() {
        let addresses = meta::list(e, "/addresses");
        if addresses.is_empty() {
            errors.push(FieldError::required(
                format!("endpoints[{i}].addresses"),
                "must contain at least 1 address",
            ));
        }
        for (k, a) in addresses.iter().enumerate() {
            let text = a.as_str().unwrap_or("");
            let good = match kind.as_str() {
                "IPv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
                "IPv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
                _ => !text.is_empty(),
            };
            if !good {
                let why = format!("must be a valid {kind} address");
                errors.push(FieldError::invalid(format!("endpoints[{i}].addresses[{k}]"), a, &why));
            }
        }
    }
}

fn network_policy(v: &mut Value) {
    let mut types = vec![json!("Ingress")];
    if v.pointer("/spec/egress").is_some() {
        types.push(json!("Egress"));
    }
    let spec = map(v, "spec");
    default(spec, "podSelector", json!({}));
    default(spec, "policyTypes", types);
}

fn binding(old: Option<&Value>, v: &mut Value, errors: &mut Vec<FieldError>) {
    let role = map(v, "roleRef");
    default(role, "apiGroup", "rbac.authorization.k8s.io");
    if let Some(old) = old
        && old["roleRef"] != v["roleRef"]
    {
        errors.push(FieldError::invalid("roleRef", &v["roleRef"].clone(), "cannot change roleRef"));
    }
    if let Some(all) = v.get_mut("subjects").and_then(Value::as_array_mut) {
        for s in all.iter_mut() {
            if text(s, "/kind") != "ServiceAccount" {
                default(map_root(s), "apiGroup", "rbac.authorization.k8s.io");
            }
        }
    }
}
