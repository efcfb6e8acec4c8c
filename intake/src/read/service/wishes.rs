//! What a Service wishes of load balancing: affinity, and the annotations of Pleopod.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as k8s;
use pleopod_model::intent::{Balancing, RemovedBackend, Service, Weights};

use crate::read::Complaints;

/// Annotation: how backends are chosen.
pub const ALGORITHM: &str = "pleopod.io/load-balancer-algorithm";
/// Annotation: what becomes of TCP connections to backends that are gone.
pub const REMOVED: &str = "pleopod.io/removed-backend";
/// Annotation: shares of single backends, `10.0.0.1=3,webpod1=0`.
pub const WEIGHTS: &str = "pleopod.io/backend-weights";

pub fn read(
    object: &k8s::Service,
    spec: &k8s::ServiceSpec,
    service: &mut Service,
    complaints: &mut Complaints,
) {
    service.affinity = affinity(spec, complaints);
    let annotation = |name: &str| Some(object.metadata.annotations.as_ref()?.get(name)?.trim());
    if let Some(text) = annotation(ALGORITHM) {
        service.balancing = Balancing::parse(text);
        if service.balancing.is_none() {
            complaints.tell(
                field(ALGORITHM),
                format!("{text:?} is not an algorithm; the one of the configuration is used"),
                format!("use one of {}", Balancing::ALL.map(Balancing::as_str).join(", ")),
            );
        }
    }
    service.removed_backend = match annotation(REMOVED) {
        None | Some("drain") => RemovedBackend::Drain,
        Some("reset") => RemovedBackend::Reset,
        Some(other) => {
            let message = format!("{other:?} is neither drain nor reset; drain is used");
            complaints.tell(field(REMOVED), message, "use drain or reset");
            RemovedBackend::Drain
        }
    };
    if let Some(text) = annotation(WEIGHTS) {
        service.weights = weights(text, complaints);
    }
}

/// The path of an annotation in the object.
pub fn field(annotation: &str) -> String {
    format!("metadata.annotations[{annotation}]")
}

fn affinity(spec: &k8s::ServiceSpec, complaints: &mut Complaints) -> Option<u32> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            let message = format!("{other:?} is not an affinity; none is used");
            complaints.tell("spec.sessionAffinity", message, "use ClientIP or None");
            return None;
        }
    }
    let client_ip = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let Some(seconds) = client_ip.and_then(|c| c.timeout_seconds) else {
        return Some(Service::DEFAULT_AFFINITY);
    };
    if (1..=86_400).contains(&seconds) {
        return u32::try_from(seconds).ok();
    }
    complaints.tell(
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        format!("{seconds} is not within 1 to 86400; {} is used", Service::DEFAULT_AFFINITY),
        "give seconds, at most a day",
    );
    Some(Service::DEFAULT_AFFINITY)
}

fn weights(text: &str, complaints: &mut Complaints) -> Weights {
    let mut weights = Weights::default();
    for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let parts = entry.split_once('=').map(|(who, weight)| (who.trim(), weight.trim()));
        let weight = parts.and_then(|(_, w)| w.parse::<u16>().ok()).filter(|w| *w <= Weights::MAX);
        let why = match (parts, weight) {
            (Some((who, _)), Some(weight)) if !who.is_empty() => {
                let before = match who.parse::<IpAddr>() {
                    Ok(address) => weights.addresses.insert(address, weight),
                    Err(_) => weights.pods.insert(who.to_owned(), weight),
                };
                if before.is_none_or(|b| b == weight) {
                    continue;
                }
                format!("{who:?} is there twice; the last one counts")
            }
            (Some((who, text)), None) if !who.is_empty() => {
                format!("{text:?} is not a weight from 0 to {}; {who:?} has the weight 1", Weights::MAX)
            }
            _ => format!("{entry:?} is not an address or a pod with its weight; it is left out"),
        };
        complaints.tell(field(WEIGHTS), why, "write it as 10.0.0.1=3,webpod1=0");
    }
    weights
}
