//! The agent's hold on the kernel: the parts of `apply` put together for one node. Lives in the core's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pleopod_abi::config::config_flags;
use pleopod_abi::endpoint::EndpointKey;
use pleopod_abi::ipcache::{IpcacheKey, IpcacheLpmKey};
use pleopod_abi::node::NodeValue;
use pleopod_abi::{Addr16, Config as BpfConfig, time};
use pleopod_apply::attach::{Hook, Hooks};
use pleopod_apply::balance::maglev;
use pleopod_apply::base::{self, Base, BaseSpec};
use pleopod_apply::ct::Connections;
use pleopod_apply::ct::sweeper::Sweeper;
use pleopod_apply::encode::service::BackendKey;
use pleopod_apply::metrics::{Metric, MetricKind};
use pleopod_apply::pod::{self, PodSpec, reaper::Reaper};
use pleopod_apply::routes::Routes;
use pleopod_apply::tables::Tables;
use pleopod_apply::{kernel, sockets};
use pleopod_ipam::Lease;
use pleopod_model::desired::{Desired, Frontend, FrontendKey, LocalPod};
use pleopod_model::observed::{Row, RowState};
use pleopod_sys_bpf::{LoadOptions, Loaded, Reuse};
use pleopod_sys_link::{Link, Netlink, Target};
use pleopod_sys_netns::Netns;

use crate::config::Config;
use crate::log::one_line;

/// Everything of the kernel that the agent holds.
pub struct Hands {
    netlink: Netlink,
    loaded: Loaded,
    hooks: Hooks,
    tables: Tables,
    routes: Routes,
    connections: Arc<Connections>,
    sweeper: Sweeper,
    /// How many connections `pleo_ct` holds at most.
    ct_entries: usize,
    reaper: Reaper,
    base: Base,
    base_spec: BaseSpec,
    uplinks: Vec<Link>,
    /// Whether packets can leave by them, as of the last look.
    uplink_state: Result<String, String>,
    /// The node's own addresses.
    node: Vec<IpAddr>,
    /// What the programs were loaded with.
    bpf: BpfConfig,
    mtu: u32,
    /// Paths of the namespaces of local pods, by endpoint number.
    namespaces: BTreeMap<u16, String>,
    /// cgroup2 directory for the socket programs.
    cgroup: PathBuf,
    /// Pods that were there before this agent and have the programs of an earlier one.
    adopted: Vec<LocalPod>,
    /// Addresses of pods that went since the last sweep of connections.
    departed: Vec<IpAddr>,
    next_sweep: Instant,
    next_look: Instant,
}

/// What the hands need to know at start.
pub struct Start {
    /// The node's own addresses.
    pub node: Vec<IpAddr>,
    /// Router addresses, one of each family.
    pub router: Vec<IpAddr>,
    /// Health addresses.
    pub health: Vec<IpAddr>,
    /// Prefixes that pods reach with their own address.
    pub native: Vec<ipnet::IpNet>,
    /// cgroup2 directory for the socket programs.
    pub cgroup: PathBuf,
}

/// How often expired connections are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often links and hooks are looked over.
const LOOK_EVERY: Duration = Duration::from_secs(5);

// === impl Hands ===

impl Hands {
    /// Prepares the node and loads the programs. What an agent before this one attached stays in force until
    /// [`Self::attach`]: its maps may be others than ours, and ours may still be empty.
    pub fn start(config: &Config, start: &Start) -> anyhow::Result<Self> {
        let mut netlink = Netlink::open()?;
        let uplinks = base::uplinks(&mut netlink, &config.uplinks, &start.node)?;
        let smallest = uplinks.iter().map(|l| l.mtu).min().unwrap_or(1500);
        let mtu = config.mtu.unwrap_or(smallest);
        if mtu > smallest {
            anyhow::bail!(
                "config: mtu is {mtu}, more than the {smallest} of the uplink; packets of that size would not leave the node"
            );
        }
        let addresses = start.router.iter().chain(&start.health).copied().collect();
        let base_spec = BaseSpec { addresses, mtu };
        let base = base::prepare(&mut netlink, &base_spec)?;
        let bpf = bpf_config(config, start, &base)?;
        let options = LoadOptions {
            pins: config.bpffs.join("pleopod"),
            config: bpf,
            max_entries: vec![
                ("pleo_ct", config.ct_entries),
                // Each has a row, and its address has one.
                ("pleo_lb_fe", config.lb_frontends.saturating_mul(2)),
                ("pleo_lb_addr", config.lb_frontends),
                ("pleo_lb_turn", config.lb_frontends),
                ("pleo_lb_be", config.lb_backends),
                ("pleo_lb_table", config.lb_table_entries),
            ],
        };
        let loaded = Loaded::load(&options)?;
        for (map, reuse) in loaded.reuse() {
            if let Reuse::Replaced { why } = reuse {
                tracing::warn!(map, why, "a pinned map could not be used again; it starts empty");
            }
        }
        kernel::set_node(&loaded, &node_value(&uplinks, &start.node, mtu))?;
        let hooks = Hooks::new(&loaded, config.attach)?;
        let swept = hooks.sweep()?;
        if !swept.is_empty() {
            tracing::info!(?swept, "links of interfaces that are gone were removed");
        }
        let tables = kernel::tables(&loaded, maglev::size(config.maglev_table_size))?;
        let mut routes = Routes::new(Netlink::open()?, base.host.index);
        routes.load()?;
        let connections = Arc::new(Connections::new(&loaded)?);
        Ok(Self {
            sweeper: Sweeper::start(connections.clone())?,
            ct_entries: usize::try_from(config.ct_entries).unwrap_or(usize::MAX),
            connections,
            reaper: Reaper::start()?,
            netlink,
            hooks,
            tables,
            routes,
            base,
            base_spec,
            uplink_state: uplink_state(&uplinks),
            uplinks,
            node: start.node.clone(),
            bpf,
            mtu,
            namespaces: BTreeMap::new(),
            cgroup: start.cgroup.clone(),
            adopted: Vec::new(),
            departed: Vec::new(),
            next_sweep: Instant::now() + SWEEP_EVERY,
            next_look: Instant::now(),
            loaded,
        })
    }

    /// Attaches the programs, or puts them in the place of those of an earlier agent, and opens the pods that were there.
    /// Call it once the tables hold what they should: no packet finds an empty map.
    pub fn attach(&mut self) -> anyhow::Result<()> {
        self.hooks.base(&self.base)?;
        if self.hooks.is_by_tc() {
            tracing::info!("programs are attached to interfaces by filters of tc");
        }
        for uplink in &self.uplinks {
            self.hooks.uplink(uplink)?;
        }
        self.hooks.sockets(&self.cgroup)?;
        for local in std::mem::take(&mut self.adopted) {
            let hooked = self.hooks.pod(&local.ifname, local.ifindex);
            if let Err(error) = hooked.and_then(|()| pod::open(&mut self.netlink, local.ifindex)) {
                tracing::error!(pod = %local.pod, %error, "taking over");
            }
        }
        Ok(())
    }

    /// MTU of pods.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Host sides of pods that are there, by name, and the aliases that say whose they are.
    pub fn pod_links(&mut self) -> anyhow::Result<Vec<Link>> {
        for link in pod::doomed(&mut self.netlink)? {
            self.reaper.remove(link.index)?;
        }
        Ok(pod::list(&mut self.netlink)?)
    }

    /// Indices of the host sides that are there.
    pub fn pod_indices(&mut self) -> anyhow::Result<BTreeSet<u32>> {
        Ok(pod::list(&mut self.netlink)?.into_iter().map(|link| link.index).collect())
    }

    /// The rows of `pleo_endpoints` as they were found: the record of who had which address when the journal is lost.
    pub fn found_endpoints(&self) -> Vec<(IpAddr, pleopod_abi::endpoint::EndpointValue)> {
        self.tables.endpoints.rows().iter().map(|(k, v)| (k.addr.to_ip(), *v)).collect()
    }

    /// The namespaces of `pleo_netns` as they were found, by endpoint number.
    pub fn found_namespaces(&self) -> BTreeMap<u16, u64> {
        self.tables.namespaces.rows().iter().map(|(k, v)| (v.id, k.cookie)).collect()
    }

    /// Takes an interface away that no lease knows.
    pub fn remove_stray(&mut self, link: &Link) {
        if let Err(error) = self.reaper.remove(link.index) {
            tracing::warn!(%error, link = link.name, "removing");
        }
        if let Err(error) = self.hooks.release_pod(&link.name) {
            tracing::warn!(%error, link = link.name, "releasing");
        }
    }

    /// Takes a pod over that was there before this agent; [`Self::attach`] gives it today's programs.
    pub fn adopt_pod(&mut self, local: &LocalPod, netns: &str) {
        self.namespaces.insert(local.id, netns.to_owned());
        self.adopted.push(local.clone());
    }

    /// Makes a pod's interface with its programs; it stays closed until [`Self::open_pod`].
    pub fn create_pod(
        &mut self,
        lease: &Lease,
        netns: &Netns,
        router: &[IpAddr],
    ) -> anyhow::Result<LocalPod> {
        let names = Names::of(lease);
        let created = pod::create(&mut self.netlink, &names.spec(lease, netns, router, self.mtu))?;
        let local = LocalPod {
            id: lease.endpoint_id,
            pod: lease.pod.clone(),
            ifindex: created.ifindex,
            ifname: names.host.clone(),
            mac: names.mac,
            node_mac: names.node_mac,
            netns_cookie: created.netns_cookie,
            identity: lease.identity,
        };
        if let Err(error) = self.hooks.pod(&local.ifname, local.ifindex) {
            // Closed and without programs it would only be in the way of the next try.
            self.reaper.remove(local.ifindex).ok();
            return Err(error.into());
        }
        self.namespaces.insert(lease.endpoint_id, lease.netns.clone());
        Ok(local)
    }

    /// Why a pod's packets would find nobody: its row in `pleo_endpoints` or `pleo_ipcache` could not be written.
    pub fn missing_row(&self, addresses: &[IpAddr]) -> Option<String> {
        addresses.iter().find_map(|address| {
            let addr = Addr16::from_ip(*address);
            let endpoints = self.tables.endpoints.errors().get(&EndpointKey { addr });
            let ipcache = self.tables.ipcache.errors().get(&IpcacheKey { addr });
            let why = |map: &str, why: &String| format!("{map} {address}: {why}");
            endpoints.map(|e| why("endpoints", e)).or_else(|| ipcache.map(|e| why("ipcache", e)))
        })
    }

    /// Lets packets pass: everything that must hold before is in the kernel.
    pub fn open_pod(&mut self, local: &LocalPod) -> anyhow::Result<()> {
        Ok(pod::open(&mut self.netlink, local.ifindex)?)
    }

    /// Takes a pod's interface away. Its rows must be gone already; the interface dies in its own time.
    pub fn remove_pod(&mut self, lease: &Lease, local: Option<&LocalPod>) -> anyhow::Result<()> {
        let (name, index) = match local {
            Some(local) => (local.ifname.clone(), Some(local.ifindex)),
            // Half made, or half removed the last time.
            None => {
                let name = Names::of(lease).host;
                let link = self.netlink.link(Target::Name(&name))?.filter(|link| link.kind == "veth");
                (name, link.map(|link| link.index))
            }
        };
        if let Some(index) = index {
            self.reaper.remove(index)?;
        }
        self.hooks.release_pod(&name)?;
        self.namespaces.remove(&lease.endpoint_id);
        self.adopted.retain(|pod| pod.id != lease.endpoint_id);
        self.departed.extend(&lease.addresses);
        Ok(())
    }

    /// Everything about a pod's interface that is not as ADD left it.
    pub fn check_pod(
        &mut self,
        lease: &Lease,
        netns: &Netns,
        router: &[IpAddr],
    ) -> anyhow::Result<Vec<String>> {
        let names = Names::of(lease);
        Ok(pod::check::check(&mut self.netlink, &names.spec(lease, netns, router, self.mtu))?)
    }

    /// Makes every map but those of Services hold what is desired. Answers the rows changed.
    pub fn converge_tables(&mut self, desired: &Desired) -> usize {
        self.tables.converge(desired)
    }

    /// Makes the routes those that are desired. Answers how many changed. The kernel takes a route only when its
    /// interface is up, so pods are opened first.
    pub fn converge_routes(&mut self, desired: &Desired) -> usize {
        self.routes.converge(&desired.routes)
    }

    /// Both of the above, when no pod waits to be opened.
    pub fn converge(&mut self, desired: &Desired) -> usize {
        self.converge_tables(desired) + self.converge_routes(desired)
    }

    /// Makes Services hold what is planned, and ends UDP sockets of backends that are gone. Answers the rows changed.
    pub fn services(
        &mut self,
        frontends: &BTreeMap<FrontendKey, Frontend>,
        only: Option<&BTreeSet<FrontendKey>>,
    ) -> usize {
        let (changed, removed) = self.tables.converge_services(frontends, only);
        self.end_sockets(&removed);
        changed
    }

    fn end_sockets(&mut self, removed: &[BackendKey]) {
        if !removed.iter().any(|(_, protocol)| *protocol == pleopod_model::intent::Protocol::Udp) {
            return;
        }
        let pods = self.open_namespaces();
        let (ended, errors) = sockets::end_stale(removed, &pods, &self.connections.reverse);
        if ended > 0 {
            tracing::info!(ended, "UDP sockets of removed backends ended");
        }
        for error in errors {
            tracing::warn!(%error, "UDP sockets of removed backends not ended");
        }
    }

    /// Namespaces of local pods, by the paths the runtime gave; those that are gone have no sockets.
    fn open_namespaces(&self) -> Vec<Netns> {
        self.namespaces.values().filter_map(|path| Netns::open(path).ok()).collect()
    }

    /// Reads the kernel's tables anew.
    pub fn reload(&mut self) -> anyhow::Result<()> {
        self.tables.load()?;
        Ok(self.routes.load()?)
    }

    /// Reads the routes anew; the kernel takes those of a link that goes down away without a word.
    pub fn reload_routes(&mut self) -> anyhow::Result<()> {
        Ok(self.routes.load()?)
    }

    /// Names of the node's own links: those whose going takes routes with it.
    pub fn own_links(&self) -> Vec<String> {
        let base = [&self.base.host, &self.base.net];
        base.into_iter().chain(&self.uplinks).map(|link| link.name.clone()).collect()
    }

    /// Rows that could not be written.
    pub fn failed(&self) -> Vec<Row> {
        let routes = self.routes.rows().into_iter().filter(|r| r.state != RowState::Sync);
        self.tables.failed().into_iter().chain(routes).collect()
    }

    /// The synced tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The routes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The loaded object.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// What the programs write; to be walked on another thread than the core's.
    pub fn connections(&self) -> Arc<Connections> {
        self.connections.clone()
    }

    /// What the programs were loaded with, as keys and values for people.
    pub fn bpf_config(&self) -> Vec<(&'static str, String)> {
        let c = &self.bpf;
        let has = |flag: u32| (c.flags & flag != 0).to_string();
        let prefix = |addr: Addr16, len: u32| {
            if len == 0 { "-".into() } else { format!("{addr} ({len} of 128 bits)") }
        };
        vec![
            ("layout", c.layout.to_string()),
            ("flow-events", has(config_flags::FLOW_EVENTS)),
            ("sock-events", has(config_flags::SOCK_EVENTS)),
            ("event-per-packet", has(config_flags::EVENT_PER_PACKET)),
            ("masquerade", has(config_flags::MASQUERADE)),
            ("socket-lb", has(config_flags::SOCKET_LB)),
            ("conntrack", has(config_flags::CONNTRACK)),
            ("anti-spoof", has(config_flags::ANTI_SPOOF)),
            ("service-packets", has(config_flags::SERVICE_PACKETS)),
            (
                "event-interval-ms",
                (u64::from(c.event_interval) << time::TICK_SHIFT).div_euclid(1_000_000).to_string(),
            ),
            ("host-ifindex", c.host_ifindex.to_string()),
            ("net-ifindex", c.net_ifindex.to_string()),
            ("native4", prefix(c.native4, c.native4_prefixlen)),
            ("native6", prefix(c.native6, c.native6_prefixlen)),
            ("router4", c.router4.to_string()),
            ("router6", c.router6.to_string()),
            ("nat-ports", format!("{}-{}", c.nat_port_min, c.nat_port_max)),
        ]
    }

    /// Every program at its hook.
    pub fn hooks(&self) -> anyhow::Result<Vec<Hook>> {
        Ok(self.hooks.list()?)
    }

    /// The programs' counters.
    pub fn metrics(&self) -> Vec<Metric> {
        pleopod_apply::metrics::read(&self.loaded).unwrap_or_default()
    }

    /// Flow and socket events that found the ring full.
    pub fn lost_events(&self) -> u64 {
        use pleopod_abi::metrics::counter::{FLOW_EVENT_LOST, SOCK_EVENT_LOST};
        let lost = |m: &Metric| {
            m.kind == MetricKind::Counter && (m.reason == FLOW_EVENT_LOST || m.reason == SOCK_EVENT_LOST)
        };
        self.metrics().iter().filter(|m| lost(m)).map(|m| m.packets).sum()
    }

    /// When [`Self::chores`] or [`Self::look_after_links`] next has something to do.
    pub fn next_chore(&self) -> Instant {
        self.next_sweep.min(self.next_look)
    }

    /// How full the last sweep found the table of connections; `Err` when it is so full that the kernel, which makes room
    /// ahead of need, may take away connections that are alive.
    pub fn connections_state(&self) -> Result<String, String> {
        let live = self.sweeper.last().map_or(0, |sweep| sweep.ct.live);
        let held = format!("{live} of at most {} connections are tracked", self.ct_entries);
        if live >= self.ct_entries / 4 * 3 {
            Err(format!("{held}; those longest unused are forgotten to make room; raise ct-entries"))
        } else {
            Ok(held)
        }
    }

    /// What comes with time: expired connections go (on a thread of their own), and pins of links whose interface vanished.
    pub fn chores(&mut self, now: Instant) {
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_EVERY;
            self.sweeper.order(monotonic(), std::mem::take(&mut self.departed));
            match self.hooks.sweep() {
                Ok(swept) if swept.is_empty() => {}
                Ok(swept) => tracing::info!(?swept, "links of interfaces that are gone were removed"),
                Err(error) => tracing::warn!(%error, "sweeping links; tried again in 10 s"),
            }
        }
    }

    /// Looks over the node's own links and their hooks, and puts right what differs. An error is for good: the programs
    /// know `pleo_host` and `pleo_net` by numbers they were loaded with.
    pub fn look_after_links(&mut self, now: Instant) -> anyhow::Result<()> {
        self.next_look = now + LOOK_EVERY;
        for held in [&self.base.host, &self.base.net] {
            match self.netlink.link(Target::Name(&held.name)) {
                Ok(Some(link)) if link.index == held.index => {}
                Ok(_) => anyhow::bail!(
                    "link {} was taken away; the agent ends, its next start makes it anew",
                    held.name
                ),
                Err(error) => tracing::warn!(%error, "looking over {}", held.name),
            }
        }
        if let Err(error) = base::prepare(&mut self.netlink, &self.base_spec) {
            tracing::warn!(%error, "looking over {}", base::HOST_IFNAME);
        }
        self.look_after_uplinks();
        if let Err(error) = self.hooks.renew(&self.base, &self.uplinks) {
            tracing::warn!(%error, "looking over the node's filters");
        }
        Ok(())
    }

    /// The node has other addresses now: packets to the world leave with them. Uplinks stay those found at the start.
    pub fn follow_addresses(&mut self, node: &[IpAddr]) {
        self.node = node.to_vec();
        if let Err(error) = kernel::set_node(&self.loaded, &node_value(&self.uplinks, &self.node, self.mtu)) {
            tracing::warn!(%error, "telling the programs the node's addresses");
        }
    }

    /// The node's own addresses: what its Node says, as it was told last.
    pub fn node(&self) -> &[IpAddr] {
        &self.node
    }

    /// Addresses that clients elsewhere may know the node by: of all its links but its own, no loopback and no link-local ones.
    pub fn addresses(&mut self) -> anyhow::Result<Vec<IpAddr>> {
        let own = [self.base.host.index, self.base.net.index];
        let local = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        let all = self.netlink.addresses(None)?.into_iter();
        let others = all.filter(|a| !own.contains(&a.ifindex)).map(|a| a.net.addr());
        Ok(others.filter(|a| !local(a)).collect())
    }

    /// Whether packets can leave by the uplinks, as of the last look.
    pub fn uplink_state(&self) -> Result<String, String> {
        self.uplink_state.clone()
    }

    /// Whether it is time for [`Self::look_after_links`].
    pub fn look_is_due(&self, now: Instant) -> bool {
        now >= self.next_look
    }
}

impl Hands {
    /// An uplink that was taken away and came back has another index and no programs.
    fn look_after_uplinks(&mut self) {
        let names: Vec<String> = self.uplinks.iter().map(|l| l.name.clone()).collect();
        let now = match base::uplinks(&mut self.netlink, &names, &self.node) {
            Ok(now) => now,
            // Gone for now; looked for again at the next turn.
            Err(error) => {
                self.uplink_state = Err(error.to_string());
                return;
            }
        };
        self.uplink_state = uplink_state(&now);
        let same = |a: &Link, b: &Link| a.index == b.index && a.mtu == b.mtu;
        if now.len() == self.uplinks.len() && now.iter().zip(&self.uplinks).all(|(a, b)| same(a, b)) {
            return;
        }
        tracing::info!(uplinks = ?names, "uplinks changed; programs and facts follow");
        let follow = || -> anyhow::Result<()> {
            kernel::set_node(&self.loaded, &node_value(&now, &self.node, self.mtu))?;
            for uplink in &now {
                self.hooks.uplink(uplink)?;
            }
            Ok(())
        };
        match follow() {
            Ok(()) => self.uplinks = now,
            Err(error) => tracing::warn!(error = one_line(&error), "following the uplinks"),
        }
    }
}

/// Names and MACs of a lease's interface: those it has, or those it will get.
struct Names {
    pod: String,
    host: String,
    mac: pleopod_model::Mac,
    node_mac: pleopod_model::Mac,
}

// === impl Names ===

impl Names {
    fn of(lease: &Lease) -> Self {
        let (container, ifname) = (&lease.attachment.container_id, &lease.attachment.ifname);
        let pod = lease.pod.to_string();
        if lease.host_ifname.is_empty() {
            let (mac, node_mac) = pod::macs(container, ifname);
            Self { pod, host: pod::host_ifname(container, ifname), mac, node_mac }
        } else {
            Self { pod, host: lease.host_ifname.clone(), mac: lease.pod_mac, node_mac: lease.host_mac }
        }
    }

    fn spec<'a>(&'a self, lease: &'a Lease, netns: &'a Netns, router: &'a [IpAddr], mtu: u32) -> PodSpec<'a> {
        PodSpec {
            pod: &self.pod,
            host_ifname: &self.host,
            ifname: &lease.attachment.ifname,
            netns,
            addresses: &lease.addresses,
            router,
            mac: self.mac,
            node_mac: self.node_mac,
            mtu,
        }
    }
}

/// One clause an uplink that is no use.
fn uplink_state(uplinks: &[Link]) -> Result<String, String> {
    let wrong = |link: &Link| match (link.up, link.running) {
        (true, true) => None,
        (true, false) => Some(format!("link {} has no carrier", link.name)),
        (false, _) => Some(format!("link {} is down", link.name)),
    };
    let wrong: Vec<String> = uplinks.iter().filter_map(wrong).collect();
    if wrong.is_empty() {
        let names: Vec<&str> = uplinks.iter().map(|link| link.name.as_str()).collect();
        Ok(format!("{} up", names.join(", ")))
    } else {
        Err(format!("{}; other nodes are not reached over it", wrong.join(", ")))
    }
}

/// CLOCK_MONOTONIC in nanoseconds, the clock of the programs.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The read-only data of the programs.
fn bpf_config(config: &Config, start: &Start, base: &Base) -> anyhow::Result<BpfConfig> {
    let mut flags = config_flags::SOCKET_LB
        | config_flags::SERVICE_PACKETS
        | config_flags::CONNTRACK
        | config_flags::ANTI_SPOOF;
    for (on, flag) in [
        (config.flows, config_flags::FLOW_EVENTS),
        (config.sock_events, config_flags::SOCK_EVENTS),
        (config.flow_interval == 0, config_flags::EVENT_PER_PACKET),
        (config.masquerade, config_flags::MASQUERADE),
    ] {
        if on {
            flags |= flag;
        }
    }
    let of = |list: &[IpAddr], v4: bool| {
        list.iter().find(|a| a.is_ipv4() == v4).map_or(Addr16::UNSPECIFIED, |a| Addr16::from_ip(*a))
    };
    let native = |v4: bool| -> anyhow::Result<(Addr16, u32)> {
        let mut nets = start.native.iter().filter(|n| n.addr().is_ipv4() == v4);
        let Some(net) = nets.next() else { return Ok((Addr16::UNSPECIFIED, 0)) };
        if let Some(second) = nets.next() {
            anyhow::bail!(
                "config: native-routing-cidrs has {net} and {second}; give one prefix for each family"
            );
        }
        let key = IpcacheLpmKey::new(Addr16::from_ip(net.network()), net.prefix_len())
            .with_context(|| format!("config: native-routing-cidrs: {net}"))?;
        Ok((key.addr, key.prefixlen))
    };
    let ((native4, native4_prefixlen), (native6, native6_prefixlen)) = (native(true)?, native(false)?);
    Ok(BpfConfig {
        flags,
        host_ifindex: base.host.index,
        net_ifindex: base.net.index,
        event_interval: time::millis_to_ticks(u64::from(config.flow_interval) * 1000),
        native4,
        native4_prefixlen,
        native6,
        native6_prefixlen,
        router4: of(&start.router, true),
        router6: of(&start.router, false),
        ..BpfConfig::STANDARD
    })
}

/// The facts that can change while the programs run.
fn node_value(uplinks: &[Link], node: &[IpAddr], mtu: u32) -> NodeValue {
    let of = |v4: bool| {
        node.iter().find(|a| a.is_ipv4() == v4).map_or(Addr16::UNSPECIFIED, |a| Addr16::from_ip(*a))
    };
    NodeValue {
        uplink_ifindex: uplinks.first().map_or(0, |l| l.index),
        uplink_mtu: uplinks.first().map_or(mtu, |l| l.mtu),
        addr4: of(true),
        addr6: of(false),
    }
}
