//! How a Service is reached from outside: addresses, who may use them, the traffic policy.
//!
//! What can't be read never opens more than was asked for: a list of source ranges in which nothing is left lets nobody
//! in.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as k8s;
use pleopod_model::intent::{Service, ServiceType};

use super::has_family;
use crate::read::{Complaints, parse_address, parse_port};

pub fn read(
    spec: &k8s::ServiceSpec,
    status: Option<&k8s::ServiceStatus>,
    service: &mut Service,
    complaints: &mut Complaints,
) {
    if service.kind == ServiceType::ExternalName {
        return;
    }
    for (i, text) in spec.external_ips.iter().flatten().enumerate() {
        let field = format!("spec.externalIPs[{i}]");
        if let Some(address) = address(&field, text, service, complaints)
            && !service.external_ips.contains(&address)
        {
            service.external_ips.push(address);
        }
    }
    service.external_local = match spec.external_traffic_policy.as_deref() {
        _ if !service.is_external() => false,
        Some("Local") => true,
        None | Some("" | "Cluster") => false,
        Some(other) => {
            complaints.tell(
                "spec.externalTrafficPolicy",
                format!("{other:?} is not a policy; Cluster is used"),
                "use Cluster or Local",
            );
            false
        }
    };
    if service.kind != ServiceType::LoadBalancer {
        return;
    }
    let ingress = status.and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    for (i, ingress) in ingress.into_iter().flatten().enumerate() {
        // With the mode Proxy packets come with another destination; a host name has no address of its own.
        let (Some(text), None | Some("" | "VIP")) = (&ingress.ip, ingress.ip_mode.as_deref()) else {
            continue;
        };
        let field = format!("status.loadBalancer.ingress[{i}].ip");
        if let Some(address) = address(&field, text, service, complaints)
            && !service.load_balancer_ips.contains(&address)
        {
            service.load_balancer_ips.push(address);
        }
    }
    if let Some(texts) = spec.load_balancer_source_ranges.as_ref().filter(|r| !r.is_empty()) {
        service.source_ranges = Some(ranges(texts, complaints));
    }
    if service.external_local
        && let Some(number) = spec.health_check_node_port.filter(|p| *p != 0)
    {
        service.health_check_node_port = parse_port(number);
        if service.health_check_node_port.is_none() {
            complaints.tell(
                "spec.healthCheckNodePort",
                format!("{number} is not a port; health is not told"),
                "use 1 to 65535",
            );
        }
    }
}

/// An address that clients outside may ask for; tells and answers `None` for others.
fn address(field: &str, text: &str, service: &Service, complaints: &mut Complaints) -> Option<IpAddr> {
    let refused = match parse_address(text) {
        Err(why) => why,
        Ok(address) if is_link_local(address) => "is a link-local address",
        Ok(address) if !has_family(service, address) => {
            "is of a family in which the Service has no clusterIP"
        }
        Ok(address) => return Some(address),
    };
    complaints.tell(field, format!("{text:?} {refused}; it is left out"), "correct the address");
    None
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn ranges(texts: &[String], complaints: &mut Complaints) -> Vec<IpNet> {
    let mut ranges = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match text.trim().parse::<IpNet>() {
            Ok(range) => ranges.push(range.trunc()),
            Err(_) => complaints.tell(
                format!("spec.loadBalancerSourceRanges[{i}]"),
                format!("{text:?} is not a CIDR; it lets nobody in"),
                "write it as 192.0.2.0/24",
            ),
        }
    }
    ranges.sort();
    ranges.dedup();
    ranges
}
