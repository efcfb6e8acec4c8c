//! A node made of network namespaces, for real packets: pods on veth pairs, an uplink to a far host.

use crate::loaded;
use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use pleopod_abi::{
    Addr16, Config,
    endpoint::{EndpointKey, EndpointValue, endpoint_flags},
    ipcache::{IpcacheKey, IpcacheValue},
    lb::{LbFrontendKey, LbFrontendValue},
    node::NodeValue,
};
use std::{
    fs::File,
    net::IpAddr,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// Identity of pod n is this plus n.
pub const IDENTITY: u32 = 1000;

/// Namespaces `node`, `pod1`, `pod2`, `far` (behind the uplink), removed when dropped.
pub struct Net {
    prefix: String,
    config: Config,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Net {
    pub fn new(config: Config) -> Self {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self { prefix: format!("pleo-t-{}-{n}-", std::process::id()), config };
        for ns in ["node", "pod1", "pod2", "far"] {
            run("ip", &["netns", "add", &net.ns(ns)]);
            net.sh(ns, "ip link set lo up; sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
        }
        net.sh("node", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
        net.sh("node", "ip link add pleo_host type veth peer name pleo_net; ip addr add 10.1.0.1/32 dev pleo_host; ip -6 addr add fd01::1/128 dev pleo_host; ip link set pleo_host arp off; ip link set pleo_host up; ip link set pleo_net up; ip route add 10.1.0.0/24 dev pleo_host; ip -6 route add fd01::/64 dev pleo_host");
        for n in [1u8, 2] {
            let pod = format!("pod{n}");
            let pod_ns = net.ns(&pod);
            net.sh("node", &format!(
                "ip link add lxc{n} address 02:00:00:00:01:0{n} type veth peer name eth0 address 02:00:00:00:02:0{n} netns {pod_ns}; \
                 ip link set lxc{n} up"));
            net.sh(&pod, &format!(
                "ip link set eth0 up; ip addr add 10.1.0.1{n}/32 dev eth0; ip -6 addr add fd01::1{n}/128 dev eth0 nodad; \
                 ip route add 10.1.0.1 dev eth0 scope link; ip route add default via 10.1.0.1; \
                 ip neigh add 10.1.0.1 lladdr 02:00:00:00:01:0{n} dev eth0 nud permanent; \
                 ip -6 route add fd01::1 dev eth0; ip -6 route add default via fd01::1 dev eth0; \
                 ip -6 neigh add fd01::1 lladdr 02:00:00:00:01:0{n} dev eth0 nud permanent"));
            net.sh("node", &format!(
                "ip route add 10.1.0.1{n}/32 dev lxc{n} scope link; ip neigh add 10.1.0.1{n} lladdr 02:00:00:00:02:0{n} dev lxc{n} nud permanent; \
                 ip -6 route add fd01::1{n}/128 dev lxc{n}; ip -6 neigh add fd01::1{n} lladdr 02:00:00:00:02:0{n} dev lxc{n} nud permanent"));
        }
        let far = net.ns("far");
        net.sh("node", &format!(
            "ip link add up0 type veth peer name eth0 netns {far}; ip link set up0 up; ip addr add 192.0.2.1/24 dev up0; ip -6 addr add 2001:db8::1/64 dev up0 nodad"));
        net.sh("far", "ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0; ip -6 addr add 2001:db8::2/64 dev eth0 nodad; \
            ip route add 10.1.0.0/24 via 192.0.2.1; ip -6 route add fd01::/64 via 2001:db8::1");
        net.sh("node", "ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2");
        net
    }

    pub fn ns(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a shell line in a namespace; it must succeed.
    pub fn sh(&self, ns: &str, line: &str) -> String {
        let out = self.try_sh(ns, line);
        assert!(
            out.status.success(),
            "in {ns}: {line}\n{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Runs a shell line in a namespace.
    pub fn try_sh(&self, ns: &str, line: &str) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.ns(ns), "sh", "-ec", line])
            .stdin(Stdio::null())
            .output()
            .expect("ip netns exec")
    }

    /// Starts a process in a namespace.
    pub fn spawn(&self, ns: &str, command: &[&str]) -> Running {
        let mut child = Command::new("ip");
        child.args(["netns", "exec", &self.ns(ns)]).args(command);
        child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(child.spawn().expect("ip netns exec"))
    }

    /// Runs `body` on a thread inside a namespace.
    pub fn inside<T: Send>(&self, ns: &str, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.ns(ns))).expect("the namespace");
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    rustix::thread::move_into_link_name_space(
                        std::os::fd::AsFd::as_fd(&file),
                        Some(rustix::thread::LinkNameSpaceType::Network),
                    )
                    .expect("setns");
                    body()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn ifindex(&self, link: &str) -> u32 {
        self.sh("node", &format!("ip -o link show {link} | cut -d: -f1")).trim().parse().expect("a number")
    }

    /// The object with the maps filled for this node; no program is loaded.
    pub fn fill(&self, config: &Config) -> Ebpf {
        let mut ebpf = loaded::object(config);
        loaded::place_calls(&mut ebpf);
        for n in [1u8, 2] {
            for addr in [format!("10.1.0.1{n}"), format!("fd01::1{n}")] {
                let value = EndpointValue {
                    ifindex: self.ifindex(&format!("lxc{n}")),
                    identity: IDENTITY + u32::from(n),
                    id: 100 + u16::from(n),
                    flags: 0,
                    mac: [2, 0, 0, 0, 2, n],
                    node_mac: [2, 0, 0, 0, 1, n],
                };
                loaded::put(&mut ebpf, "pleo_endpoints", &EndpointKey { addr: addr16(&addr) }, &value);
                loaded::put(
                    &mut ebpf,
                    "pleo_ipcache",
                    &IpcacheKey { addr: addr16(&addr) },
                    &IpcacheValue { identity: value.identity, ..IpcacheValue::default() },
                );
            }
        }
        let away = IpcacheValue { identity: IDENTITY + 5, flags: 0, tunnel_endpoint: addr16("192.0.2.2") };
        loaded::put(&mut ebpf, "pleo_ipcache", &IpcacheKey { addr: addr16("10.1.1.5") }, &away);
        for addr in ["10.1.0.1", "192.0.2.1", "fd01::1", "2001:db8::1"] {
            let value =
                EndpointValue { identity: 1, flags: endpoint_flags::HOST, ..EndpointValue::default() };
            loaded::put(&mut ebpf, "pleo_endpoints", &EndpointKey { addr: addr16(addr) }, &value);
        }
        for addr in ["10.96.0.10", "fd96::10"] {
            let any = LbFrontendKey::any_port(addr16(addr));
            loaded::put(&mut ebpf, "pleo_lb_fe", &any, &LbFrontendValue::default());
        }
        let node = NodeValue {
            uplink_ifindex: self.ifindex("up0"),
            uplink_mtu: 1500,
            addr4: addr16("192.0.2.1"),
            addr6: addr16("2001:db8::1"),
        };
        loaded::set(&mut ebpf, "pleo_node", 0, &node);
        ebpf
    }

    /// Fills the maps and attaches all classifiers.
    pub fn attach(&self) -> Ebpf {
        let mut ebpf = self.fill(&self.config);
        self.inside("node", || {
            for (program, link, hook) in [
                ("from_pod", "lxc1", TcAttachType::Ingress),
                ("from_pod", "lxc2", TcAttachType::Ingress),
                ("to_pod", "lxc1", TcAttachType::Egress),
                ("to_pod", "lxc2", TcAttachType::Egress),
                ("from_uplink", "up0", TcAttachType::Ingress),
                ("to_uplink", "up0", TcAttachType::Egress),
                ("from_host", "pleo_host", TcAttachType::Egress),
                ("to_host", "pleo_host", TcAttachType::Ingress),
                ("to_host", "pleo_net", TcAttachType::Ingress),
            ] {
                let classifier: &mut SchedClassifier =
                    ebpf.program_mut(program).expect(program).try_into().expect("a classifier");
                if classifier.fd().is_err() {
                    classifier.load().expect(program);
                }
                classifier.attach(link, hook).expect(link);
            }
        });
        ebpf
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for ns in ["pod1", "pod2", "far", "node"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(ns)]).status();
        }
    }
}

/// A process that ends with the test.
pub struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect(program);
    assert!(status.success(), "{program} {args:?}");
}

pub fn addr16(text: &str) -> Addr16 {
    Addr16::from(text.parse::<IpAddr>().expect(text))
}
