//! Which endpoints serve a port, and which of them are chosen for whom; in all of it as kube-proxy does.
//!
//! - An endpoint is ready, or it leaves (terminating, still serving), or it does not count. One whose weight is 0 is
//!   listed and never chosen.
//! - Where any endpoint may serve, hints of the EndpointSlices narrow the ready ones down: to those for this node when
//!   every ready one names nodes and some name this one; else to those for this node's zone, likewise; else not at all.
//! - Where a traffic policy keeps to the node, only its own endpoints count, and hints do not.
//! - Where nothing is ready, those that leave are chosen. The policies decide that each for themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pleopod_model::ObjectName;
use pleopod_model::desired::{Backend, BackendState, Topology};
use pleopod_model::intent::{EndpointSlice, Service, ServicePort, SliceEndpoint};

use super::Here;

/// Endpoints that serve one port in one family, sorted by address.
pub(super) struct Candidates<'a> {
    all: Vec<Candidate<'a>>,
    /// Those chosen where any endpoint may serve.
    cluster: Vec<bool>,
    /// Those chosen where only this node's may.
    local: Vec<bool>,
    pub topology: Topology,
}

struct Candidate<'a> {
    address: SocketAddr,
    state: BackendState,
    weight: u16,
    local: bool,
    endpoint: &'a SliceEndpoint,
}

/// How well an endpoint serves; the better of two reports of one address counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    Leaving,
    Ready,
}

fn fitness(service: &Service, endpoint: &SliceEndpoint) -> Option<Fitness> {
    if endpoint.ready || service.publish_not_ready {
        Some(Fitness::Ready)
    } else if endpoint.terminating && endpoint.serving {
        Some(Fitness::Leaving)
    } else {
        None
    }
}

// === impl Candidates ===

impl<'a> Candidates<'a> {
    /// Those of `port` in the family of `like`.
    pub fn new(
        name: &ObjectName,
        service: &Service,
        port: &ServicePort,
        slices: &[&'a EndpointSlice],
        like: IpAddr,
        here: &Here,
    ) -> Self {
        let mut found: BTreeMap<SocketAddr, (Fitness, &SliceEndpoint)> = BTreeMap::new();
        for slice in slices {
            let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
            for slice_port in ports {
                for endpoint in &slice.endpoints {
                    let Some(fitness) = fitness(service, endpoint) else { continue };
                    let Some(address) = address(endpoint, like) else { continue };
                    let key = SocketAddr::new(address, slice_port.port);
                    // The order of the slices' names decides between equals, so the first stays.
                    if found.get(&key).is_none_or(|(held, _)| fitness > *held) {
                        found.insert(key, (fitness, endpoint));
                    }
                }
            }
        }
        let candidate = |(address, (fitness, endpoint)): (SocketAddr, (Fitness, &'a SliceEndpoint))| {
            let weight = service.weights.of(address.ip(), endpoint.pod.as_ref(), &name.namespace);
            let state = match fitness {
                _ if weight == 0 => BackendState::Quarantined,
                Fitness::Ready => BackendState::Active,
                Fitness::Leaving => BackendState::Terminating,
            };
            Candidate { address, state, weight, local: here.is(endpoint), endpoint }
        };
        let all: Vec<Candidate<'a>> = found.into_iter().map(candidate).collect();
        let topology = topology(&all, here);
        let any = |c: &Candidate<'_>| match topology {
            Topology::Any => true,
            // Who leaves is chosen only where nothing is ready, and then there are no hints either.
            Topology::Node => c.endpoint.for_nodes.contains(&here.name),
            Topology::Zone => c.endpoint.for_zones.contains(&here.zone),
        };
        Self { cluster: choose(&all, any), local: choose(&all, |c| c.local), topology, all }
    }

    /// The backends, chosen by the policy for clients inside and the one for clients outside.
    pub fn backends(&self, inside_local: bool, outside_local: bool) -> Arc<[Backend]> {
        let inside = if inside_local { &self.local } else { &self.cluster };
        let outside = if outside_local { &self.local } else { &self.cluster };
        let chosen = inside.iter().zip(outside);
        let backend = |(c, (inside, outside)): (&Candidate<'_>, (&bool, &bool))| Backend {
            address: c.address,
            state: c.state,
            inside: *inside,
            outside: *outside,
            weight: c.weight,
            local: c.local,
            node: c.endpoint.node.clone(),
            zone: c.endpoint.zone.clone(),
            pod: c.endpoint.pod.clone(),
        };
        self.all.iter().zip(chosen).map(backend).collect()
    }
}

/// Several addresses of one endpoint stand for the same; the first is used.
fn address(endpoint: &SliceEndpoint, like: IpAddr) -> Option<IpAddr> {
    endpoint.addresses.iter().find(|a| a.is_ipv4() == like.is_ipv4()).copied()
}

fn choose(all: &[Candidate<'_>], may: impl Fn(&Candidate<'_>) -> bool) -> Vec<bool> {
    let of = |state| move |c: &&Candidate<'_>| c.state == state;
    let any_ready = all.iter().filter(of(BackendState::Active)).any(&may);
    let state = if any_ready { BackendState::Active } else { BackendState::Terminating };
    all.iter().map(|c| c.state == state && may(c)).collect()
}

fn topology(all: &[Candidate<'_>], here: &Here) -> Topology {
    let ready = || all.iter().filter(|c| c.state == BackendState::Active).map(|c| c.endpoint);
    let meant = |names: fn(&SliceEndpoint) -> &Vec<String>, own: &String| {
        !own.is_empty() && ready().all(|e| !names(e).is_empty()) && ready().any(|e| names(e).contains(own))
    };
    if meant(|e| &e.for_nodes, &here.name) {
        Topology::Node
    } else if meant(|e| &e.for_zones, &here.zone) {
        Topology::Zone
    } else {
        Topology::Any
    }
}

/// How many endpoints of this node take new connections, for load balancers that ask. In the family that has more: an
/// endpoint of two families has two addresses.
pub(super) fn local_ready(
    name: &ObjectName,
    service: &Service,
    slices: &[&EndpointSlice],
    here: &Here,
) -> usize {
    let mut found: [BTreeSet<IpAddr>; 2] = Default::default();
    for endpoint in slices.iter().flat_map(|s| &s.endpoints) {
        if !here.is(endpoint) || fitness(service, endpoint) != Some(Fitness::Ready) {
            continue;
        }
        for address in &endpoint.addresses {
            if service.weights.of(*address, endpoint.pod.as_ref(), &name.namespace) > 0 {
                found[usize::from(address.is_ipv6())].insert(*address);
            }
        }
    }
    found.iter().map(BTreeSet::len).max().unwrap_or_default()
}
