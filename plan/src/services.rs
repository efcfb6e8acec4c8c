//! Service frontends and the backends they may choose.
//!
//! Each Service is planned on its own from its slices, so that a change costs that one Service ([`Services::update`]).
//! What the node is (its name, zone, addresses and options) goes into all of them: when that changes, all are planned
//! anew. When two Services ask for the same frontend or node port, the older one has it (then the first by name); it goes
//! to the other when the older one goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use pleopod_model::desired::{Frontend, FrontendKey, FrontendKind, HealthCheck, NodeFacts, ServiceOptions};
use pleopod_model::intent::{Intent, Protocol, SliceEndpoint};
use pleopod_model::{ObjectName, Problem};

use asked::{Asked, NodePort};
use contest::{Contest, Rank};

mod asked;
mod backends;
mod contest;

/// The label of a Node that names its zone.
const ZONE: &str = "topology.kubernetes.io/zone";

type NodePortKey = (Protocol, u16);

/// Frontends of all Services, kept so that one Service can be replanned alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// For which node they are planned.
    here: Here,
    /// What is in force, and who else asked for it.
    frontends: Contest<FrontendKey, Frontend>,
    node_ports: Contest<NodePortKey, NodePort>,
    /// What each Service asks for, with its age.
    claims: BTreeMap<ObjectName, Claims>,
    /// Slices of each Service.
    slices: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    /// The Service of each slice, to find it again when the slice is gone.
    service_of: BTreeMap<ObjectName, ObjectName>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Claims {
    created: i64,
    frontends: Vec<FrontendKey>,
    node_ports: Vec<NodePortKey>,
}

/// What of the node matters to Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Here {
    name: String,
    /// Empty when the Node has none.
    zone: String,
    /// Where node ports answer.
    addresses: Vec<IpAddr>,
    options: ServiceOptions,
}

// === impl Services ===

impl Services {
    /// The frontends in force.
    pub fn frontends(&self) -> &BTreeMap<FrontendKey, Frontend> {
        self.frontends.held()
    }

    /// What is to be answered at health check node ports, by TCP port.
    pub fn health_checks(&self) -> BTreeMap<u16, HealthCheck> {
        let check = |((_, number), port): (&NodePortKey, &NodePort)| {
            let local_endpoints = port.health?;
            Some((*number, HealthCheck { service: port.service.clone(), local_endpoints }))
        };
        self.node_ports.held().iter().filter_map(check).collect()
    }

    /// Ports of the node that Services have, those of health checks included.
    pub fn node_ports(&self) -> BTreeSet<(Protocol, u16)> {
        self.node_ports.held().keys().copied().collect()
    }

    /// Frontends and node ports that were asked for twice.
    pub fn problems(&self) -> impl Iterator<Item = Problem> + '_ {
        let frontends = self.frontends.lost().filter_map(|(key, held, lost)| {
            if held.kind == FrontendKind::NodePort && lost.kind == FrontendKind::NodePort {
                // Told once for the port, not again for each address.
                return None;
            }
            let (field, hint) = match lost.kind {
                FrontendKind::ClusterIP => ("spec.ports", "give the Service another clusterIP or port"),
                FrontendKind::NodePort => ("spec.ports", "give the Service another node port"),
                FrontendKind::LoadBalancer => {
                    ("status.loadBalancer.ingress", "give the Service another address or port")
                }
                FrontendKind::ExternalIP => ("spec.externalIPs", "give the Service another address or port"),
            };
            let what = format!("{} {}", key.protocol, key.address);
            Some(taken(&lost.service, field, &what, &held.service, hint))
        });
        let node_ports = self.node_ports.lost().map(|((protocol, number), held, lost)| {
            let field = if lost.health.is_some() { "spec.healthCheckNodePort" } else { "spec.ports" };
            let what = format!("{protocol} node port {number}");
            taken(&lost.service, field, &what, &held.service, "give the Service another node port")
        });
        frontends.chain(node_ports)
    }

    /// Plans all Services anew.
    pub fn rebuild(&mut self, intent: &Intent, facts: &NodeFacts) {
        *self = Self { here: Here::of(intent, facts), ..Self::default() };
        for (name, slice) in &intent.endpoint_slices {
            self.slices.entry(slice.service.clone()).or_default().insert(name.clone());
            self.service_of.insert(name.clone(), slice.service.clone());
        }
        for name in intent.services.keys() {
            self.replan(intent, name, &mut BTreeSet::new());
        }
    }

    /// Whether the node is another than the one the Services were planned for, so that [`Self::update`] has something to
    /// do even if no Service changed.
    pub fn is_stale(&self, intent: &Intent, facts: &NodeFacts) -> bool {
        self.here != Here::of(intent, facts)
    }

    /// Plans again the Services named in `services` and those whose slices are named in `slices` (changed, added or
    /// gone, `intent` tells), or all if the node changed. Returns the frontends that may differ now. Equal to
    /// [`Services::rebuild`] by test.
    pub fn update<'a>(
        &mut self,
        intent: &Intent,
        facts: &NodeFacts,
        services: impl IntoIterator<Item = &'a ObjectName>,
        slices: impl IntoIterator<Item = &'a ObjectName>,
    ) -> BTreeSet<FrontendKey> {
        let mut todo: BTreeSet<ObjectName> = services.into_iter().cloned().collect();
        let here = Here::of(intent, facts);
        if here != self.here {
            self.here = here;
            todo.extend(intent.services.keys().cloned());
        }
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
            self.replan(intent, name, &mut touched);
        }
        touched
    }

    /// Brings `table` (the Services of a `Desired`) up to date in the frontends that `touched` names.
    pub fn write(&self, touched: &BTreeSet<FrontendKey>, table: &mut BTreeMap<FrontendKey, Frontend>) {
        for key in touched {
            match self.frontends().get(key) {
                Some(frontend) => table.insert(*key, frontend.clone()),
                None => table.remove(key),
            };
        }
    }

    /// The frontends in force, without what is needed to go on.
    pub fn into_frontends(self) -> BTreeMap<FrontendKey, Frontend> {
        self.frontends.into_held()
    }

    fn ask(&self, intent: &Intent, name: &ObjectName) -> Asked {
        let Some(service) = intent.services.get(name) else { return Asked::default() };
        let names = self.slices.get(name);
        let slices = names.into_iter().flatten().filter_map(|s| intent.endpoint_slices.get(s));
        Asked::of(name, service, &slices.collect::<Vec<_>>(), &self.here)
    }

    fn replan(&mut self, intent: &Intent, name: &ObjectName, touched: &mut BTreeSet<FrontendKey>) {
        let asked = self.ask(intent, name);
        let created = intent.services.get(name).map_or(0, |s| s.created);
        let before = self.claims.remove(name).unwrap_or_default();
        let rank: Rank = (before.created, name.clone());
        for key in before.frontends {
            if (created != before.created || !asked.frontends.contains_key(&key))
                && self.frontends.withdraw(&key, &rank)
            {
                touched.insert(key);
            }
        }
        for key in before.node_ports {
            if created != before.created || !asked.node_ports.contains_key(&key) {
                self.node_ports.withdraw(&key, &rank);
            }
        }
        if asked.frontends.is_empty() && asked.node_ports.is_empty() {
            return;
        }
        let rank: Rank = (created, name.clone());
        let claims = Claims {
            created,
            frontends: asked.frontends.keys().copied().collect(),
            node_ports: asked.node_ports.keys().copied().collect(),
        };
        self.claims.insert(name.clone(), claims);
        let claims = &self.claims;
        let age = |name: &ObjectName| claims.get(name).map_or(0, |c| c.created);
        for (key, frontend) in asked.frontends {
            if self.frontends.claim(key, &rank, frontend, age) {
                touched.insert(key);
            }
        }
        for (key, node_port) in asked.node_ports {
            self.node_ports.claim(key, &rank, node_port, age);
        }
    }
}

fn taken(loser: &ObjectName, field: &str, what: &str, winner: &ObjectName, hint: &str) -> Problem {
    let message = format!("{what} belongs to the older Service {winner}, which keeps it");
    Problem::new("Service", loser.clone(), field, message, hint)
}

// === impl Here ===

impl Here {
    fn of(intent: &Intent, facts: &NodeFacts) -> Self {
        let node = intent.nodes.get(&facts.name);
        let primary = node.map_or(&[][..], |n| &n.addresses);
        Self {
            name: facts.name.clone(),
            zone: node.and_then(|n| n.labels.get(ZONE)).cloned().unwrap_or_default(),
            addresses: facts.services.node_port_addresses.select(primary, &facts.addresses),
            options: facts.services.clone(),
        }
    }

    fn is(&self, endpoint: &SliceEndpoint) -> bool {
        endpoint.node.as_deref() == Some(self.name.as_str())
    }
}
