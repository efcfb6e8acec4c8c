//! The table of built-in resources.

use super::{Kinds, Resource, Scale, Version, shelf};

struct Row {
    group: &'static str,
    types: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
    flags: &'static str,
}

/// Flags: `n` namespaced, `s` has status, `g` counts generations, `a` in category all, `k` has scale,
/// `e` only create, nothing kept.
const ROWS: &[Row] = &[
    row("", "core", "Namespace", "namespaces", "ns", "s"),
    row("", "core", "Node", "nodes", "no", "s"),
    row("", "core", "Pod", "pods", "po", "nsa"),
    row("", "core", "Service", "services", "svc", "nsa"),
    row("", "core", "Endpoints", "endpoints", "ep", "n"),
    row("", "core", "ConfigMap", "configmaps", "cm", "n"),
    row("", "core", "Secret", "secrets", "", "n"),
    row("", "core", "ServiceAccount", "serviceaccounts", "sa", "n"),
    row("", "core", "Event", "events", "ev", "n"),
    row("", "core", "LimitRange", "limitranges", "limits", "n"),
    row("", "core", "ResourceQuota", "resourcequotas", "quota", "ns"),
    row("", "core", "PersistentVolume", "persistentvolumes", "pv", "s"),
    row("", "core", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", "ns"),
    row("", "core", "ReplicationController", "replicationcontrollers", "rc", "nsgak"),
    row("apps", "apps", "Deployment", "deployments", "deploy", "nsgak"),
    row("apps", "apps", "ReplicaSet", "replicasets", "rs", "nsgak"),
    row("apps", "apps", "DaemonSet", "daemonsets", "ds", "nsga"),
    row("apps", "apps", "StatefulSet", "statefulsets", "sts", "nsgak"),
    row("apps", "apps", "ControllerRevision", "controllerrevisions", "", "n"),
    row("batch", "batch", "Job", "jobs", "", "nsga"),
    row("batch", "batch", "CronJob", "cronjobs", "cj", "nsga"),
    row("discovery.k8s.io", "discovery", "EndpointSlice", "endpointslices", "", "ng"),
    row("events.k8s.io", "events", "Event", "events", "ev", "n"),
    row("rbac.authorization.k8s.io", "rbac", "ClusterRole", "clusterroles", "", ""),
    row("rbac.authorization.k8s.io", "rbac", "ClusterRoleBinding", "clusterrolebindings", "", ""),
    row("rbac.authorization.k8s.io", "rbac", "Role", "roles", "", "n"),
    row("rbac.authorization.k8s.io", "rbac", "RoleBinding", "rolebindings", "", "n"),
    row("coordination.k8s.io", "coordination", "Lease", "leases", "", "n"),
    row("networking.k8s.io", "networking", "NetworkPolicy", "networkpolicies", "netpol", "ng"),
    row("networking.k8s.io", "networking", "Ingress", "ingresses", "ing", "nsg"),
    row("networking.k8s.io", "networking", "IngressClass", "ingressclasses", "", "g"),
    row("policy", "policy", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", "nsg"),
    row("scheduling.k8s.io", "scheduling", "PriorityClass", "priorityclasses", "pc", ""),
    row(
        "apiextensions.k8s.io",
        "apiextensions",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd,crds",
        "sg",
    ),
    row("authentication.k8s.io", "authentication", "TokenReview", "tokenreviews", "", "e"),
    row("authentication.k8s.io", "authentication", "SelfSubjectReview", "selfsubjectreviews", "", "e"),
    row(
        "authorization.k8s.io",
        "authorization",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "",
        "e",
    ),
    row("authorization.k8s.io", "authorization", "SubjectAccessReview", "subjectaccessreviews", "", "e"),
    row(
        "authorization.k8s.io",
        "authorization",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        "",
        "ne",
    ),
    row(
        "authorization.k8s.io",
        "authorization",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "",
        "e",
    ),
];

const fn row(
    group: &'static str,
    types: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
    flags: &'static str,
) -> Row {
    Row { group, types, kind, plural, short, flags }
}

fn fields(group: &str, plural: &str) -> &'static [&'static str] {
    match (group, plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => {
            &["regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "reason", "type"]
        }
        _ => &[],
    }
}

fn subresources(group: &str, plural: &str) -> Vec<(&'static str, &'static str)> {
    match (group, plural) {
        ("", "pods") => vec![
            ("attach", "PodAttachOptions"),
            ("binding", "Binding"),
            ("ephemeralcontainers", "Pod"),
            ("eviction", "Eviction"),
            ("exec", "PodExecOptions"),
            ("log", "Pod"),
            ("portforward", "PodPortForwardOptions"),
        ],
        ("", "serviceaccounts") => vec![("token", "TokenRequest")],
        ("", "namespaces") => vec![("finalize", "Namespace")],
        _ => Vec::new(),
    }
}

/// Every built-in resource.
pub fn all() -> impl Iterator<Item = Resource> {
    ROWS.iter().map(|r| {
        let has = |f: char| r.flags.contains(f);
        let types: &'static str = Box::leak(format!("{}.v1.{}", r.types, r.kind).into_boxed_str());
        let scale = has('k').then(|| Scale {
            spec: "/spec/replicas".into(),
            status: "/status/replicas".into(),
            selector: Some("/spec/selector".into()),
        });
        // Events of both groups are the same objects.
        let stored = if r.plural == "events" { "" } else { r.group };
        Resource {
            group: r.group.into(),
            versions: vec![Version {
                name: "v1".into(),
                schema: Kinds::BuiltIn(types),
                raw: None,
                columns: Vec::new(),
                status: has('s'),
                scale,
                selectable: Vec::new(),
            }],
            kind: r.kind.into(),
            list_kind: if r.kind == "Endpoints" { "EndpointsList".into() } else { format!("{}List", r.kind) },
            plural: r.plural.into(),
            singular: r.kind.to_lowercase(),
            short: r.short.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
            categories: if has('a') {
                vec!["all".into()]
            } else if r.group == "apiextensions.k8s.io" {
                vec!["api-extensions".into()]
            } else {
                Vec::new()
            },
            namespaced: has('n'),
            generation: has('g'),
            ephemeral: has('e'),
            custom: false,
            subresources: subresources(r.group, r.plural),
            fields: fields(r.group, r.plural).iter().map(|s| (*s).to_owned()).collect(),
            shelf: shelf(stored, r.plural),
        }
    })
}
