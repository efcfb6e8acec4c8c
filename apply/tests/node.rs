//! A node's base, its routes and its pods' interfaces, in namespaces of their own. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Instant;

use pleopod_apply::base::{self, BaseSpec};
use pleopod_apply::pod::{self, PodSpec, reaper::Reaper};
use pleopod_apply::routes::Routes;
use pleopod_model::desired::Route;
use pleopod_model::observed::RowState;
use pleopod_sys_link::{End, LinkChange, Netlink, ROUTE_PROTOCOL, RouteFilter, Target, VethSpec};
use pleopod_sys_netns::Guard;

const ROUTER: &str = "172.16.0.12";

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn base_spec() -> BaseSpec {
    BaseSpec { addresses: ips(&[ROUTER, "fd00:16::12"]), mtu: 9001 }
}

/// A pod's interface wanted under this container id.
struct Wanted {
    host_ifname: String,
    addresses: Vec<IpAddr>,
    router: Vec<IpAddr>,
    container: String,
}

impl Wanted {
    fn new(container: &str, addresses: &[&str]) -> Self {
        Self {
            host_ifname: pod::host_ifname(container, "eth0"),
            addresses: ips(addresses),
            router: ips(&[ROUTER, "fd00:16::12"]),
            container: container.into(),
        }
    }

    fn spec<'a>(&'a self, netns: &'a Guard) -> PodSpec<'a> {
        let (mac, node_mac) = pod::macs(&self.container, "eth0");
        PodSpec {
            pod: "default/netpod",
            host_ifname: &self.host_ifname,
            ifname: "eth0",
            netns: netns.netns(),
            addresses: &self.addresses,
            router: &self.router,
            mac,
            node_mac,
            mtu: 9001,
        }
    }
}

#[test]
fn the_base_is_made_once_and_kept() {
    let node = Guard::new("node").unwrap();
    node.run(|| {
        let mut nl = Netlink::open().unwrap();
        let made = base::prepare(&mut nl, &base_spec()).unwrap();
        assert!(!made.restored);
        assert!(made.host.up && made.net.up && !made.host.resolves);
        assert_eq!(made.host.mtu, 9001);
        let again = base::prepare(&mut nl, &base_spec()).unwrap();
        assert!(again.restored);
        assert_eq!((again.host.index, again.net.index), (made.host.index, made.net.index));
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");

        let moved = BaseSpec { addresses: ips(&["172.16.0.13"]), mtu: 1500 };
        let moved = base::prepare(&mut nl, &moved).unwrap();
        assert_eq!((moved.host.index, moved.host.mtu, moved.net.mtu), (made.host.index, 1500, 1500));
        let held: Vec<String> =
            nl.addresses(Some(made.host.index)).unwrap().iter().map(|a| a.net.to_string()).collect();
        assert_eq!(held, ["172.16.0.13/32"]);

        assert!(base::remove(&mut nl).unwrap());
        assert!(!base::remove(&mut nl).unwrap());
    })
    .unwrap();
}

#[test]
fn a_link_of_someone_else_is_not_taken() {
    let node = Guard::new("node").unwrap();
    node.run(|| {
        let mut nl = Netlink::open().unwrap();
        nl.create_link("pleo_host", pleopod_sys_link::Kind::Bridge).unwrap();
        let refused = base::prepare(&mut nl, &base_spec()).unwrap_err().to_string();
        assert!(refused.contains("pleo_host") && refused.contains("bridge"), "{refused}");
        assert!(nl.link(Target::Name("pleo_host")).unwrap().is_some());
    })
    .unwrap();
}

#[test]
fn uplinks_are_found_by_name_address_or_default_route() {
    let node = Guard::new("node").unwrap();
    let far = Guard::new("far").unwrap();
    let far_fd = far.netns();
    node.run(|| {
        use pleopod_sys_link::{End, Route, VethSpec};
        use std::os::fd::AsFd;
        let mut nl = Netlink::open().unwrap();
        let none = base::uplinks(&mut nl, &[], &ips(&["192.168.10.10"])).unwrap_err().to_string();
        assert!(none.contains("uplinks"), "{none}");
        nl.create_veth(&VethSpec {
            near: End { name: "ens5", mac: None, netns: None },
            far: End { name: "eth0", mac: None, netns: Some(far_fd.as_fd()) },
            mtu: 9001,
            alias: "",
        })
        .unwrap();
        let ens5 = nl.link(Target::Name("ens5")).unwrap().unwrap().index;
        nl.add_address(ens5, "192.168.10.10/24".parse().unwrap()).unwrap();
        nl.set_up(Target::Index(ens5)).unwrap();
        let names =
            |found: Vec<pleopod_sys_link::Link>| found.into_iter().map(|l| l.name).collect::<Vec<_>>();
        assert_eq!(names(base::uplinks(&mut nl, &[], &ips(&["192.168.10.10"])).unwrap()), ["ens5"]);
        assert!(base::uplinks(&mut nl, &[], &ips(&["192.168.10.99"])).is_err());
        nl.replace_route(&Route::via("0.0.0.0/0".parse().unwrap(), "192.168.10.1".parse().unwrap())).unwrap();
        assert_eq!(names(base::uplinks(&mut nl, &[], &ips(&["192.168.10.99"])).unwrap()), ["ens5"]);
        assert_eq!(names(base::uplinks(&mut nl, &["ens5".into()], &[]).unwrap()), ["ens5"]);
        let typo = base::uplinks(&mut nl, &["ens6".into()], &[]).unwrap_err().to_string();
        assert!(typo.contains("ens6") && typo.contains("ens5"), "{typo}");
    })
    .unwrap();
}

#[test]
fn a_pods_interface_lives_as_the_contract_says() {
    let node = Guard::new("node").unwrap();
    let pod_ns = Guard::new("pod").unwrap();
    let wanted = Wanted::new("c0ffee", &["172.16.0.230", "fd00:16::230"]);
    let link = node
        .run(|| {
            let mut nl = Netlink::open().unwrap();
            let base = base::prepare(&mut nl, &base_spec()).unwrap();
            let spec = wanted.spec(&pod_ns);
            let made = pod::create(&mut nl, &spec).unwrap();
            assert!(!made.restored);
            assert_eq!(made.netns_cookie, pod_ns.cookie().unwrap());
            let near = nl.link(Target::Index(made.ifindex)).unwrap().unwrap();
            assert!(!near.up, "nothing passes before open");
            assert_eq!(
                (near.name.as_str(), near.alias.as_str()),
                (wanted.host_ifname.as_str(), "default/netpod")
            );
            assert_eq!(near.name.len(), 15);
            assert_eq!(pod::check::check(&mut nl, &spec).unwrap(), [format!("{} is down", near.name)]);
            pod::open(&mut nl, made.ifindex).unwrap();
            assert_eq!(pod::check::check(&mut nl, &spec).unwrap(), [] as [String; 0]);

            let again = pod::create(&mut nl, &spec).unwrap();
            assert!(again.restored);
            assert_eq!(again.ifindex, made.ifindex);
            assert!(nl.link(Target::Index(made.ifindex)).unwrap().unwrap().up, "a restored one stays open");

            let mut routes = Routes::new(Netlink::open().unwrap(), base.host.index);
            routes.load().unwrap();
            let desired: BTreeMap<_, _> = wanted
                .addresses
                .iter()
                .map(|ip| ((*ip).into(), Route::Pod { ifindex: made.ifindex, mac: spec.mac }))
                .collect();
            assert_eq!(routes.converge(&desired), 2);
            made
        })
        .unwrap();

    // Without any program the plain stack routes between the node and its pod.
    for address in ["172.16.0.12:80", "[fd00:16::12]:80"] {
        let listener = node.run(|| TcpListener::bind(address)).unwrap().unwrap();
        pod_ns.run(|| TcpStream::connect(address)).unwrap().unwrap();
        assert!(wanted.addresses.contains(&listener.accept().unwrap().1.ip()));
    }
    for address in ["172.16.0.230:81", "[fd00:16::230]:81"] {
        let listener = pod_ns.run(|| TcpListener::bind(address)).unwrap().unwrap();
        node.run(|| TcpStream::connect(address)).unwrap().unwrap();
        assert_eq!(listener.accept().unwrap().1.ip().is_ipv4(), address.starts_with("172"));
    }

    node.run(|| {
        let mut nl = Netlink::open().unwrap();
        let spec = wanted.spec(&pod_ns);
        let mut pod_nl = pod_ns.run(Netlink::open).unwrap().unwrap();
        pod_nl.delete_address(link.pod_ifindex, "172.16.0.230/32".parse().unwrap()).unwrap();
        let wrong = pod::check::check(&mut nl, &spec).unwrap().join("; ");
        assert!(wrong.contains("172.16.0.230"), "{wrong}");
        // Of an attempt that an agent did not live to end.
        pod_nl.add_address(link.pod_ifindex, "172.16.0.231/32".parse().unwrap()).unwrap();
        pod::create(&mut nl, &spec).unwrap();
        let held = pod_nl.addresses(Some(link.pod_ifindex)).unwrap();
        let held = held.iter().filter(|a| a.global).map(|a| a.net.addr());
        assert_eq!(
            held.collect::<std::collections::BTreeSet<_>>(),
            wanted.addresses.iter().copied().collect()
        );
        assert_eq!(pod::check::check(&mut nl, &spec).unwrap(), [] as [String; 0]);

        let change = LinkChange { mtu: Some(1400), ..LinkChange::default() };
        nl.change_link(Target::Index(link.ifindex), &change).unwrap();
        assert!(!pod::create(&mut nl, &spec).unwrap().restored, "one that is not as asked is replaced");
    })
    .unwrap();
}

#[test]
fn an_interface_of_someone_else_in_the_pod_is_told() {
    let node = Guard::new("node").unwrap();
    let pod_ns = Guard::new("pod").unwrap();
    pod_ns
        .run(|| Netlink::open().unwrap().create_link("eth0", pleopod_sys_link::Kind::Bridge).unwrap())
        .unwrap();
    node.run(|| {
        let mut nl = Netlink::open().unwrap();
        let wanted = Wanted::new("c1", &["172.16.0.2"]);
        let refused = pod::create(&mut nl, &wanted.spec(&pod_ns)).unwrap_err().to_string();
        assert!(refused.contains("default/netpod") && refused.contains("eth0"), "{refused}");
        assert_eq!(pod::list(&mut nl).unwrap(), []);
    })
    .unwrap();
}

#[test]
fn interfaces_of_another_network_are_not_taken_for_ours() {
    let node = Guard::new("node").unwrap();
    let pod_ns = Guard::new("pod").unwrap();
    let wanted = Wanted::new("c1", &["172.16.0.230"]);
    let run = || {
        let mut nl = Netlink::open().unwrap();
        let names = [("lxc0123456789ab", "", "f1"), ("lxc_healthcheck", "someone's", "f2")];
        for (name, alias, peer) in names {
            let end = |name| End { name, mac: None, netns: None };
            nl.create_veth(&VethSpec { near: end(name), far: end(peer), mtu: 1500, alias }).unwrap();
        }
        assert_eq!((pod::list(&mut nl).unwrap(), pod::doomed(&mut nl).unwrap()), (vec![], vec![]));
        pod::create(&mut nl, &wanted.spec(&pod_ns)).unwrap();
        let names: Vec<String> = pod::list(&mut nl).unwrap().into_iter().map(|l| l.name).collect();
        assert_eq!(names.join(" "), wanted.host_ifname);
    };
    node.run(run).unwrap();
}

#[test]
fn deletion_is_asked_for_and_happens_later_also_after_a_crash() {
    let node = Guard::new("node").unwrap();
    let pods: Vec<Guard> = (0..20).map(|_| Guard::new("pod").unwrap()).collect();
    node.run(|| {
        let mut nl = Netlink::open().unwrap();
        let wanted: Vec<Wanted> =
            (0..20).map(|i| Wanted::new(&format!("c{i}"), &[&format!("172.16.0.{}", 20 + i)])).collect();
        let made: Vec<u32> = wanted
            .iter()
            .zip(&pods)
            .map(|(wanted, ns)| pod::create(&mut nl, &wanted.spec(ns)).unwrap().ifindex)
            .collect();
        assert_eq!(pod::list(&mut nl).unwrap().len(), 20);

        let mut reaper = Reaper::start().unwrap();
        let start = Instant::now();
        for ifindex in &made[..10] {
            assert!(reaper.remove(*ifindex).unwrap());
        }
        let asked = start.elapsed();
        assert_eq!(pod::list(&mut nl).unwrap().len(), 10, "asked for is as good as gone");
        reaper.flush();
        assert_eq!(nl.links().unwrap().len(), 11, "lo and ten pods");
        assert!(!reaper.remove(made[0]).unwrap());
        eprintln!("10 removals asked for in {asked:?}, done after {:?}", start.elapsed());

        // An agent that died between the mark and the deletion.
        let mark = LinkChange { alias: Some(pod::DELETED_ALIAS), ..LinkChange::default() };
        nl.change_link(Target::Index(made[10]), &mark).unwrap();
        let replaced = pod::create(&mut nl, &wanted[10].spec(&pods[10])).unwrap();
        assert!(!replaced.restored, "a marked one is not taken for the pod's");
        nl.change_link(Target::Index(made[11]), &mark).unwrap();
        drop(reaper);
        drop(Reaper::start().unwrap());
        assert_eq!(nl.link(Target::Index(made[11])).unwrap(), None);
        assert_eq!(pod::list(&mut nl).unwrap().len(), 9);
    })
    .unwrap();
}

#[test]
fn routes_converge_and_those_of_others_stay() {
    let node = Guard::new("node").unwrap();
    node.run(|| {
        let mut nl = Netlink::open().unwrap();
        let base = base::prepare(&mut nl, &base_spec()).unwrap();
        let host = base.host.index;
        let other = pleopod_sys_link::Route {
            protocol: 4,
            ..pleopod_sys_link::Route::on_link("10.9.0.0/16".parse().unwrap(), host)
        };
        nl.replace_route(&other).unwrap();
        nl.add_address(host, "192.168.10.10/24".parse().unwrap()).unwrap();
        nl.add_address(host, "fd00:10::10/64".parse().unwrap()).unwrap();

        let mut routes = Routes::new(Netlink::open().unwrap(), host);
        routes.load().unwrap();
        let net = |s: &str| s.parse().unwrap();
        let via = |s: &str| Route::Node { via: s.parse().unwrap() };
        let mut desired = BTreeMap::from([
            (net("172.16.0.0/24"), Route::Router),
            (net("172.16.1.0/24"), via("192.168.10.101")),
            (net("fd00:16:1::/64"), via("fd00:10::101")),
        ]);
        assert_eq!(routes.converge(&desired), 3);
        assert_eq!(routes.converge(&desired), 0);

        desired.insert(net("172.16.1.0/24"), via("192.168.10.102"));
        desired.insert(net("fd00:16:1::/64"), via("fd00:10::102"));
        desired.insert(net("172.16.3.0/24"), via("203.0.113.7"));
        assert_eq!(routes.converge(&desired), 2);
        let failed: Vec<_> = routes.rows().into_iter().filter(|r| r.state != RowState::Sync).collect();
        assert_eq!((failed.len(), failed[0].key.as_str()), (1, "172.16.3.0/24"));
        let RowState::Error(why) = &failed[0].state else { panic!() };
        assert!(why.contains("203.0.113.7"), "{why}");
        desired.remove(&net("172.16.3.0/24"));

        // A second agent finds everything in place; what someone changed meanwhile is put right.
        let ours = RouteFilter { protocol: Some(ROUTE_PROTOCOL), ifindex: None };
        let stolen = nl.routes(ours).unwrap().into_iter().find(|r| r.gateway.is_none()).unwrap();
        let mut second = Routes::new(Netlink::open().unwrap(), host);
        second.load().unwrap();
        assert_eq!(second.converge(&desired), 0);
        assert!(nl.delete_route(&stolen).unwrap());
        second.load().unwrap();
        assert_eq!(second.converge(&desired), 1);

        assert_eq!(second.converge(&BTreeMap::new()), 3);
        assert_eq!(nl.routes(ours).unwrap(), []);
        assert!(nl.routes(RouteFilter::default()).unwrap().contains(&other));
        assert_eq!(second.rows(), []);
    })
    .unwrap();
}

#[test]
fn names_and_macs_are_the_same_for_ever() {
    // Pods that live now depend on these very values.
    assert_eq!(pod::host_ifname("c0ffee", "eth0"), "lxc68a3452b2cd5");
    assert_ne!(pod::host_ifname("c0ffee", "eth0"), pod::host_ifname("c0ffee", "eth1"));
    assert_ne!(pod::host_ifname("c0ff", "eeeth0"), pod::host_ifname("c0ffee", "eth0"));
    let (pod_mac, node_mac) = pod::macs("c0ffee", "eth0");
    assert_eq!(
        (pod_mac.to_string(), node_mac.to_string()),
        ("36:d1:cb:5d:a2:8e".into(), "76:9e:8f:fe:e4:c7".into())
    );
    for mac in [pod_mac, node_mac] {
        assert_eq!(mac.0[0] & 3, 2, "{mac}: locally administered, one station");
    }
}
