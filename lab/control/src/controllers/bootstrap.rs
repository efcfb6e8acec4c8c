//! What a cluster has from its first moment.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::change::shelf as kinds;
use super::write::resource;
use crate::core::Core;
use crate::meta;
use crate::ops::{Place, Write};

const ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

/// Makes all of it; what is already there is left alone.
pub fn all(core: &Arc<Core>) {
    for ns in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        make(core, "namespaces", json!({"metadata": {"name": ns}}));
    }
    for (name, value, about) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        let v = json!({"metadata": {"name": name}, "value": value, "description": about});
        make(core, kinds::PRIORITIES, v);
    }
    roles(core);
    kubernetes(core);
}

/// The Service `kubernetes` and its endpoint, the API server.
fn kubernetes(core: &Arc<Core>) {
    let (ip, port) = core.endpoint();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let mut spec = json!({
        "type": "ClusterIP", "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        "sessionAffinity": "None",
    });
    if let Some(first) = core.allocations().first_service_ip() {
        spec["clusterIP"] = first.to_string().into();
    }
    let meta = |extra: &str, value: &str| {
        let mut m = json!({"name": "kubernetes", "namespace": "default"});
        m["labels"][extra] = value.into();
        m
    };
    let svc =
        json!({"metadata": {"name": "kubernetes", "namespace": "default", "labels": labels}, "spec": spec});
    make(core, "services", svc);
    let slice = json!({
        "metadata": meta("kubernetes.io/service-name", "kubernetes"),
        "addressType": match ip { IpAddr::V4(_) => "IPv4", IpAddr::V6(_) => "IPv6" },
        "endpoints": [{"addresses": [ip.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    make(core, kinds::SLICES, slice);
    let endpoints = json!({
        "metadata": meta("endpointslice.kubernetes.io/skip-mirror", "true"),
        "subsets": [{"addresses": [{"ip": ip.to_string()}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    make(core, "endpoints", endpoints);
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

fn roles(core: &Arc<Core>) {
    let see = ["get", "list", "watch"];
    let everything = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let paths = |p: &[&str]| json!({"nonResourceURLs": p, "verbs": ["get"]});
    let core_kinds = [
        "bindings",
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "namespaces",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "resourcequotas",
        "serviceaccounts",
        "services",
        "services/status",
    ];
    let apps = [
        "daemonsets",
        "deployments",
        "deployments/scale",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
        "controllerrevisions",
    ];
    let net = ["ingresses", "ingresses/status", "networkpolicies"];
    let view = vec![
        rule(&[""], &core_kinds, &see),
        rule(&["apps"], &apps, &see),
        rule(&["batch"], &["cronjobs", "jobs"], &see),
        rule(&["networking.k8s.io"], &net, &see),
        rule(&["policy"], &["poddisruptionbudgets"], &see),
        rule(&["discovery.k8s.io"], &["endpointslices"], &see),
    ];
    let mut edit = vec![
        rule(&[""], &core_kinds, &everything),
        rule(
            &[""],
            &[
                "secrets",
                "pods/exec",
                "pods/attach",
                "pods/portforward",
                "pods/eviction",
                "serviceaccounts/token",
            ],
            &everything,
        ),
        rule(&["apps"], &apps, &everything),
        rule(&["batch"], &["cronjobs", "jobs"], &everything),
        rule(&["networking.k8s.io"], &net, &everything),
        rule(&["policy"], &["poddisruptionbudgets"], &everything),
        rule(&["discovery.k8s.io"], &["endpointslices"], &everything),
    ];
    let edit_rules = edit.clone();
    edit.push(rule(&["rbac.authorization.k8s.io"], &["roles", "rolebindings"], &everything));
    let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let node = vec![
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
        rule(&[""], &["services", "configmaps", "secrets", "serviceaccounts", "namespaces"], &see),
        rule(&[""], &["nodes"], &["create", "get", "list", "watch", "patch", "update"]),
        rule(&[""], &["nodes/status"], &["patch", "update"]),
        rule(&[""], &["pods"], &["create", "delete", "get", "list", "watch"]),
        rule(&[""], &["pods/status"], &["patch", "update"]),
        rule(&[""], &["pods/eviction", "serviceaccounts/token"], &["create"]),
        rule(&["", "events.k8s.io"], &["events"], &["create", "patch", "update"]),
        rule(&["coordination.k8s.io"], &["leases"], &["create", "delete", "get", "patch", "update"]),
        rule(&["discovery.k8s.io"], &["endpointslices"], &see),
    ];
    let all = vec![rule(&["*"], &["*"], &["*"]), json!({"nonResourceURLs": ["*"], "verbs": ["*"]})];
    for (name, rules) in [
        ("cluster-admin", all),
        ("admin", edit),
        ("edit", edit_rules),
        ("view", view),
        (
            "system:basic-user",
            vec![
                rule(&["authorization.k8s.io"], &reviews, &["create"]),
                rule(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"]),
            ],
        ),
        ("system:discovery", vec![paths(&discovery)]),
        (
            "system:public-info-viewer",
            vec![paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"])],
        ),
        ("system:node", node),
        (
            "system:node-proxier",
            vec![
                rule(&[""], &["endpoints", "services"], &["list", "watch"]),
                rule(&[""], &["nodes"], &see),
                rule(&["discovery.k8s.io"], &["endpointslices"], &["list", "watch"]),
                rule(&["", "events.k8s.io"], &["events"], &["create", "patch", "update"]),
            ],
        ),
        (
            "system:auth-delegator",
            vec![
                rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
                rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
            ],
        ),
    ] {
        let labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        make(core, ROLES, json!({"metadata": {"name": name, "labels": labels}, "rules": rules}));
    }
    for (name, groups) in [
        ("cluster-admin", &["system:masters"][..]),
        ("system:basic-user", &["system:authenticated"]),
        ("system:discovery", &["system:authenticated"]),
        ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        ("system:node", &["system:nodes"]),
    ] {
        let subjects: Vec<Value> = groups
            .iter()
            .map(|g| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": g}))
            .collect();
        let v = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": subjects,
        });
        make(core, BINDINGS, v);
    }
}

/// Creates an object on a shelf; one that is already there is left alone.
fn make(core: &Arc<Core>, shelf: &str, mut v: Value) {
    let Some(r) = resource(core, shelf) else { return };
    let version = r.preferred();
    v["apiVersion"] = r.api_version(version).into();
    v["kind"] = r.kind.clone().into();
    let (ns, name) = (meta::namespace(&v).to_owned(), meta::name(&v).to_owned());
    let p = Place { resource: &r, version, namespace: &ns, name: &name, sub: "" };
    if let Err(e) = core.create(&p, v, &Write::by("kube-apiserver"))
        && e.reason != "AlreadyExists"
    {
        tracing::warn!(error = %e, shelf, ns, name, "creating what the cluster needs");
    }
}
