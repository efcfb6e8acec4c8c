//! One node with two pods, as an agent makes it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use pleopod_abi::node::NodeValue;
use pleopod_abi::{Addr16, Config, time};
use pleopod_apply::attach::{Attach, Hooks};
use pleopod_apply::base::{self, Base, BaseSpec};
use pleopod_apply::ct::Connections;
use pleopod_apply::kernel;
use pleopod_apply::pod::{self, PodSpec};
use pleopod_apply::routes::Routes;
use pleopod_apply::tables::Tables;
use pleopod_apply::uninstall::{self, Removed};
use pleopod_model::desired::{
    Backend, Desired, Endpoint, Frontend, FrontendKey, FrontendKind, IpcacheEntry, IpcacheSource, LocalPod,
    Route,
};
use pleopod_model::intent::Protocol;
use pleopod_model::{IdentityId, ObjectName};
use pleopod_sys_bpf::{LoadOptions, Loaded, mount};
use pleopod_sys_link::Netlink;
use pleopod_sys_netns::Guard;

pub const ROUTER: &str = "172.16.0.12";
pub const PODS: [&str; 2] = ["172.16.0.101", "172.16.0.102"];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What outlives an agent: namespaces, bpffs, cgroup.
pub struct Node {
    pub node: Guard,
    pub pods: Vec<Guard>,
    bpffs: PathBuf,
    pub cgroup: PathBuf,
    /// How its agents attach programs.
    pub attach: Attach,
}

/// What an agent holds in memory.
pub struct Agent {
    pub loaded: Loaded,
    pub hooks: Hooks,
    pub base: Base,
    pub tables: Tables,
    pub routes: Routes,
    pub connections: Connections,
    pub local: Vec<LocalPod>,
}

// === impl Node ===

impl Node {
    pub fn new() -> Self {
        Self::with(Attach::Auto)
    }

    pub fn with(attach: Attach) -> Self {
        let name = format!("pleo-t-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let bpffs = std::env::temp_dir().join(&name);
        mount::ensure_bpffs(&bpffs).unwrap();
        let cgroup = mount::find_cgroup2().unwrap().expect("cgroup2 is mounted").join(&name);
        fs::create_dir(&cgroup).unwrap();
        let pods = PODS.iter().map(|_| Guard::new("pod").unwrap()).collect();
        Self { node: Guard::new("node").unwrap(), pods, bpffs, cgroup, attach }
    }

    /// Starts an agent: everything it does at its start.
    pub fn agent(&self) -> Agent {
        self.node.run(|| self.agent_here()).unwrap()
    }

    fn agent_here(&self) -> Agent {
        let router: Vec<IpAddr> = vec![ROUTER.parse().unwrap()];
        let mut netlink = Netlink::open().unwrap();
        let spec = BaseSpec { addresses: router.clone(), mtu: 1500 };
        let base = base::prepare(&mut netlink, &spec).unwrap();
        let config = Config {
            host_ifindex: base.host.index,
            net_ifindex: base.net.index,
            event_interval: time::millis_to_ticks(1000),
            router4: Addr16::from_ip(router[0]),
            ..Config::STANDARD
        };
        let options = LoadOptions { pins: self.bpffs.join("pleopod"), config, max_entries: vec![] };
        let loaded = Loaded::load(&options).unwrap_or_else(|error| panic!("{error}"));
        let hooks = Hooks::new(&loaded, self.attach).unwrap();
        kernel::set_node(&loaded, &NodeValue::default()).unwrap();
        let mut tables = kernel::tables(&loaded, 1021).unwrap();
        hooks.sweep().unwrap();
        hooks.base(&base).unwrap();
        hooks.sockets(&self.cgroup).unwrap();
        let mut routes = Routes::new(Netlink::open().unwrap(), base.host.index);
        routes.load().unwrap();

        let made: Vec<_> = (0..PODS.len()).map(|n| self.pod(&mut netlink, n, &router)).collect();
        let local: Vec<LocalPod> = made.iter().map(|(local, _)| local.clone()).collect();
        let desired = desired(&local);
        tables.converge(&desired);
        assert_eq!(tables.failed(), []);
        for (local, _) in &made {
            hooks.pod(&local.ifname, local.ifindex).unwrap();
            pod::open(&mut netlink, local.ifindex).unwrap();
        }
        routes.converge(&desired.routes);
        assert_eq!(routes.errors(), 0, "{:?}", routes.rows());
        let connections = Connections::new(&loaded).unwrap();
        Agent { loaded, hooks, base, tables, routes, connections, local }
    }

    fn pod(&self, netlink: &mut Netlink, n: usize, router: &[IpAddr]) -> (LocalPod, bool) {
        let container = format!("container-{n}");
        let ifname = pod::host_ifname(&container, "eth0");
        let (mac, node_mac) = pod::macs(&container, "eth0");
        let spec = PodSpec {
            pod: &format!("default/pod{n}"),
            host_ifname: &ifname,
            ifname: "eth0",
            netns: self.pods[n].netns(),
            addresses: &[PODS[n].parse().unwrap()],
            router,
            mac,
            node_mac,
            mtu: 1500,
        };
        let link = pod::create(netlink, &spec).unwrap();
        let local = LocalPod {
            id: 100 + n as u16,
            pod: ObjectName::new("default", format!("pod{n}")),
            ifindex: link.ifindex,
            ifname,
            mac,
            node_mac,
            netns_cookie: link.netns_cookie,
            identity: IdentityId(1000 + n as u32),
        };
        (local, link.restored)
    }

    /// Takes out of the kernel what agents have put there.
    pub fn uninstall(&self) -> Removed {
        self.node.run(|| uninstall::uninstall(&self.bpffs.join("pleopod"))).unwrap().unwrap()
    }

    /// A program of the host's in a namespace and in the node's cgroup, its input and output piped.
    pub fn command(&self, netns: &Guard, line: &str) -> Child {
        // Not `ip netns exec`: that hides /sys, and the cgroup with it.
        let script = format!("echo $$ > {}/cgroup.procs && exec {line}", self.cgroup.display());
        Command::new("nsenter")
            .arg(format!("--net={}", netns.path().display()))
            .args(["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Whoever is left in the cgroup is ours: only `command` puts processes there.
        fs::write(self.cgroup.join("cgroup.kill"), "1").ok();
        nix::mount::umount2(&self.bpffs, nix::mount::MntFlags::MNT_DETACH).ok();
        fs::remove_dir(&self.bpffs).ok();
        for _ in 0..100 {
            if fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("{} is left", self.cgroup.display());
    }
}

fn desired(local: &[LocalPod]) -> Desired {
    let mut desired = Desired::default();
    let router: IpAddr = ROUTER.parse().unwrap();
    desired.endpoints.insert(router, Endpoint::Host { identity: IdentityId::HOST });
    desired.routes.insert("172.16.0.0/24".parse().unwrap(), Route::Router);
    for (pod, address) in local.iter().zip(PODS) {
        let address: IpAddr = address.parse().unwrap();
        let entry =
            IpcacheEntry { identity: pod.identity, tunnel_endpoint: None, source: IpcacheSource::AgentLocal };
        desired.endpoints.insert(address, Endpoint::Pod(pod.clone()));
        desired.namespaces.insert(pod.netns_cookie, pod.id);
        desired.ipcache.insert(address.into(), entry);
        desired.routes.insert(address.into(), Route::Pod { ifindex: pod.ifindex, mac: pod.mac });
    }
    desired
}

/// One frontend with these backends.
pub fn service(address: &str, protocol: Protocol, backends: &[&str]) -> BTreeMap<FrontendKey, Frontend> {
    let backends = backends.iter().map(|address| Backend::new(address.parse().unwrap()));
    let frontend = Frontend::new(ObjectName::new("default", "svc"), FrontendKind::ClusterIP, backends);
    BTreeMap::from([(FrontendKey { address: address.parse::<SocketAddr>().unwrap(), protocol }, frontend)])
}
