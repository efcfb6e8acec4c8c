//! Services for people: frontends, how they are served, and who is behind them.

use pleopod_api::agent as wire;
use pleopod_model::desired::{Backend, BackendState, Frontend, FrontendKey, Outside, Scope, Topology};
use pleopod_model::intent::RemovedBackend;

use crate::core::Core;

/// Every frontend with all its backends, also those that nobody here is given.
pub fn list(core: &mut Core) -> Vec<wire::Service> {
    let numbers = &core.hands.tables().services;
    let backend_id =
        |key: &FrontendKey, backend: &Backend| numbers.backend_id(&(backend.address, key.protocol));
    core.frontends()
        .map(|(key, frontend)| service(key, frontend, numbers.service_id(key), backend_id))
        .collect()
}

fn service(
    key: &FrontendKey,
    frontend: &Frontend,
    id: u32,
    backend_id: impl Fn(&FrontendKey, &Backend) -> u32,
) -> wire::Service {
    let backend = |b: &Backend| wire::Backend {
        id: backend_id(key, b),
        address: b.address.to_string(),
        state: match b.state {
            BackendState::Active => "active",
            BackendState::Terminating => "terminating",
            BackendState::Quarantined => "quarantined",
        }
        .into(),
        node: b.node.clone().unwrap_or_default(),
        pod: b.pod.as_ref().map(ToString::to_string).unwrap_or_default(),
        weight: b.weight.into(),
        zone: b.zone.clone().unwrap_or_default(),
        local: b.local,
        inside: b.chosen(Scope::Inside),
        outside: b.chosen(Scope::Outside) && frontend.outside != Outside::Refused,
    };
    wire::Service {
        id,
        frontend: key.address.to_string(),
        protocol: key.protocol.to_string(),
        r#type: frontend.kind.as_str().into(),
        backends: frontend.backends.iter().map(backend).collect(),
        name: frontend.service.to_string(),
        port_name: frontend.port_name.clone(),
        algorithm: frontend.balancing.as_str().into(),
        inside: if frontend.inside_local { "Local" } else { "Cluster" }.into(),
        outside: match frontend.outside {
            Outside::Refused => "Refused",
            Outside::Cluster => "Cluster",
            Outside::Local => "Local",
        }
        .into(),
        affinity: frontend.affinity.unwrap_or(0),
        topology: match frontend.topology {
            Topology::Any => "any",
            Topology::Zone => "zone",
            Topology::Node => "node",
        }
        .into(),
        source_ranges: match frontend.source_ranges.as_deref() {
            None => Vec::new(),
            Some([]) => vec!["none".into()],
            Some(ranges) => ranges.iter().map(ToString::to_string).collect(),
        },
        removed_backend: match frontend.removed_backend {
            RemovedBackend::Drain => "drain",
            RemovedBackend::Reset => "reset",
        }
        .into(),
    }
}
