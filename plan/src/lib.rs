//! What one node's kernel must hold, decided from what the cluster asks and what the node has.
//!
//! [`plan`] is a pure function of its two arguments: the same objects give the same [`Desired`] whatever order they
//! came in (invariant I8). Where objects contradict each other, one wins by a rule that every node applies alike, and
//! the loser is told in a [`Problem`]; nothing here fails.
//!
//! - [`endpoints`]: addresses delivered on this node, and the namespaces behind them.
//! - [`ipcache`]: who has an address, for the whole cluster and the world.
//! - [`services`]: frontends, the backends they may choose, ports of the node.
//! - [`routes`]: the node's routing table.
#![deny(missing_docs)]

pub mod endpoints;
pub mod ipcache;
pub mod routes;
pub mod services;
mod world;

#[cfg(test)]
mod tests;

use pleopod_model::desired::{Desired, NodeFacts};
use pleopod_model::intent::Intent;
use pleopod_model::{IdentityId, Labels, Problem};

pub use services::Services;
pub use world::apiserver_addresses;

/// A plan and what was wrong with the objects it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// What the kernel must hold.
    pub desired: Desired,
    /// Contradictions that were settled, sorted.
    pub problems: Vec<Problem>,
}

/// What the node `facts.name` must hold so that `intent` is served.
///
/// Callers with many Services keep a [`Services`] instead, call [`Services::update`] with what changed, and
/// [`plan_without_services`] for the rest.
pub fn plan(intent: &Intent, facts: &NodeFacts) -> Planned {
    let mut services = Services::default();
    services.rebuild(intent, facts);
    let mut planned = plan_without_services(intent, facts);
    planned.problems.extend(services.problems());
    planned.problems.sort();
    planned.problems.dedup();
    planned.desired.health_checks = services.health_checks();
    planned.desired.node_ports = services.node_ports();
    planned.desired.services = services.into_frontends();
    planned
}

/// Every table but the Services.
pub fn plan_without_services(intent: &Intent, facts: &NodeFacts) -> Planned {
    let mut problems = Vec::new();
    let (endpoints, namespaces) = endpoints::plan(facts, &mut problems);
    let ipcache = ipcache::plan(intent, facts, &mut problems);
    let routes = routes::plan(intent, facts, &mut problems);
    problems.sort();
    problems.dedup();
    let desired = Desired { endpoints, namespaces, ipcache, routes, ..Desired::default() };
    Planned { desired, problems }
}

/// The labels an identity stands for: those of its PleopodIdentity, or the reserved ones. The host of this node also
/// bears `reserved:kube-apiserver` when it serves the API.
pub fn labels_of(intent: &Intent, facts: &NodeFacts, identity: IdentityId) -> Option<Labels> {
    if let Some(mut labels) = identity.reserved_labels() {
        let serves_api = || apiserver_addresses(intent).iter().any(|a| facts.addresses.contains(a));
        if identity == IdentityId::HOST && serves_api() {
            labels.insert("reserved", "kube-apiserver", "");
        }
        return Some(labels);
    }
    intent.identities.get(&identity).cloned()
}
