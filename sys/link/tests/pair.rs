//! The life of a pair of links, as a pod has it. Needs root; makes its own namespaces.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use pleopod_sys_link::{
    End, Event, Kind, LinkChange, Monitor, Netlink, ROUTE_PROTOCOL, Route, RouteFilter, SockDiag, Target,
    Transport, VethSpec,
};
use pleopod_sys_netns::Guard;

const POD_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const NODE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0b];

struct Pair {
    node: Guard,
    pod: Guard,
    node_nl: Netlink,
    pod_nl: Netlink,
}

fn pair() -> Pair {
    let node = Guard::new("node").unwrap();
    let pod = Guard::new("pod").unwrap();
    let mut node_nl = node.run(Netlink::open).unwrap().unwrap();
    let pod_nl = pod.run(Netlink::open).unwrap().unwrap();
    node_nl
        .create_veth(&VethSpec {
            near: End { name: "lxc1", mac: Some(NODE_MAC), netns: None },
            far: End { name: "eth0", mac: Some(POD_MAC), netns: Some(pod.netns().as_fd()) },
            mtu: 9001,
            alias: "default/netpod",
        })
        .unwrap();
    Pair { node, pod, node_nl, pod_nl }
}

fn wire(p: &mut Pair) {
    let router = "172.16.0.1/32".parse().unwrap();
    let address = "172.16.0.2/32".parse().unwrap();
    let lxc = p.node_nl.link(Target::Name("lxc1")).unwrap().unwrap().index;
    let eth0 = p.pod_nl.link(Target::Name("eth0")).unwrap().unwrap().index;
    p.node_nl.add_address(lxc, router).unwrap();
    p.node_nl.set_up(Target::Index(lxc)).unwrap();
    p.node_nl.replace_route(&Route::on_link(address, lxc)).unwrap();
    p.node_nl.replace_neighbour(lxc, address.addr(), POD_MAC).unwrap();
    p.pod_nl.set_up(Target::Name("lo")).unwrap();
    p.pod_nl.add_address(eth0, address).unwrap();
    p.pod_nl.set_up(Target::Index(eth0)).unwrap();
    p.pod_nl.replace_route(&Route::on_link(router, eth0)).unwrap();
    p.pod_nl.replace_route(&Route::via("0.0.0.0/0".parse().unwrap(), router.addr())).unwrap();
    p.pod_nl.replace_neighbour(eth0, router.addr(), NODE_MAC).unwrap();
}

#[test]
fn one_request_makes_both_ends_where_they_belong() {
    let mut p = pair();
    let near = p.node_nl.link(Target::Name("lxc1")).unwrap().unwrap();
    let far = p.pod_nl.link(Target::Name("eth0")).unwrap().unwrap();
    assert_eq!((near.mac, near.mtu, near.kind.as_str()), (Some(NODE_MAC), 9001, "veth"));
    assert_eq!((far.mac, far.mtu, far.up), (Some(POD_MAC), 9001, false));
    assert_eq!(near.peer_index, Some(far.index));
    assert_eq!(
        p.node_nl.links().unwrap().into_iter().find(|link| link.alias == "default/netpod"),
        Some(near.clone())
    );
    assert_eq!(p.node_nl.link(Target::Index(near.index)).unwrap(), Some(near));
    assert_eq!(p.node_nl.link(Target::Name("eth0")).unwrap(), None);

    let twice = VethSpec {
        near: End { name: "lxc1", mac: None, netns: None },
        far: End { name: "lxc2", mac: None, netns: None },
        mtu: 1500,
        alias: "",
    };
    let refused = p.node_nl.create_veth(&twice).unwrap_err();
    assert!(refused.is_exists(), "{refused}");
    assert!(refused.to_string().contains("lxc1"), "{refused}");
}

#[test]
fn packets_pass_and_routes_of_others_are_left_alone() {
    let mut p = pair();
    wire(&mut p);
    let listener = p.node.run(|| TcpListener::bind("172.16.0.1:80")).unwrap().unwrap();
    let client = p.pod.run(|| TcpStream::connect("172.16.0.1:80")).unwrap().unwrap();
    assert_eq!(listener.accept().unwrap().1.ip(), "172.16.0.2".parse::<IpAddr>().unwrap());
    drop(client);

    let ours = RouteFilter { protocol: Some(ROUTE_PROTOCOL), ..RouteFilter::default() };
    let routes = p.pod_nl.routes(ours).unwrap();
    assert_eq!(routes.len(), 2);
    let lxc = p.node_nl.link(Target::Name("lxc1")).unwrap().unwrap().index;
    let other = Route { protocol: 4, ..Route::on_link("10.9.0.0/16".parse().unwrap(), lxc) };
    p.node_nl.replace_route(&other).unwrap();
    assert_eq!(p.node_nl.routes(ours).unwrap(), vec![Route::on_link("172.16.0.2/32".parse().unwrap(), lxc)]);
    assert!(!p.node_nl.delete_route(&Route { protocol: ROUTE_PROTOCOL, ..other.clone() }).unwrap());
    assert!(p.node_nl.routes(RouteFilter::default()).unwrap().contains(&other));
    assert!(p.node_nl.delete_route(&other).unwrap());
    assert!(!p.node_nl.delete_route(&other).unwrap());

    let neighbours = p.pod_nl.neighbours(None).unwrap();
    assert!(neighbours.iter().any(|n| n.permanent && n.mac == Some(NODE_MAC)), "{neighbours:?}");
}

#[test]
fn both_families_work_alike() {
    let mut p = pair();
    let lxc = p.node_nl.link(Target::Name("lxc1")).unwrap().unwrap().index;
    p.node_nl.set_up(Target::Index(lxc)).unwrap();
    let net = "fd00::1/64".parse().unwrap();
    p.node_nl.add_address(lxc, net).unwrap();
    p.node_nl.add_address(lxc, net).unwrap();
    assert!(p.node_nl.addresses(Some(lxc)).unwrap().iter().any(|a| a.net == net && a.global));
    let route = Route::on_link("fd00:1::2/128".parse().unwrap(), lxc);
    p.node_nl.replace_route(&route).unwrap();
    let found = p.node_nl.routes(RouteFilter { protocol: Some(ROUTE_PROTOCOL), ifindex: Some(lxc) }).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].destination, route.destination);
    assert!(p.node_nl.delete_route(&found[0]).unwrap());
    assert!(p.node_nl.delete_address(lxc, net).unwrap());
    assert!(!p.node_nl.delete_address(lxc, net).unwrap());
}

#[test]
fn changes_are_seen_as_they_happen() {
    let mut p = pair();
    let mut monitor = p.node.run(Monitor::open).unwrap().unwrap();
    assert_eq!(monitor.read().unwrap(), vec![]);
    let read_all = |monitor: &mut Monitor| {
        let mut all = Vec::new();
        loop {
            let some = monitor.read().unwrap();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    };
    p.node_nl.set_up(Target::Name("lxc1")).unwrap();
    p.pod_nl.set_up(Target::Name("eth0")).unwrap();
    let up = read_all(&mut monitor);
    assert!(up.iter().any(|e| matches!(e, Event::Link(l) if l.name == "lxc1" && l.up)), "{up:?}");
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    p.pod_nl.change_link(Target::Name("eth0"), &down).unwrap();
    assert!(p.node_nl.delete_link(Target::Name("lxc1")).unwrap());
    let gone = read_all(&mut monitor);
    assert!(gone.iter().any(|e| matches!(e, Event::LinkGone(l) if l.name == "lxc1")), "{gone:?}");
}

#[test]
fn many_links_go_at_once_and_others_stay() {
    let node = Guard::new("many").unwrap();
    let mut nl = node.run(Netlink::open).unwrap().unwrap();
    for i in 0..10 {
        let (near, far) = (format!("a{i}"), format!("b{i}"));
        let spec = VethSpec {
            near: End { name: &near, mac: None, netns: None },
            far: End { name: &far, mac: None, netns: None },
            mtu: 1500,
            alias: "",
        };
        nl.create_veth(&spec).unwrap();
    }
    nl.create_link("br0", Kind::Bridge).unwrap();
    let mut doomed: Vec<u32> =
        (0..9).map(|i| nl.link(Target::Name(&format!("a{i}"))).unwrap().unwrap().index).collect();
    doomed.push(4_000);
    assert_eq!(nl.delete_links(&doomed).unwrap(), 9);
    let mut left: Vec<String> = nl.links().unwrap().into_iter().map(|l| l.name).collect();
    left.sort();
    assert_eq!(left, ["a9", "b9", "br0", "lo"]);
    assert_eq!(nl.delete_links(&doomed).unwrap(), 0);
}

#[test]
fn sockets_to_a_removed_backend_are_ended_and_no_others() {
    let mut p = pair();
    wire(&mut p);
    let connect = |local: &str, peer: &str| {
        let socket = UdpSocket::bind(local).unwrap();
        socket.connect(peer).unwrap();
        socket
    };
    let (gone, kept, mapped) = p
        .pod
        .run(|| {
            (
                connect("0.0.0.0:0", "172.16.0.1:53"),
                connect("0.0.0.0:0", "172.16.0.1:54"),
                connect("[::]:0", "[::ffff:172.16.0.1]:53"),
            )
        })
        .unwrap();
    let listener = p.node.run(|| TcpListener::bind("172.16.0.1:53")).unwrap().unwrap();
    let stream = p.pod.run(|| TcpStream::connect("172.16.0.1:53")).unwrap().unwrap();
    let _accepted = listener.accept().unwrap();

    let mut diag = p.pod.run(SockDiag::open).unwrap().unwrap();
    let peer: SocketAddr = "172.16.0.1:53".parse().unwrap();
    assert_eq!(diag.destroy_connected(Transport::Udp, &[peer]).unwrap(), 2);
    assert!(gone.send(b"x").is_err());
    assert!(mapped.send(b"x").is_err());
    kept.send(b"x").unwrap();
    assert_eq!(diag.destroy_connected(Transport::Udp, &[peer]).unwrap(), 0);
    assert_eq!(stream.take_error().unwrap().map(|e| e.to_string()), None);
    assert_eq!(diag.destroy_connected(Transport::Tcp, &[peer]).unwrap(), 1);
    assert!(stream.take_error().unwrap().is_some());
}

#[test]
fn a_handle_stays_in_the_namespace_it_was_opened_in() {
    let p = pair();
    let names =
        |guard: &Guard| guard.run(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
    assert!(names(&p.node).contains("lxc1") && !names(&p.node).contains("eth0"));
    assert!(names(&p.pod).contains("eth0") && !names(&p.pod).contains("lxc1"));
}
