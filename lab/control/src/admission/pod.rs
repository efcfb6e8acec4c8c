//! Pods: what a real API server and its admission plugins fill in, and what they refuse.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::names;
use crate::error::{ApiError, FieldError, Result};
use crate::meta::{self, default, dig, int, list, map, text};
use crate::store::Tx;

/// Defaults of a pod spec, also inside templates.
pub fn template_defaults(spec: &mut Map<String, Value>) {
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    let host = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for part in ["containers", "initContainers"] {
        for c in spec.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(c) = c.as_object_mut() {
                container(c, host);
            }
        }
    }
    for v in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        for (source, mode) in [("configMap", 420), ("secret", 420), ("projected", 420), ("downwardAPI", 420)]
        {
            if let Some(m) = v.get_mut(source).and_then(Value::as_object_mut) {
                default(m, "defaultMode", mode);
            }
        }
        if let Some(m) = v.get_mut("hostPath").and_then(Value::as_object_mut) {
            default(m, "type", "");
        }
    }
}

fn container(c: &mut Map<String, Value>, host_network: bool) {
    let image = c.get("image").and_then(Value::as_str).unwrap_or("");
    let tag = image.rsplit('/').next().unwrap_or("").split_once(':').map_or("latest", |(_, t)| t);
    let pull = if tag == "latest" && !image.contains('@') { "Always" } else { "IfNotPresent" };
    default(c, "imagePullPolicy", pull);
    default(c, "resources", json!({}));
    default(c, "terminationMessagePath", "/dev/termination-log");
    default(c, "terminationMessagePolicy", "File");
    for p in c.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(p) = p.as_object_mut() {
            default(p, "protocol", "TCP");
            if host_network && let Some(n) = p.get("containerPort").cloned() {
                default(p, "hostPort", n);
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(p) = c.get_mut(probe).and_then(Value::as_object_mut) {
            for (k, n) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                default(p, k, n);
            }
            if let Some(h) = p.get_mut("httpGet").and_then(Value::as_object_mut) {
                default(h, "path", "/");
                default(h, "scheme", "HTTP");
            }
        }
    }
    for e in c.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(f) = e.pointer_mut("/valueFrom/fieldRef").and_then(Value::as_object_mut) {
            default(f, "apiVersion", "v1");
        }
    }
    if let Some(r) = c.get_mut("resources").and_then(Value::as_object_mut)
        && let Some(limits) = r.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = meta_map(r, "requests");
        for (k, v) in limits {
            default(requests, &k, v);
        }
    }
}

fn meta_map<'a>(m: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = m.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(m) => m,
        _ => unreachable!("just made an object"),
    }
}

/// Fills in a pod. On creation that includes its service account and the state it starts in.
pub fn defaults(tx: &Tx<'_>, old: Option<&Value>, v: &mut Value) -> Result<()> {
    template_defaults(map(v, "spec"));
    if old.is_some() {
        return Ok(());
    }
    let spec = map(v, "spec");
    default(spec, "enableServiceLinks", true);
    let alias = spec.get("serviceAccount").and_then(Value::as_str).unwrap_or("").to_owned();
    default(spec, "serviceAccountName", if alias.is_empty() { "default" } else { &alias });
    let account = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or("default").to_owned();
    spec.insert("serviceAccount".into(), account.clone().into());
    default(spec, "preemptionPolicy", "PreemptLowerPriority");
    let priority = match spec.get("priorityClassName").and_then(Value::as_str) {
        Some("system-node-critical") => 2_000_001_000,
        Some("system-cluster-critical") => 2_000_000_000,
        _ => 0,
    };
    default(spec, "priority", priority);
    tolerations(spec);
    if list(v, "/spec/schedulingGates").is_empty()
        && tx.get("serviceaccounts", meta::namespace(v), &account).is_none()
    {
        let (ns, name) = (meta::namespace(v), meta::name(v));
        // The default account is made by a controller right after its namespace; a pod need not wait for it.
        if account != "default" {
            let why = format!(
                "error looking up service account {ns}/{account}: serviceaccount {account:?} not found"
            );
            return Err(ApiError::forbidden("", "pods", name, &why));
        }
    }
    let qos = qos(v);
    let status = dig(v, &["status"]);
    status.insert("phase".into(), "Pending".into());
    status.insert("qosClass".into(), qos.into());
    Ok(())
}

fn tolerations(spec: &mut Map<String, Value>) {
    let all = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(all) = all.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let there = all.iter().any(|t| {
            let effect = text(t, "/effect");
            let wide = text(t, "/key").is_empty() && text(t, "/operator") == "Exists";
            (wide || text(t, "/key") == key) && (effect.is_empty() || effect == "NoExecute")
        });
        if !there {
            all.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
}

/// The quality of service class that follows from requests and limits.
fn qos(v: &Value) -> &'static str {
    let containers = || list(v, "/spec/containers").iter().chain(list(v, "/spec/initContainers"));
    let none = |p: &str, c: &Value| c.pointer(p).and_then(Value::as_object).is_none_or(Map::is_empty);
    if containers().all(|c| none("/resources/requests", c) && none("/resources/limits", c)) {
        return "BestEffort";
    }
    let full = containers().all(|c| {
        ["cpu", "memory"].iter().all(|k| {
            let limit = c.pointer(&format!("/resources/limits/{k}"));
            limit.is_some() && limit == c.pointer(&format!("/resources/requests/{k}"))
        })
    });
    if full { "Guaranteed" } else { "Burstable" }
}

/// The rules of a pod; `sub` is the subresource written to.
pub fn check(old: Option<&Value>, v: &Value, sub: &str, errors: &mut Vec<FieldError>) {
    spec_check("spec", &v["spec"], errors);
    let policy = text(v, "/spec/restartPolicy");
    if !matches!(policy, "Always" | "OnFailure" | "Never") {
        errors.push(FieldError::unsupported(
            "spec.restartPolicy",
            &policy.into(),
            &["Always", "OnFailure", "Never"],
        ));
    }
    if let Some(old) = old
        && sub.is_empty()
        && frozen(old) != frozen(v)
    {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}

fn frozen(v: &Value) -> Value {
    let mut spec = v["spec"].clone();
    for part in ["containers", "initContainers"] {
        for c in spec.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(c) = c.as_object_mut() {
                c.shift_remove("image");
                c.shift_remove("imagePullPolicy");
            }
        }
    }
    if let Some(s) = spec.as_object_mut() {
        for k in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
            "ephemeralContainers",
        ] {
            s.shift_remove(k);
        }
    }
    spec
}

/// The rules of a pod spec at `path`, also inside templates.
pub fn spec_check(path: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    let all = list(spec, "/containers");
    if all.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut seen = HashSet::new();
    let volumes: HashSet<&str> = list(spec, "/volumes").iter().map(|v| text(v, "/name")).collect();
    for (part, all) in [("containers", all), ("initContainers", list(spec, "/initContainers"))] {
        for (i, c) in all.iter().enumerate() {
            let at = |f: &str| format!("{path}.{part}[{i}].{f}");
            let name = text(c, "/name");
            if name.is_empty() {
                errors.push(FieldError::required(at("name"), ""));
            } else {
                names::label(&at("name"), name, errors);
                if !seen.insert(name) {
                    errors.push(FieldError::duplicate(at("name"), &name.into()));
                }
            }
            if text(c, "/image").trim().is_empty() {
                errors.push(FieldError::required(at("image"), ""));
            }
            container_ports(&at("ports"), c, errors);
            for (k, m) in list(c, "/volumeMounts").iter().enumerate() {
                let name = text(m, "/name");
                // The token volume is mounted by the lab itself and stands in no list.
                if !volumes.contains(name) {
                    errors.push(FieldError {
                        field: at(&format!("volumeMounts[{k}].name")),
                        cause: "FieldValueNotFound",
                        detail: format!("Not found: {name:?}"),
                    });
                }
                if text(m, "/mountPath").is_empty() {
                    errors.push(FieldError::required(at(&format!("volumeMounts[{k}].mountPath")), ""));
                }
            }
        }
    }
    let policy = text(spec, "/dnsPolicy");
    let may = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    if !policy.is_empty() && !may.contains(&policy) {
        errors.push(FieldError::unsupported(format!("{path}.dnsPolicy"), &policy.into(), &may));
    }
    if let Some(g) = int(spec, "/terminationGracePeriodSeconds").filter(|g| *g < 0) {
        errors.push(FieldError::invalid(
            format!("{path}.terminationGracePeriodSeconds"),
            &g.into(),
            "must be greater than or equal to 0",
        ));
    }
    let node = text(spec, "/nodeName");
    if !node.is_empty() && !names::is_subdomain(node) {
        errors.push(FieldError::invalid(
            format!("{path}.nodeName"),
            &node.into(),
            "must be a valid node name",
        ));
    }
    super::labels::map(&format!("{path}.nodeSelector"), spec.get("nodeSelector"), errors);
}

fn container_ports(path: &str, c: &Value, errors: &mut Vec<FieldError>) {
    let mut names_seen = HashSet::new();
    for (i, p) in list(c, "/ports").iter().enumerate() {
        let at = |f: &str| format!("{path}[{i}].{f}");
        let n = int(p, "/containerPort").unwrap_or(0);
        if n == 0 {
            errors.push(FieldError::required(at("containerPort"), ""));
        } else if !(1..=65535).contains(&n) {
            errors.push(FieldError::invalid(
                at("containerPort"),
                &n.into(),
                "must be between 1 and 65535, inclusive",
            ));
        }
        let protocol = text(p, "/protocol");
        if !matches!(protocol, "" | "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::unsupported(at("protocol"), &protocol.into(), &["SCTP", "TCP", "UDP"]));
        }
        let name = text(p, "/name");
        if name.is_empty() {
            continue;
        }
        if name.len() > 15 || !names::is_label(name) || !name.chars().any(|c| c.is_ascii_lowercase()) {
            errors.push(FieldError::invalid(
                at("name"),
                &name.into(),
                "must be an IANA service name of at most 15 characters",
            ));
        } else if !names_seen.insert(name) {
            errors.push(FieldError::duplicate(at("name"), &name.into()));
        }
    }
}
