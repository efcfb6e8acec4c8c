//! Pods of this node, and Namespaces for their labels.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as k8s;
use pleopod_model::intent::Pod;

use super::{Complaints, Read};
use crate::Kind;

/// Reads one Pod.
pub fn read(object: &k8s::Pod) -> Read<Pod> {
    let mut complaints = Complaints::about(Kind::Pod, &object.metadata);
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let mut addresses = Vec::new();
    let texts: Vec<String> = match status.pod_ips {
        Some(ips) if !ips.is_empty() => ips.into_iter().map(|ip| ip.ip).collect(),
        _ => status.pod_ip.into_iter().collect(),
    };
    for (i, text) in texts.iter().enumerate().filter(|(_, t)| !t.is_empty()) {
        addresses.extend(complaints.address(&format!("status.podIPs[{i}].ip"), text));
    }
    let account = spec.service_account_name.or(spec.service_account).filter(|name| !name.is_empty());
    complaints.good(Pod {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        node: spec.node_name.unwrap_or_default(),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        service_account: account.unwrap_or_else(|| "default".into()),
        host_network: spec.host_network.unwrap_or_default(),
        addresses,
        terminating: object.metadata.deletion_timestamp.is_some(),
    })
}

/// Reads one Namespace: its labels.
pub fn namespace(object: &k8s::Namespace) -> Read<BTreeMap<String, String>> {
    Read::Good(object.metadata.labels.clone().unwrap_or_default(), Vec::new())
}
