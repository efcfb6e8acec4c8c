//! What clients learn first: groups, versions, resources; in the aggregated form and in the old one.

use serde_json::{Value, json};

use crate::resource::{Registry, Resource};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Content type and document for `/api` (`core`) or `/apis`.
pub fn root(reg: &Registry, core: bool, accept: &str) -> (&'static str, Value) {
    let asked = accept
        .split(',')
        .any(|m| m.contains("as=APIGroupDiscoveryList") && m.contains("v=v2") && !m.contains("v2beta1"));
    if asked { (AGGREGATED, aggregated(reg, core)) } else { ("application/json", legacy(reg, core)) }
}

fn groups(reg: &Registry) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for (g, v) in reg.group_versions() {
        match out.iter_mut().find(|(have, _)| *have == g) {
            Some((_, vs)) => vs.push(v),
            None => out.push((g, vec![v])),
        }
    }
    out
}

fn aggregated(reg: &Registry, core: bool) -> Value {
    let items: Vec<Value> = groups(reg)
        .into_iter()
        .filter(|(g, _)| g.is_empty() == core)
        .map(|(g, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| {
                    let resources: Vec<Value> = served(reg, &g, v).map(|r| one(r, v)).collect();
                    json!({"version": v, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let mut m = json!({"creationTimestamp": null});
            if !g.is_empty() {
                m["name"] = g.into();
            }
            json!({"metadata": m, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn served<'a>(reg: &'a Registry, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
    reg.all().iter().map(AsRef::as_ref).filter(move |r| r.group == group && r.version(version).is_some())
}

fn subs(
    r: &Resource,
    version: &str,
) -> Vec<(&'static str, &'static str, String, &'static str, Vec<&'static str>)> {
    let Some(v) = r.version(version) else { return Vec::new() };
    let mut out = Vec::new();
    if v.status {
        out.push(("status", "", r.kind.clone(), "", vec!["get", "patch", "update"]));
    }
    if v.scale.is_some() {
        out.push(("scale", "autoscaling", "Scale".into(), "v1", vec!["get", "patch", "update"]));
    }
    for (name, kind) in &r.subresources {
        let (g, v, verbs) = match *name {
            "eviction" => ("policy", "v1", vec!["create"]),
            "token" => ("authentication.k8s.io", "v1", vec!["create"]),
            "log" => ("", "", vec!["get"]),
            "exec" | "attach" | "portforward" => ("", "", vec!["create", "get"]),
            "finalize" => ("", "", vec!["update"]),
            "ephemeralcontainers" => ("", "", vec!["get", "patch", "update"]),
            _ => ("", "", vec!["create"]),
        };
        out.push((name, g, (*kind).to_owned(), v, verbs));
    }
    out
}

fn one(r: &Resource, version: &str) -> Value {
    let scope = if r.namespaced { "Namespaced" } else { "Cluster" };
    let gvk = |g: &str, v: &str, k: &str| json!({"group": g, "version": v, "kind": k});
    let subs: Vec<Value> = subs(r, version)
        .into_iter()
        .map(|(name, g, kind, v, verbs)| {
            let (g, v) = if v.is_empty() { (r.group.as_str(), version) } else { (g, v) };
            json!({"subresource": name, "responseKind": gvk(g, v, &kind), "verbs": verbs})
        })
        .collect();
    let mut out = json!({
        "resource": r.plural,
        "responseKind": gvk(&r.group, version, &r.kind),
        "scope": scope,
        "singularResource": r.singular,
        "verbs": r.verbs(),
    });
    if !r.short.is_empty() {
        out["shortNames"] = json!(r.short);
    }
    if !r.categories.is_empty() {
        out["categories"] = json!(r.categories);
    }
    if !subs.is_empty() {
        out["subresources"] = subs.into();
    }
    out
}

fn legacy(reg: &Registry, core: bool) -> Value {
    if core {
        return json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []});
    }
    let all: Vec<Value> = groups(reg)
        .into_iter()
        .filter(|(g, _)| !g.is_empty())
        .map(|(g, vs)| group_of(&g, &vs, false))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
}

fn group_of(g: &str, versions: &[String], typed: bool) -> Value {
    let all: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{g}/{v}"), "version": v})).collect();
    let mut out = json!({"name": g, "versions": all, "preferredVersion": all.first()});
    if typed {
        out["kind"] = "APIGroup".into();
        out["apiVersion"] = "v1".into();
    }
    out
}

/// `/apis/GROUP`.
pub fn group(reg: &Registry, name: &str) -> Option<Value> {
    let (g, vs) = groups(reg).into_iter().find(|(g, _)| g == name && !g.is_empty())?;
    Some(group_of(&g, &vs, true))
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub fn resources(reg: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut out = Vec::new();
    for r in served(reg, group, version) {
        let mut v = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced,
            "kind": r.kind, "verbs": r.verbs()});
        if !r.short.is_empty() {
            v["shortNames"] = json!(r.short);
        }
        if !r.categories.is_empty() {
            v["categories"] = json!(r.categories);
        }
        out.push(v);
        for (name, g, kind, ver, verbs) in subs(r, version) {
            let mut s = json!({"name": format!("{}/{name}", r.plural), "singularName": "",
                "namespaced": r.namespaced, "kind": kind, "verbs": verbs});
            if !ver.is_empty() {
                s["group"] = g.into();
                s["version"] = ver.into();
            }
            out.push(s);
        }
    }
    if out.is_empty() {
        return None;
    }
    let gv = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": out}))
}

/// `/version`.
pub fn version() -> Value {
    json!({"major": "1", "minor": "32", "gitVersion": "v1.32.0+pleopod-lab", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64"})
}
