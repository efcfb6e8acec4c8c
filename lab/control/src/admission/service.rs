//! Services: defaults, rules, and the addresses and ports they get.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::names;
use crate::core::Core;
use crate::error::FieldError;
use crate::meta::{default, flag, int, list, map, text};

/// Fills in what was left out. What the server once gave stays, unless the type no longer has it.
pub fn defaults(old: Option<&Value>, v: &mut Value) {
    let spec = map(v, "spec");
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("").to_owned();
    let external = kind == "ExternalName";
    let open = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        for p in ports.iter_mut().filter_map(Value::as_object_mut) {
            default(p, "protocol", "TCP");
            if let Some(n) = p.get("port").cloned() {
                default(p, "targetPort", n);
            }
            if p.get("targetPort") == Some(&json!(0))
                && let Some(n) = p.get("port").cloned()
            {
                p.insert("targetPort".into(), n);
            }
            if !open && old.is_some_and(|o| text(o, "/spec/type") != kind) {
                p.shift_remove("nodePort");
            }
        }
    }
    if external {
        for k in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            spec.shift_remove(k);
        }
    } else {
        default(spec, "internalTrafficPolicy", "Cluster");
        default(spec, "ipFamilies", json!(["IPv4"]));
        default(spec, "ipFamilyPolicy", "SingleStack");
    }
    if open {
        default(spec, "externalTrafficPolicy", "Cluster");
    } else {
        spec.shift_remove("externalTrafficPolicy");
        spec.shift_remove("healthCheckNodePort");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    } else {
        spec.shift_remove("allocateLoadBalancerNodePorts");
    }
    if spec.get("sessionAffinity").and_then(Value::as_str) == Some("ClientIP") {
        default(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    if let Some(old) = old
        && !external
    {
        let blank = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").is_empty();
        if blank && text(old, "/spec/type") != "ExternalName" {
            for k in ["clusterIP", "clusterIPs"] {
                if let Some(x) = old["spec"].get(k) {
                    spec.insert(k.into(), x.clone());
                }
            }
        }
        if open {
            keep_ports(old, spec);
        }
    }
    // `clusterIP` and the first of `clusterIPs` are the same thing.
    let first =
        spec.get("clusterIPs").and_then(|l| l.get(0)).and_then(Value::as_str).unwrap_or("").to_owned();
    let one = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    match (one.is_empty(), first.is_empty()) {
        (true, false) => {
            spec.insert("clusterIP".into(), first.into());
        }
        (false, true) => {
            spec.insert("clusterIPs".into(), json!([one]));
        }
        _ => {}
    }
    default(map(v, "status"), "loadBalancer", json!({}));
}

fn keep_ports(old: &Value, spec: &mut serde_json::Map<String, Value>) {
    let had: Vec<(&str, i64, i64)> = list(old, "/spec/ports")
        .iter()
        .filter_map(|p| Some((text(p, "/protocol"), int(p, "/port")?, int(p, "/nodePort")?)))
        .collect();
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        let named: Vec<i64> = ports.iter().filter_map(|p| int(p, "/nodePort")).filter(|n| *n > 0).collect();
        for p in ports.iter_mut() {
            if int(p, "/nodePort").unwrap_or(0) == 0 {
                let key = (text(p, "/protocol").to_owned(), int(p, "/port").unwrap_or(0));
                let kept = had.iter().find(|(pr, n, np)| *pr == key.0 && *n == key.1 && !named.contains(np));
                if let Some((_, _, np)) = kept {
                    p["nodePort"] = (*np).into();
                }
            }
        }
    }
    if let Some(n) = int(old, "/spec/healthCheckNodePort")
        .filter(|_| spec.get("externalTrafficPolicy") == Some(&json!("Local")))
    {
        default(spec, "healthCheckNodePort", n);
    }
}

/// The rules of a Service.
pub fn check(old: Option<&Value>, v: &Value, errors: &mut Vec<FieldError>) {
    let kind = text(v, "/spec/type");
    let one_of = |field: &str, pointer: &str, may: &[&str], errors: &mut Vec<FieldError>| {
        let got = text(v, pointer);
        if !got.is_empty() && !may.contains(&got) {
            errors.push(FieldError::unsupported(field, &got.into(), may));
        }
    };
    one_of("spec.type", "/spec/type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], errors);
    one_of("spec.sessionAffinity", "/spec/sessionAffinity", &["ClientIP", "None"], errors);
    one_of("spec.externalTrafficPolicy", "/spec/externalTrafficPolicy", &["Cluster", "Local"], errors);
    one_of("spec.internalTrafficPolicy", "/spec/internalTrafficPolicy", &["Cluster", "Local"], errors);
    super::labels::map("spec.selector", v.pointer("/spec/selector"), errors);
    let headless = text(v, "/spec/clusterIP") == "None";
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &"None".into(), &why));
    }
    if kind == "ExternalName" && text(v, "/spec/externalName").is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    let families = list(v, "/spec/ipFamilies");
    if let Some(i) = families.iter().position(|f| f != "IPv4") {
        errors.push(FieldError::invalid(
            format!("spec.ipFamilies[{i}]"),
            &families[i],
            "not configured on this cluster",
        ));
    }
    if text(v, "/spec/ipFamilyPolicy") == "RequireDualStack" {
        errors.push(FieldError::invalid(
            "spec.ipFamilyPolicy",
            &"RequireDualStack".into(),
            "this cluster is not configured for dual-stack services",
        ));
    }
    ports(v, kind == "ExternalName" || headless, errors);
    if let Some(old) = old {
        let (was, is) = (text(old, "/spec/clusterIP"), text(v, "/spec/clusterIP"));
        if !was.is_empty() && was != is && kind != "ExternalName" && text(old, "/spec/type") != "ExternalName"
        {
            errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!([is]), "may not change once set"));
        }
    }
}

fn ports(v: &Value, may_be_none: bool, errors: &mut Vec<FieldError>) {
    let all = list(v, "/spec/ports");
    if all.is_empty() && !may_be_none {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let (mut names_seen, mut seen) = (HashSet::new(), HashSet::new());
    for (i, p) in all.iter().enumerate() {
        let at = |f: &str| format!("spec.ports[{i}].{f}");
        let name = text(p, "/name");
        if name.is_empty() && all.len() > 1 {
            errors.push(FieldError::required(at("name"), ""));
        } else if !name.is_empty() {
            names::label(&at("name"), name, errors);
            if !names_seen.insert(name) {
                errors.push(FieldError::duplicate(at("name"), &name.into()));
            }
        }
        let port = int(p, "/port").unwrap_or(0);
        if !(1..=65535).contains(&port) {
            errors.push(FieldError::invalid(
                at("port"),
                &port.into(),
                "must be between 1 and 65535, inclusive",
            ));
        }
        let protocol = text(p, "/protocol");
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::unsupported(at("protocol"), &protocol.into(), &["SCTP", "TCP", "UDP"]));
        }
        if !seen.insert((protocol, port)) {
            let what = json!({"port": port, "protocol": protocol});
            errors.push(FieldError::duplicate(format!("spec.ports[{i}]"), &what));
        }
        match p.get("targetPort") {
            Some(Value::Number(n)) if !n.as_i64().is_some_and(|n| (1..=65535).contains(&n)) => {
                errors.push(FieldError::invalid(
                    at("targetPort"),
                    &p["targetPort"],
                    "must be between 1 and 65535, inclusive",
                ));
            }
            Some(Value::String(s)) if s.is_empty() || s.len() > 15 || !names::is_label(s) => {
                errors.push(FieldError::invalid(
                    at("targetPort"),
                    &p["targetPort"],
                    "must be a port number or an IANA service name of at most 15 characters",
                ));
            }
            _ => {}
        }
    }
}

/// Takes the addresses and ports the Service needs and does not have yet. Nothing stays taken after an error or
/// a dry run.
pub fn allocate(
    core: &Core,
    old: Option<&Value>,
    v: &mut Value,
    dry_run: bool,
    errors: &mut Vec<FieldError>,
) {
    let kind = text(v, "/spec/type").to_owned();
    let mut a = core.allocations();
    let (mut ips, mut ports): (Vec<String>, Vec<i64>) = (Vec::new(), Vec::new());
    let had_ip = old.map(|o| text(o, "/spec/clusterIP")).filter(|i| !i.is_empty() && *i != "None");
    let want = text(v, "/spec/clusterIP").to_owned();
    if kind != "ExternalName" && want != "None" && had_ip != Some(want.as_str()) {
        if want.is_empty() {
            match a.any_ip() {
                Some(ip) => {
                    let ip = ip.to_string();
                    let spec = map(v, "spec");
                    spec.insert("clusterIP".into(), ip.clone().into());
                    spec.insert("clusterIPs".into(), json!([ip.clone()]));
                    ips.push(ip);
                }
                None => errors.push(FieldError::invalid(
                    "spec.clusterIPs",
                    &json!([]),
                    "failed to allocate a serviceIP: range is full",
                )),
            }
        } else {
            let got = match want.parse::<Ipv4Addr>() {
                Ok(ip) => a.take_ip(ip),
                Err(_) => Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()),
            };
            match got {
                Ok(()) => ips.push(want.clone()),
                Err(why) => errors.push(FieldError::invalid("spec.clusterIPs", &json!([want]), &why)),
            }
        }
    }
    let had: Vec<i64> = old
        .map(|o| {
            list(o, "/spec/ports").iter().filter_map(|p| int(p, "/nodePort")).filter(|n| *n > 0).collect()
        })
        .unwrap_or_default();
    let gives =
        kind == "NodePort" || (kind == "LoadBalancer" && flag(v, "/spec/allocateLoadBalancerNodePorts"));
    if let Some(all) = v.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
        // The same number may serve two protocols of one Service.
        let mut own: Vec<i64> = Vec::new();
        for (i, p) in all.iter_mut().enumerate() {
            let field = format!("spec.ports[{i}].nodePort");
            let n = int(p, "/nodePort").unwrap_or(0);
            if n != 0 && !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
                errors.push(FieldError::forbidden(field, "may not be used when `type` is 'ClusterIP'"));
            } else if n != 0 {
                if had.contains(&n) || own.contains(&n) {
                    continue;
                }
                match a.take_port(u16::try_from(n).unwrap_or(0)) {
                    Ok(()) => {
                        ports.push(n);
                        own.push(n);
                    }
                    Err(why) => errors.push(FieldError::invalid(field, &n.into(), why)),
                }
            } else if gives {
                match a.any_port() {
                    Some(n) => {
                        p["nodePort"] = n.into();
                        ports.push(n.into());
                        own.push(n.into());
                    }
                    None => errors.push(FieldError::invalid(
                        field,
                        &0.into(),
                        "failed to allocate a nodePort: range is full",
                    )),
                }
            }
        }
    }
    if kind == "LoadBalancer"
        && text(v, "/spec/externalTrafficPolicy") == "Local"
        && int(v, "/spec/healthCheckNodePort").unwrap_or(0) == 0
        && let Some(n) = a.any_port()
    {
        map(v, "spec").insert("healthCheckNodePort".into(), n.into());
        ports.push(n.into());
    }
    if dry_run || !errors.is_empty() {
        ips.iter().for_each(|i| a.drop_ip(i));
        ports.iter().for_each(|p| a.drop_port(*p));
        return;
    }
    // What the old one held and the new one does not is free again.
    if let Some(i) = had_ip.filter(|i| text(v, "/spec/clusterIP") != *i) {
        a.drop_ip(i);
    }
    let now: Vec<i64> = list(v, "/spec/ports").iter().filter_map(|p| int(p, "/nodePort")).collect();
    had.iter().filter(|n| !now.contains(n)).for_each(|n| a.drop_port(*n));
}
