//! The core's beginning: the leases, the base, the programs, and the pods that are there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pleopod_flows::Eyes;
use pleopod_ipam::{Attachment, Ipam, Lease, Owner};
use pleopod_model::desired::{LocalPod, NodeFacts};
use pleopod_model::intent::Node;
use pleopod_model::{IdentityId, Mac, ObjectName};
use pleopod_sys_link::Link;
use tokio::sync::mpsc;

use crate::clock::{now, time_of_day};
use crate::config::Config;
use crate::core::{Core, Parts, Task};
use crate::hands::{Hands, Start};
use crate::health::Health;
use crate::journal::{JournalFile, Restored};

/// What the core begins with.
pub struct Beginning {
    pub config: Arc<Config>,
    /// The own Node object.
    pub node: Node,
    /// cgroup2 directory for the socket programs.
    pub cgroup: PathBuf,
    pub health: Arc<Health>,
    pub eyes: Eyes,
    pub tasks: mpsc::UnboundedSender<Task>,
}

/// Attachments of leases that were rebuilt from interfaces: the runtime's container id is not known any more.
const REBUILT: &str = "rebuilt";

/// Makes the core. Everything that was in force stays in force while it does.
pub fn begin(beginning: Beginning) -> anyhow::Result<Core> {
    let Beginning { config, node, cgroup, health, eyes, tasks } = beginning;
    let journal = JournalFile::open(&config.state_dir)?;
    let ipam_config = pleopod_ipam::Config { grace: config.ipam_grace };
    let (mut ipam, rebuild) = match journal.load(ipam_config.clone(), &node.pod_cidrs)? {
        Restored::Leases(ipam) => (ipam, false),
        Restored::Nothing => (Ipam::new(ipam_config, &node.pod_cidrs), true),
        Restored::Unusable { reason, aside } => {
            tracing::error!(aside = %aside.display(), "{reason}; it is put aside, and leases are rebuilt from the interfaces that are there");
            (Ipam::new(ipam_config, &node.pod_cidrs), true)
        }
    };
    let router = ipam.node_addresses(&Owner::Router, &node.router_addresses, now())?;
    let node_health = ipam.node_addresses(&Owner::Health, &node.health_addresses, now())?;
    ipam.node_endpoint_id(&Owner::Router)?;
    ipam.node_endpoint_id(&Owner::Health)?;
    let native = match config.native_routing_cidrs.as_slice() {
        [] => Vec::new(),
        given => given.to_vec(),
    };
    health.step("leases are read");
    let start = Start {
        node: node.addresses.clone(),
        router: router.clone(),
        health: node_health.clone(),
        native,
        cgroup,
    };
    let mut hands = Hands::start(&config, &start)?;
    health.step("programs and maps are loaded");
    let links: HashMap<String, Link> = hands.pod_links()?.into_iter().map(|l| (l.name.clone(), l)).collect();
    if rebuild {
        let node_owned: Vec<(Owner, IpAddr)> = router
            .iter()
            .map(|a| (Owner::Router, *a))
            .chain(node_health.iter().map(|a| (Owner::Health, *a)))
            .collect();
        let leases = rebuilt(&links, &hands);
        if !leases.is_empty() {
            tracing::warn!(pods = leases.len(), "leases rebuilt from interfaces");
            let config = pleopod_ipam::Config { grace: config.ipam_grace };
            let (rebuilt, problems) = Ipam::rebuild(config, &node.pod_cidrs, &node_owned, leases, now());
            for problem in problems {
                tracing::error!(%problem, "not taken over");
            }
            ipam = rebuilt;
            ipam.node_endpoint_id(&Owner::Router)?;
            ipam.node_endpoint_id(&Owner::Health)?;
        }
    }
    let mut facts = NodeFacts {
        name: config.node_name.clone(),
        addresses: node.addresses.clone(),
        router,
        health: node_health,
        services: config.services.clone(),
        ..NodeFacts::default()
    };
    take_over(&mut ipam, &mut hands, &mut facts, &links);
    journal.save(&ipam)?;
    health.set("datapath", Err("the first pass is to come".into()));
    let cluster_name = config.cluster_name.clone();
    let mut core = Core::new(Parts { facts, ipam, hands, cluster_name, journal, health, eyes, tasks });
    core.look_over_addresses();
    Ok(core)
}

/// Pods whose interfaces are there go on with today's programs; leases without an interface end (the node was booted
/// anew), interfaces without a lease go (an ADD that was never answered).
fn take_over(ipam: &mut Ipam, hands: &mut Hands, facts: &mut NodeFacts, links: &HashMap<String, Link>) {
    let leases: Vec<Lease> = ipam.leases().cloned().collect();
    let mut kept = 0;
    for lease in &leases {
        let Some(link) = links.get(&lease.host_ifname) else {
            tracing::info!(pod = %lease.pod, "its interface is gone; the lease ends");
            ipam.end_lease(&lease.attachment, now());
            continue;
        };
        let local = LocalPod {
            id: lease.endpoint_id,
            pod: lease.pod.clone(),
            ifindex: link.index,
            ifname: link.name.clone(),
            mac: lease.pod_mac,
            node_mac: lease.host_mac,
            netns_cookie: lease.netns_cookie,
            identity: lease.identity,
        };
        hands.adopt_pod(&local, &lease.netns);
        for address in &lease.addresses {
            facts.local.insert(*address, local.clone());
        }
        kept += 1;
    }
    for link in links.values() {
        if !leases.iter().any(|l| l.host_ifname == link.name) {
            tracing::warn!(link = link.name, pod = link.alias, "an interface that no lease knows is removed");
            hands.remove_stray(link);
        }
    }
    if kept > 0 {
        tracing::info!(pods = kept, "pods taken over");
    }
}

/// Leases from what the kernel holds: the alias says the pod, the endpoint map its number, addresses, identity and MACs.
fn rebuilt(links: &HashMap<String, Link>, hands: &Hands) -> Vec<Lease> {
    let endpoints = hands.found_endpoints();
    let cookies = hands.found_namespaces();
    links
        .values()
        .filter_map(|link| {
            let (namespace, name) = link.alias.split_once('/')?;
            let mut addresses: Vec<IpAddr> = Vec::new();
            let mut row = None;
            for (address, value) in endpoints.iter().filter(|(_, v)| v.ifindex == link.index) {
                addresses.push(*address);
                row = Some(*value);
            }
            let row = row?;
            addresses.sort();
            Some(Lease {
                attachment: Attachment::new(format!("{REBUILT}-{}", link.name), "eth0"),
                network: String::new(),
                pod: ObjectName::new(namespace, name),
                pod_uid: String::new(),
                endpoint_id: row.id,
                addresses,
                created_at: time_of_day(),
                since: now(),
                host_ifname: link.name.clone(),
                pod_mac: Mac(row.mac),
                host_mac: Mac(row.node_mac),
                netns: String::new(),
                netns_cookie: cookies.get(&row.id).copied().unwrap_or(0),
                identity: IdentityId(row.identity),
                restored: true,
            })
        })
        .collect()
}
