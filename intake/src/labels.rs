//! From the labels of a pod to its security labels.
//!
//! Labels that say which copy of a workload a pod is (template hashes, revision, index) are left out, so that all
//! copies share one identity. The rules are those Cilium applies by default, so the same pods end up with the same
//! labels. Labels that we make ourselves can't be set by the pod's owner.

use std::collections::BTreeMap;

use pleopod_model::Labels;
use pleopod_model::intent::{Node, Pod};

/// Our own keys; a pod's labels under this prefix are ignored.
const OURS: &str = "io.pleopod.k8s.";
/// Namespace of the pod.
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Prefixes kept although a prefix below would leave them out.
const KEPT: [&str; 1] = ["app.kubernetes.io"];
/// Prefixes left out.
const LEFT_OUT: [&str; 13] = [
    "io.kubernetes",
    "kubernetes.io",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/controller-uid",
    "k8s.io",
    "pod-template-generation",
    "pod-template-hash",
    "controller-revision-hash",
    "annotation",
    "controller-uid",
    "etcd_node",
];

/// The security labels of a pod. `namespace_labels` are those of its Namespace object.
pub fn of_pod(
    namespace: &str,
    namespace_labels: &BTreeMap<String, String>,
    pod: &Pod,
    cluster: &str,
) -> Labels {
    let mut labels = Labels::new();
    for (key, value) in pod.labels.iter().filter(|(key, _)| counts(key) && !key.starts_with(OURS)) {
        labels.insert("k8s", key, value);
    }
    for (key, value) in namespace_labels {
        labels.insert("k8s", format!("{OURS}namespace.labels.{key}"), value);
    }
    let account = if pod.service_account.is_empty() { "default" } else { &pod.service_account };
    labels.insert("k8s", format!("{OURS}policy.cluster"), cluster);
    labels.insert("k8s", format!("{OURS}policy.serviceaccount"), account);
    labels.insert("k8s", NAMESPACE, namespace);
    labels
}

/// The labels shown for this node's host endpoint: those of the Node object that count, and `reserved:host`.
pub fn of_host(node: &Node) -> Labels {
    let mut labels = Labels::new();
    for (key, value) in node.labels.iter().filter(|(key, _)| counts(key)) {
        labels.insert("k8s", key, value);
    }
    labels.insert("reserved", "host", "");
    labels
}

/// Whether a label is part of the identity.
fn counts(key: &str) -> bool {
    if KEPT.iter().any(|p| key.starts_with(p)) {
        return true;
    }
    !LEFT_OUT.iter().any(|p| key.starts_with(p)) && !key.contains("beta.kubernetes.io")
}

#[cfg(test)]
mod tests;
