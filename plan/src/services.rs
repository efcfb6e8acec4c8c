//! Service frontends and the backends they may choose.
//!
//! Each Service is planned on its own from its slices, so that a change costs that one Service ([`Services::update`]).
//! When two Services ask for the same frontend, the older one has it (then the first by name); it goes to the other
//! when the older one goes.
//!
//! Backends, as kube-proxy chooses them: ready ones; when there is none, those that are terminating but still serve.
//! Terminating ones beside ready ones keep their connections but get no new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use pleopod_model::desired::{Backend, BackendState, Frontend, FrontendKey, FrontendKind};
use pleopod_model::intent::{EndpointSlice, Intent, Service, ServicePort, ServiceType, SliceEndpoint};
use pleopod_model::{ObjectName, Problem};

/// Frontends of all Services, kept so that one Service can be replanned alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// What is in force.
    frontends: BTreeMap<FrontendKey, Frontend>,
    /// What each Service asks for, with its age. What it would put there is planned again when it inherits.
    asked: BTreeMap<ObjectName, Asked>,
    /// Who asks for a frontend, in the order in which they would get it. Only those asked for more than once.
    contested: BTreeMap<FrontendKey, BTreeSet<Rank>>,
    /// Slices of each Service.
    slices: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    /// The Service of each slice, to find it again when the slice is gone.
    service_of: BTreeMap<ObjectName, ObjectName>,
}

type Rank = (i64, ObjectName);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    created: i64,
    keys: Vec<FrontendKey>,
}

// === impl Services ===

impl Services {
    /// The frontends in force.
    pub fn frontends(&self) -> &BTreeMap<FrontendKey, Frontend> {
        &self.frontends
    }

    /// Frontends that were asked for twice.
    pub fn problems(&self) -> impl Iterator<Item = Problem> + '_ {
        self.contested.iter().flat_map(|(key, ranks)| {
            let winner = ranks.first().map(|(_, name)| name.to_string()).unwrap_or_default();
            ranks.iter().skip(1).map(move |(_, loser)| {
                Problem::new(
                    "Service",
                    loser.clone(),
                    "spec.ports",
                    format!(
                        "{} {} belongs to the older Service {winner}, which keeps it",
                        key.protocol, key.address
                    ),
                    "give the Service another clusterIP or port",
                )
            })
        })
    }

    /// Plans all Services anew. `node` is this node's name.
    pub fn rebuild(&mut self, intent: &Intent, node: &str) {
        *self = Self::default();
        for (name, slice) in &intent.endpoint_slices {
            self.slices.entry(slice.service.clone()).or_default().insert(name.clone());
            self.service_of.insert(name.clone(), slice.service.clone());
        }
        for name in intent.services.keys() {
            self.replan(intent, node, name, &mut BTreeSet::new());
        }
    }

    /// Plans again the Services named in `services` and those whose slices are named in `slices` (changed, added or
    /// gone, `intent` tells). Returns the frontends that may differ now. Equal to [`Services::rebuild`] by test.
    pub fn update<'a>(
        &mut self,
        intent: &Intent,
        node: &str,
        services: impl IntoIterator<Item = &'a ObjectName>,
        slices: impl IntoIterator<Item = &'a ObjectName>,
    ) -> BTreeSet<FrontendKey> {
        let mut todo: BTreeSet<ObjectName> = services.into_iter().cloned().collect();
        for name in slices {
            let now = intent.endpoint_slices.get(name).map(|s| &s.service);
            let before = self.service_of.get(name).cloned();
            if before.as_ref() != now {
                if let Some(before) = before {
                    if let Some(slices) = self.slices.get_mut(&before) {
                        slices.remove(name);
                        if slices.is_empty() {
                            self.slices.remove(&before);
                        }
                    }
                    self.service_of.remove(name);
                    todo.insert(before);
                }
                if let Some(now) = now {
                    self.slices.entry(now.clone()).or_default().insert(name.clone());
                    self.service_of.insert(name.clone(), now.clone());
                }
            }
            todo.extend(now.cloned());
        }
        let mut touched = BTreeSet::new();
        for name in &todo {
            self.replan(intent, node, name, &mut touched);
        }
        touched
    }

    /// Brings `table` (the Services of a `Desired`) up to date in the frontends that `touched` names.
    pub fn write(&self, touched: &BTreeSet<FrontendKey>, table: &mut BTreeMap<FrontendKey, Frontend>) {
        for key in touched {
            match self.frontends.get(key) {
                Some(frontend) => table.insert(*key, frontend.clone()),
                None => table.remove(key),
            };
        }
    }

    /// The frontends in force, without what is needed to go on.
    pub fn into_frontends(self) -> BTreeMap<FrontendKey, Frontend> {
        self.frontends
    }

    fn ask(&self, intent: &Intent, node: &str, name: &ObjectName) -> BTreeMap<FrontendKey, Frontend> {
        let Some(service) = intent.services.get(name) else { return BTreeMap::new() };
        let names = self.slices.get(name);
        let slices = names.into_iter().flatten().filter_map(|s| intent.endpoint_slices.get(s));
        frontends_of(name, service, &slices.collect::<Vec<_>>(), node)
    }

    fn replan(
        &mut self,
        intent: &Intent,
        node: &str,
        name: &ObjectName,
        touched: &mut BTreeSet<FrontendKey>,
    ) {
        let frontends = self.ask(intent, node, name);
        let created = intent.services.get(name).map_or(0, |s| s.created);
        let before = self.asked.remove(name).unwrap_or_default();
        for key in before.keys {
            if created != before.created || !frontends.contains_key(&key) {
                self.withdraw(intent, node, key, name, touched);
            }
        }
        if frontends.is_empty() {
            return;
        }
        let rank = (created, name.clone());
        self.asked.insert(name.clone(), Asked { created, keys: frontends.keys().copied().collect() });
        for (key, frontend) in frontends {
            self.claim(key, frontend, &rank, touched);
        }
    }

    /// Takes `name` out of the running for `key`; the next in line gets it.
    fn withdraw(
        &mut self,
        intent: &Intent,
        node: &str,
        key: FrontendKey,
        name: &ObjectName,
        touched: &mut BTreeSet<FrontendKey>,
    ) {
        if let Some(ranks) = self.contested.get_mut(&key) {
            ranks.retain(|(_, n)| n != name);
            let next = ranks.first().map(|(_, n)| n.clone());
            if ranks.len() < 2 {
                self.contested.remove(&key);
            }
            let holds = self.frontends.get(&key).is_some_and(|f| f.service == *name);
            let heir = next.filter(|_| holds).and_then(|n| self.ask(intent, node, &n).remove(&key));
            if let Some(frontend) = heir {
                self.frontends.insert(key, frontend);
                touched.insert(key);
                return;
            }
        }
        if self.frontends.get(&key).is_some_and(|f| f.service == *name) {
            self.frontends.remove(&key);
            touched.insert(key);
        }
    }

    fn claim(
        &mut self,
        key: FrontendKey,
        frontend: Frontend,
        rank: &Rank,
        touched: &mut BTreeSet<FrontendKey>,
    ) {
        let rival = match self.frontends.get(&key) {
            Some(holder) if holder.service != rank.1 => {
                self.asked.get(&holder.service).map(|a| (a.created, holder.service.clone()))
            }
            _ => None,
        };
        if rival.is_some() || self.contested.contains_key(&key) {
            let ranks = self.contested.entry(key).or_default();
            ranks.extend(rival);
            ranks.insert(rank.clone());
            if ranks.first() != Some(rank) {
                return;
            }
        }
        if self.frontends.get(&key) != Some(&frontend) {
            self.frontends.insert(key, frontend);
            touched.insert(key);
        }
    }
}

/// What one Service asks for.
pub fn frontends_of(
    name: &ObjectName,
    service: &Service,
    slices: &[&EndpointSlice],
    node: &str,
) -> BTreeMap<FrontendKey, Frontend> {
    let mut frontends = BTreeMap::new();
    if service.kind == ServiceType::ExternalName {
        return frontends;
    }
    for port in &service.ports {
        let mut by_family: [Option<Vec<Backend>>; 2] = [None, None];
        for address in &service.cluster_ips {
            let key = FrontendKey { address: SocketAddr::new(*address, port.port), protocol: port.protocol };
            let backends = by_family[usize::from(address.is_ipv6())]
                .get_or_insert_with(|| backends_of(service, port, slices, *address, node));
            frontends.entry(key).or_insert_with(|| Frontend {
                port_name: port.name.clone(),
                ..Frontend::new(name.clone(), FrontendKind::ClusterIP, backends.clone())
            });
        }
    }
    frontends
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

fn backends_of(
    service: &Service,
    port: &ServicePort,
    slices: &[&EndpointSlice],
    like: IpAddr,
    node: &str,
) -> Vec<Backend> {
    let mut found: BTreeMap<SocketAddr, (Fitness, &SliceEndpoint)> = BTreeMap::new();
    for slice in slices {
        let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
        for slice_port in ports {
            for endpoint in &slice.endpoints {
                if service.internal_local && endpoint.node.as_deref() != Some(node) {
                    continue;
                }
                let Some(fitness) = fitness(service, endpoint) else { continue };
                // Several addresses of one endpoint stand for the same; the first is used, as kube-proxy does.
                if let Some(address) = endpoint.addresses.iter().find(|a| a.is_ipv4() == like.is_ipv4()) {
                    let key = SocketAddr::new(*address, slice_port.port);
                    let better = match found.get(&key) {
                        // The order of the slices' names decides between equals, so the first stays.
                        Some((held, _)) => fitness > *held,
                        None => true,
                    };
                    if better {
                        found.insert(key, (fitness, endpoint));
                    }
                }
            }
        }
    }
    let any_ready = found.values().any(|(fitness, _)| *fitness == Fitness::Ready);
    found
        .into_iter()
        .map(|(address, (fitness, endpoint))| {
            let chosen = fitness == Fitness::Ready || !any_ready;
            Backend {
                state: if fitness == Fitness::Ready {
                    BackendState::Active
                } else {
                    BackendState::Terminating
                },
                inside: chosen,
                outside: chosen,
                node: endpoint.node.clone(),
                pod: endpoint.pod.clone(),
                ..Backend::new(address)
            }
        })
        .collect()
}
