//! Nodes: addresses, pod CIDRs, and what their agents say of themselves.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as k8s;
use pleopod_model::intent::Node;

use super::{Complaints, Read};
use crate::{Kind, crd};

/// Reads one Node. A pod CIDR that can't be read refuses it: routes to a part of its pods would be worse.
pub fn read(object: &k8s::Node) -> Read<Node> {
    let mut complaints = Complaints::about(Kind::Node, &object.metadata);
    let mut node = Node { labels: object.metadata.labels.clone().unwrap_or_default(), ..Node::default() };

    let addresses = object.status.as_ref().and_then(|s| s.addresses.as_ref());
    for (i, address) in addresses.into_iter().flatten().enumerate().filter(|(_, a)| a.type_ == "InternalIP") {
        if let Some(ip) = complaints.address(&format!("status.addresses[{i}].address"), &address.address)
            && !node.addresses.contains(&ip)
        {
            node.addresses.push(ip);
        }
    }

    let spec = object.spec.as_ref();
    let cidrs: Vec<String> = match spec.and_then(|s| s.pod_cidrs.clone()).filter(|c| !c.is_empty()) {
        Some(cidrs) => cidrs,
        None => spec.and_then(|s| s.pod_cidr.clone()).into_iter().filter(|c| !c.is_empty()).collect(),
    };
    for (i, text) in cidrs.iter().enumerate() {
        match pod_cidr(text) {
            Ok(cidr) => node.pod_cidrs.push(cidr),
            Err(why) => {
                let message = format!("{text:?} {why}; the node is used as it was before");
                return complaints.bad(
                    format!("spec.podCIDRs[{i}]"),
                    message,
                    "correct the pod CIDR of the node",
                );
            }
        }
    }

    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    let mut annotated = |keys: [&str; 2]| -> Vec<IpAddr> {
        let mut found = Vec::new();
        for key in keys {
            if let Some(text) = annotations.get(key) {
                found.extend(complaints.address(&format!("metadata.annotations[{key}]"), text));
            }
        }
        found
    };
    node.router_addresses = annotated([crd::IPV4_ROUTER, crd::IPV6_ROUTER]);
    node.health_addresses = annotated([crd::IPV4_HEALTH, crd::IPV6_HEALTH]);
    complaints.good(node)
}

fn pod_cidr(text: &str) -> Result<IpNet, &'static str> {
    let cidr: IpNet = text.parse().map_err(|_| "is not a CIDR")?;
    if cidr.prefix_len() == 0 || cidr.addr().is_multicast() || cidr.addr().is_loopback() {
        return Err("can't be a pod CIDR");
    }
    Ok(cidr.trunc())
}
