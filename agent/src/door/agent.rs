//! The command line's door: what the agent knows and what the kernel holds.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use pleopod_api::agent as wire;
use pleopod_api::agent::agent_server::Agent;
use pleopod_flows::Eyes;
use pleopod_ipam::Family;
use pleopod_model::observed::RowState;
use pleopod_model::{IdentityId, Labels, ObjectName};
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::core::{Core, Handle};
use crate::health::Health;

mod bpf;
mod services;

/// Serves the command line.
pub struct AgentDoor {
    pub core: Handle,
    pub config: Arc<Config>,
    pub health: Arc<Health>,
    pub eyes: Eyes,
    /// When the agent started, nanoseconds since the Unix epoch.
    pub started_at: i64,
}

type Answer<T> = Result<Response<T>, Status>;

// === impl AgentDoor ===

impl AgentDoor {
    /// Runs `f` on the core, unless it is not there yet.
    async fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let starting = || {
            let why = self.health.ready().err().unwrap_or_default();
            Status::unavailable(format!("pleopod-agent is starting: {why}"))
        };
        // The core answers in microseconds once it runs; before that commands only pile up.
        match tokio::time::timeout(std::time::Duration::from_secs(5), self.core.inspect(f)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(starting()),
        }
    }
}

/// Does what is left of an answer where nobody else waits for it.
async fn aside<T: Send + 'static>(rest: bpf::Rest<T>) -> Result<T, Status> {
    tokio::task::spawn_blocking(rest).await.map_err(|error| Status::internal(error.to_string()))?
}

#[tonic::async_trait]
impl Agent for AgentDoor {
    async fn get_status(&self, request: Request<wire::StatusRequest>) -> Answer<wire::StatusReply> {
        let verbose = request.into_inner().verbose;
        let checks = self
            .health
            .parts()
            .into_iter()
            .map(|(name, part)| wire::Check { name: name.into(), ok: part.ok, message: part.message })
            .collect();
        let mut reply = wire::StatusReply {
            node: self.config.node_name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_at: self.started_at,
            ready: self.health.ready().is_ok(),
            checks,
            routing: "native".into(),
            masquerading: if self.config.masquerade { "BPF (pods to the world)" } else { "disabled" }.into(),
            flows: Some(self.eyes.stats()),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            ..wire::StatusReply::default()
        };
        // A core that has not started says nothing; the checks say why.
        if let Ok(fill) = self.ask(move |core| status_of(core, verbose)).await {
            fill(&mut reply);
        }
        Ok(Response::new(reply))
    }

    async fn list_endpoints(
        &self,
        _: Request<wire::ListEndpointsRequest>,
    ) -> Answer<wire::ListEndpointsReply> {
        let endpoints = self.ask(endpoints_of).await?;
        Ok(Response::new(wire::ListEndpointsReply { endpoints }))
    }

    async fn list_identities(
        &self,
        request: Request<wire::ListIdentitiesRequest>,
    ) -> Answer<wire::ListIdentitiesReply> {
        let id = request.into_inner().id;
        let identities = self
            .ask(move |core| {
                let known = core.store.intent().identities.keys().copied();
                IdentityId::reserved()
                    .chain(known)
                    .filter(|i| id == 0 || i.0 == id)
                    .map(|i| wire::Identity { id: i.0, labels: core.labels_of(i).to_strings() })
                    .collect()
            })
            .await?;
        Ok(Response::new(wire::ListIdentitiesReply { identities }))
    }

    async fn list_ips(&self, _: Request<wire::ListIpsRequest>) -> Answer<wire::ListIpsReply> {
        let entries = aside(self.ask(ips_of).await?).await?;
        Ok(Response::new(wire::ListIpsReply { entries }))
    }

    async fn list_services(
        &self,
        request: Request<wire::ListServicesRequest>,
    ) -> Answer<wire::ListServicesReply> {
        let id = request.into_inner().id;
        let mut services = self.ask(services::list).await?;
        services.retain(|s| id == 0 || s.id == id);
        services.sort_by_key(|s| s.id);
        Ok(Response::new(wire::ListServicesReply { services }))
    }

    async fn list_nodes(&self, _: Request<wire::ListNodesRequest>) -> Answer<wire::ListNodesReply> {
        let nodes = self.ask(nodes_of).await?;
        Ok(Response::new(wire::ListNodesReply { nodes }))
    }

    async fn list_maps(&self, _: Request<wire::ListMapsRequest>) -> Answer<wire::ListMapsReply> {
        let maps = aside(self.ask(bpf::maps).await?).await?;
        Ok(Response::new(wire::ListMapsReply { maps }))
    }

    async fn get_map(&self, request: Request<wire::GetMapRequest>) -> Answer<wire::GetMapReply> {
        let name = request.into_inner().name;
        let short = name.strip_prefix("pleo_").unwrap_or(&name).to_owned();
        let rows = aside(self.ask(move |core| bpf::rows(core, &short)).await??).await?;
        Ok(Response::new(wire::GetMapReply { rows }))
    }

    async fn dump_bpf(&self, request: Request<wire::DumpBpfRequest>) -> Answer<wire::DumpBpfReply> {
        let table = request.into_inner().table;
        let reply = aside(self.ask(move |core| bpf::dump(core, &table)).await??).await?;
        Ok(Response::new(reply))
    }

    async fn get_config(&self, _: Request<wire::ConfigRequest>) -> Answer<wire::ConfigReply> {
        let items = self.config.items.iter().map(|i| wire::ConfigItem {
            key: i.key.into(),
            value: i.value.clone(),
            source: i.source.into(),
            description: i.description.clone(),
        });
        Ok(Response::new(wire::ConfigReply { items: items.collect() }))
    }

    type MonitorStream = Pin<Box<dyn Stream<Item = Result<wire::MonitorEvent, Status>> + Send>>;

    async fn monitor(&self, request: Request<wire::MonitorRequest>) -> Answer<Self::MonitorStream> {
        let events = self
            .eyes
            .monitor(request.into_inner().types)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        Ok(Response::new(Box::pin(events.map(Ok))))
    }
}

/// What only the core knows of the status, as a change to the reply.
fn status_of(core: &mut Core, verbose: bool) -> impl FnOnce(&mut wire::StatusReply) + Send + use<> {
    let usage = core.ipam.usage(Family::V4);
    let pod_cidrs: Vec<String> = core.ipam.cidrs().map(|c| c.to_string()).collect();
    let (endpoints, identities) = (core.ipam.leases().count(), core.store.intent().identities.len());
    let services = core.frontends().count();
    let mtu = core.hands.mtu();
    let problems = core.problems.clone();
    let attached: Vec<_> = core
        .hands
        .hooks()
        .unwrap_or_default()
        .into_iter()
        .map(|h| wire::Attached {
            program: h.program,
            hook: h.hook,
            program_id: h.program_id,
            link_id: h.link_id,
            error: String::new(),
        })
        .collect();
    let mut addresses = Vec::new();
    if verbose {
        addresses = core
            .ipam
            .allocated()
            .into_iter()
            .map(|a| wire::AllocatedAddress {
                address: a.address.to_string(),
                owner: a.owner,
                restored: a.restored,
            })
            .collect();
    }
    move |reply| {
        reply.pod_cidrs = pod_cidrs;
        reply.addresses_in_use = usage.used as u32;
        reply.addresses_total = u32::try_from(usage.total).unwrap_or(u32::MAX);
        reply.addresses = addresses;
        reply.endpoints = endpoints as u32;
        reply.identities = identities as u32;
        reply.services = services as u32;
        reply.mtu = mtu;
        reply.attached = attached;
        for problem in problems {
            reply.checks.push(wire::Check {
                name: "objects".into(),
                ok: false,
                message: problem.to_string(),
            });
        }
    }
}

fn endpoints_of(core: &mut Core) -> Vec<wire::Endpoint> {
    let disabled = || "Disabled".to_owned();
    let mut endpoints: Vec<wire::Endpoint> = core
        .ipam
        .leases()
        .map(|lease| {
            let local = core.local(lease.endpoint_id);
            let of = |v4: bool| lease.addresses.iter().find(|a| a.is_ipv4() == v4).map(ToString::to_string);
            let init = lease.identity == IdentityId::INIT;
            wire::Endpoint {
                id: lease.endpoint_id.into(),
                pod_namespace: lease.pod.namespace.clone(),
                pod_name: lease.pod.name.clone(),
                container_id: lease.attachment.container_id.clone(),
                state: if init { "waiting-for-identity" } else { "ready" }.into(),
                identity: lease.identity.0,
                labels: identity_labels(core, lease.identity, &lease.pod),
                ipv4: of(true).unwrap_or_default(),
                ipv6: of(false).unwrap_or_default(),
                policy_ingress: disabled(),
                policy_egress: disabled(),
                ifname: lease.host_ifname.clone(),
                ifindex: local.map_or(0, |l| l.ifindex),
                mac: lease.pod_mac.to_string(),
                node_mac: lease.host_mac.to_string(),
                netns: lease.netns.clone(),
                restored: lease.restored,
                created_at: i64::try_from(lease.created_at).unwrap_or(i64::MAX),
                message: if init {
                    "the API server has not numbered its labels yet".into()
                } else {
                    String::new()
                },
            }
        })
        .collect();
    endpoints.extend(node_endpoints(core));
    endpoints.sort_by_key(|e| e.id);
    endpoints
}

/// The node itself and its health address, as Cilium lists them.
fn node_endpoints(core: &mut Core) -> Vec<wire::Endpoint> {
    use pleopod_ipam::Owner;
    let host_labels = core.store.intent().nodes.get(&core.facts.name).map(pleopod_intake::labels::of_host);
    let health: Vec<_> = core.facts.health.clone();
    let of =
        |v4: bool| health.iter().find(|a| a.is_ipv4() == v4).map(ToString::to_string).unwrap_or_default();
    let one = |id: u16, identity: IdentityId, labels: Labels, ipv4: String, ipv6: String| wire::Endpoint {
        id: id.into(),
        state: "ready".into(),
        identity: identity.0,
        labels: labels.to_strings(),
        ipv4,
        ipv6,
        policy_ingress: "Disabled".into(),
        policy_egress: "Disabled".into(),
        ..wire::Endpoint::default()
    };
    let mut list = Vec::new();
    if let Ok(id) = core.ipam.node_endpoint_id(&Owner::Router) {
        let labels = host_labels.unwrap_or_else(|| core.labels_of(IdentityId::HOST));
        list.push(one(id, IdentityId::HOST, labels, String::new(), String::new()));
    }
    if let Ok(id) = core.ipam.node_endpoint_id(&Owner::Health) {
        list.push(one(id, IdentityId::HEALTH, core.labels_of(IdentityId::HEALTH), of(true), of(false)));
    }
    list
}

/// The labels of an identity; for one that is too new for the watch, those of the pod.
fn identity_labels(core: &Core, identity: IdentityId, pod: &pleopod_model::ObjectName) -> Vec<String> {
    let labels = core.labels_of(identity);
    let labels = if labels.is_empty() { core.security_labels(pod).unwrap_or_default() } else { labels };
    labels.to_strings()
}

fn ips_of(core: &mut Core) -> bpf::Rest<Vec<wire::IpEntry>> {
    let intent = core.store.intent();
    let pods: HashMap<IpAddr, ObjectName> = intent
        .endpoints
        .iter()
        .flat_map(|(name, e)| e.addresses.iter().map(move |a| (*a, name.clone())))
        .chain(core.facts.local.iter().map(|(a, l)| (*a, l.pod.clone())))
        .collect();
    let ipcache = core.desired.ipcache.clone();
    let identities: BTreeSet<IdentityId> = ipcache.values().map(|entry| entry.identity).collect();
    let labels: HashMap<IdentityId, Labels> =
        identities.into_iter().map(|id| (id, core.labels_of(id))).collect();
    Box::new(move || {
        let source =
            |s| serde_json::to_value(s).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        Ok(ipcache
            .iter()
            .map(|(net, entry)| wire::IpEntry {
                prefix: net.to_string(),
                identity: entry.identity.0,
                labels: labels.get(&entry.identity).map(Labels::to_strings).unwrap_or_default(),
                source: source(entry.source),
                tunnel_endpoint: entry.tunnel_endpoint.map(|a| a.to_string()).unwrap_or_default(),
                pod: pods
                    .get(&net.addr())
                    .filter(|_| net.prefix_len() == net.max_prefix_len())
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            })
            .collect())
    })
}

fn nodes_of(core: &mut Core) -> Vec<wire::Node> {
    let text = |list: &[std::net::IpAddr]| list.iter().map(ToString::to_string).collect();
    core.store
        .intent()
        .nodes
        .iter()
        .map(|(name, node)| wire::Node {
            name: name.clone(),
            addresses: text(&node.addresses),
            pod_cidrs: node.pod_cidrs.iter().map(ToString::to_string).collect(),
            router_addresses: text(&node.router_addresses),
            health_addresses: text(&node.health_addresses),
            local: *name == core.facts.name,
        })
        .collect()
}

/// A row of a synced table as the wire has it.
fn map_row(row: pleopod_model::observed::Row) -> wire::MapRow {
    let (state, error) = match row.state {
        RowState::Sync => ("sync", String::new()),
        RowState::Error(why) => ("error", why),
    };
    wire::MapRow { key: row.key, value: row.value, state: state.into(), error }
}
