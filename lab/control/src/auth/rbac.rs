//! What a caller may do: roles, cluster roles and their bindings, read from the store.

use serde_json::Value;

use super::User;
use crate::core::Core;
use crate::meta::{list, name, namespace, text};

/// Something a caller wants to do.
#[derive(Debug, Clone, Default)]
pub struct Deed {
    /// `get`, `list`, `create`, ...
    pub verb: String,
    /// API group.
    pub group: String,
    /// Plural, with `/subresource`.
    pub resource: String,
    /// Empty for cluster-wide.
    pub namespace: String,
    /// Empty when no single object is meant.
    pub name: String,
    /// For anything that is no resource.
    pub path: Option<String>,
}

/// Whether any rule that applies to the user allows the deed.
pub fn allowed(core: &Core, user: &User, deed: &Deed) -> bool {
    user.is_master() || rules_for(core, user, &deed.namespace).iter().any(|r| permits(r, deed))
}

/// Every rule that holds for a user in a namespace (empty: only cluster-wide ones).
pub fn rules_for(core: &Core, user: &User, ns: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let (bindings, _) = core.store.list("clusterrolebindings.rbac.authorization.k8s.io", None);
    for b in bindings.iter().filter(|b| binds(&b.value, user)) {
        out.extend(cluster_role(core, text(&b.value, "/roleRef/name")));
    }
    if !ns.is_empty() {
        let (bindings, _) = core.store.list("rolebindings.rbac.authorization.k8s.io", Some(ns));
        for b in bindings.iter().filter(|b| binds(&b.value, user)) {
            let role = text(&b.value, "/roleRef/name");
            if text(&b.value, "/roleRef/kind") == "ClusterRole" {
                out.extend(cluster_role(core, role));
            } else if let Some(r) = core.store.get("roles.rbac.authorization.k8s.io", ns, role) {
                out.extend(list(&r.value, "/rules").iter().cloned());
            }
        }
    }
    out
}

fn cluster_role(core: &Core, name: &str) -> Vec<Value> {
    let shelf = "clusterroles.rbac.authorization.k8s.io";
    let Some(r) = core.store.get(shelf, "", name) else { return Vec::new() };
    let mut rules = list(&r.value, "/rules").to_vec();
    for s in list(&r.value, "/aggregationRule/clusterRoleSelectors") {
        let Some(sel) = crate::select::Labels::from_selector(Some(s)) else { continue };
        for other in core.store.list(shelf, None).0 {
            if sel.matches(crate::meta::labels(&other.value)) {
                rules.extend(list(&other.value, "/rules").iter().cloned());
            }
        }
    }
    rules
}

fn binds(binding: &Value, user: &User) -> bool {
    list(binding, "/subjects").iter().any(|s| match text(s, "/kind") {
        "User" => text(s, "/name") == user.name,
        "Group" => user.groups.iter().any(|g| g == text(s, "/name")),
        "ServiceAccount" => {
            let ns = match text(s, "/namespace") {
                "" => namespace(binding),
                ns => ns,
            };
            user.name == format!("system:serviceaccount:{ns}:{}", name_of(s))
        }
        _ => false,
    })
}

fn name_of(subject: &Value) -> &str {
    match text(subject, "/name") {
        "" => name(subject),
        n => n,
    }
}

fn permits(rule: &Value, deed: &Deed) -> bool {
    let has = |field: &str, want: &str| {
        list(rule, field).iter().any(|x| x.as_str().is_some_and(|x| x == "*" || x == want))
    };
    if !has("/verbs", &deed.verb) {
        return false;
    }
    if let Some(path) = &deed.path {
        return list(rule, "/nonResourceURLs").iter().filter_map(Value::as_str).any(|u| {
            match u.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => u == path,
            }
        });
    }
    let sub = deed.resource.split_once('/').map(|(_, s)| format!("*/{s}"));
    let resource = has("/resources", &deed.resource) || sub.is_some_and(|s| has("/resources", &s));
    let names = list(rule, "/resourceNames");
    let named = names.is_empty() || names.iter().any(|n| n.as_str() == Some(deed.name.as_str()));
    has("/apiGroups", &deed.group) && resource && named
}
