//! The agent goes, by whatever signal, and comes back: nothing that it made is disturbed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pleopod_abi::ct::{CtKey, CtValue};
use pleopod_abi::{Addr16, Be16};
use pleopod_apply::attach::Attach;
use pleopod_apply::ct::Connections;
use pleopod_apply::ct::sweeper::Sweeper;
use pleopod_apply::metrics;
use pleopod_sys_link::{Netlink, RouteFilter, Target};

use crate::node::{Node, PODS};

#[test]
fn links_rows_routes_and_connections_survive_the_agent() {
    all_survives_the_agent(&Node::new(), "tcx");
}

#[test]
fn so_do_filters_where_there_is_no_tcx() {
    let node = Node::with(Attach::Tc);
    all_survives_the_agent(&node, "tc");
}

fn all_survives_the_agent(node: &Node, by: &str) {
    let first = node.agent();

    // A conversation between the pods that never rests.
    let listener = node.pods[1].run(|| TcpListener::bind((PODS[1], 80))).unwrap().unwrap();
    let mut client = node.pods[0].run(|| TcpStream::connect((PODS[1], 80))).unwrap().unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip().to_string(), PODS[0]);
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while server.read_exact(&mut byte).is_ok() {
            server.write_all(&byte).unwrap();
        }
    });
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let talk = std::thread::spawn({
        let (stop, rounds) = (stop.clone(), rounds.clone());
        move || {
            while !stop.load(Ordering::SeqCst) {
                client.write_all(b"x").unwrap();
                client.read_exact(&mut [0]).unwrap();
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let wait = |more: usize| {
        let until = rounds.load(Ordering::SeqCst) + more;
        while rounds.load(Ordering::SeqCst) < until {
            assert!(!talk.is_finished(), "the conversation broke");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    wait(100);

    let hooks = first.hooks.list().unwrap();
    let names: Vec<String> = hooks.iter().map(|h| format!("{} {}", h.hook, h.program)).collect();
    assert_eq!(hooks.len(), 3 + 4 + 8, "{names:#?}");
    assert!(names.contains(&format!("pleo_host {by}/egress from_host")), "{names:#?}");
    assert!(names.contains(&format!("{} {by}/ingress from_pod", first.local[0].ifname)), "{names:#?}");
    assert!(names.contains(&"cgroup connect4 sock_connect4".into()), "{names:#?}");
    let (local, base) = (first.local.clone(), first.base.clone());
    let table = |agent: &crate::node::Agent| {
        let mut rows = agent.routes.rows();
        for name in pleopod_apply::tables::NAMES {
            rows.extend(agent.tables.rows(name).unwrap());
        }
        rows
    };
    let rows = table(&first);
    assert_eq!(rows.iter().filter(|row| row.table == "endpoints").count(), 3, "{rows:#?}");
    drop(first);
    wait(100);

    let second = node.agent();
    wait(100);
    assert_eq!(second.local, local);
    assert_eq!((second.base.host.index, second.base.restored), (base.host.index, true));
    assert_eq!(table(&second), rows);
    let after = second.hooks.list().unwrap();
    let ids = |hooks: &[pleopod_apply::attach::Hook]| -> Vec<(String, String, u32)> {
        hooks.iter().map(|h| (h.hook.clone(), h.program.clone(), h.link_id)).collect()
    };
    assert_eq!(ids(&after), ids(&hooks), "the same links, each with the program of the same name");
    assert!(after.iter().zip(&hooks).all(|(a, b)| a.program_id != b.program_id), "but the new agent's");

    stop.store(true, Ordering::SeqCst);
    talk.join().unwrap();
    echo.join().unwrap();
    let counted = metrics::read(&second.loaded).unwrap();
    let to_pods = counted.iter().find(|m| m.name == "to-endpoint").expect("packets between pods");
    assert!(to_pods.packets >= 600, "{counted:#?}");
    assert!(!counted.iter().any(|m| m.kind == metrics::MetricKind::Drop), "{counted:#?}");

    // What the programs wrote: one connection; gone when its pods are.
    let sweep = second.connections.sweep(0).unwrap();
    assert_eq!((sweep.ct.live, sweep.ct.removed), (1, 0));
    assert_eq!(second.connections.forget(&["172.16.0.7".parse().unwrap()]).unwrap(), 0);
    assert_eq!(second.connections.forget(&[PODS[0].parse().unwrap()]).unwrap(), 1);
    assert_eq!(second.connections.sweep(u64::MAX >> 8).unwrap().ct.live, 0);
}

/// A node gets another kernel, or another configuration: never are programs at both kinds of hook, and in the end at none.
#[test]
fn an_agent_takes_over_from_one_with_another_kind_of_hook() {
    let mut node = Node::new();
    let ping = |node: &Node| {
        let said = node.command(&node.pods[0], &format!("ping -n -c 1 -W 2 {}", PODS[1])).wait_with_output();
        // One hop: the programs have passed it on once.
        String::from_utf8(said.unwrap().stdout).unwrap().contains("ttl=63")
    };
    for (attach, by) in
        [(Attach::Tcx, " tcx/"), (Attach::Tc, " tc/"), (Attach::Auto, " tcx/"), (Attach::Tc, " tc/")]
    {
        node.attach = attach;
        let agent = node.agent();
        let hooks = agent.hooks.list().unwrap();
        let at: Vec<&str> = hooks.iter().map(|h| &*h.hook).filter(|h| !h.starts_with("cgroup")).collect();
        assert_eq!(at.len(), 3 + 4, "{at:#?}");
        assert!(at.iter().all(|hook| hook.contains(by)), "{at:#?}");
        assert!(hooks.iter().all(|h| h.program != "?"), "{hooks:#?}");
        assert!(ping(&node));
        let counted = metrics::read(&agent.loaded).unwrap();
        assert!(!counted.iter().any(|m| m.kind == metrics::MetricKind::Drop), "{counted:#?}");
    }
    // Somebody else's filter stays, and with it the queueing discipline it is in.
    let tc = |words: &str| {
        let said = node.command(&node.node, &format!("tc {words}")).wait_with_output().unwrap();
        assert!(said.status.success(), "{words}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    tc("qdisc add dev lo clsact");
    tc("filter add dev lo ingress prio 7 protocol ip u32 match ip dst 192.0.2.99/32 flowid 1:1");
    tc("filter add dev pleo_host egress prio 7 protocol ip u32 match ip dst 192.0.2.99/32 flowid 1:1");
    let theirs = tc("filter show dev lo ingress");
    // Filters that were cleared away come back.
    tc("qdisc del dev pleo_net clsact");
    let agent = node.agent();
    tc("qdisc del dev pleo_net clsact");
    node.node.run(|| agent.hooks.renew(&agent.base, &[])).unwrap().unwrap();
    assert!(tc("filter show dev pleo_net ingress").contains("pleo_to_host"));
    drop(agent);
    let removed = node.uninstall();
    assert!(removed.programs && removed.base, "{removed:?}");
    assert_eq!(tc("filter show dev lo ingress"), theirs);
    assert!(!node.uninstall().programs, "nothing is left");
}

/// On an interface that stays, like an uplink, nothing is left either.
#[test]
fn filters_are_taken_off_interfaces_of_others() {
    let node = Node::with(Attach::Tc);
    let agent = node.agent();
    let tc = |words: &str| {
        let said = node.command(&node.node, &format!("tc {words}")).wait_with_output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    let lo = node.node.run(|| Netlink::open().unwrap().link(Target::Name("lo")).unwrap().unwrap()).unwrap();
    node.node.run(|| agent.hooks.uplink(&lo)).unwrap().unwrap();
    assert!(tc("filter show dev lo egress").contains("pleo_to_uplink"));
    drop(agent);
    node.uninstall();
    assert_eq!(tc("filter show dev lo egress") + &tc("filter show dev lo ingress"), "");
    assert!(!tc("qdisc show dev lo").contains("clsact"));
}

#[test]
fn a_full_table_is_swept_by_a_thread_of_its_own() {
    let node = Node::new();
    let agent = node.agent();
    let connections = std::sync::Arc::new(Connections::new(&agent.loaded).unwrap());
    let gone = Addr16::from_ip(PODS[0].parse().unwrap());
    let stays = Addr16::from_ip(PODS[1].parse().unwrap());
    let row = |port: u16, a: Addr16, expires: u32| {
        let key = CtKey { a, b: Addr16::UNSPECIFIED, a_port: Be16::new(port), ..CtKey::default() };
        (key, CtValue { expires, ..CtValue::default() })
    };
    let expired = (0..20_000).map(|port| row(port, stays, 1));
    let of_gone = (20_000..20_100).map(|port| row(port, gone, u32::MAX));
    let alive = (30_000..30_050).map(|port| row(port, stays, u32::MAX));
    let rows: Vec<_> = expired.chain(of_gone).chain(alive).collect();
    assert!(connections.ct.write(&rows).is_empty());

    let sweeper = Sweeper::start(connections.clone()).unwrap();
    assert_eq!(sweeper.flush(), None, "it does nothing by itself");
    let beat = 1 << 30;
    sweeper.order(2 * beat, vec![PODS[0].parse().unwrap()]);
    let swept = sweeper.flush().expect("a sweep");
    assert_eq!((swept.ct.live, swept.ct.removed), (150, 20_000));
    let left = connections.ct.rows().unwrap();
    assert_eq!(left.len(), 50, "what the departed pod had is forgotten");
    assert!(left.iter().all(|(key, _)| key.a == stays));
}

#[test]
fn addresses_no_pod_has_are_dropped_and_counted() {
    let node = Node::new();
    let agent = node.agent();
    let send = || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..3 {
            socket.send_to(b"x", ("172.16.0.200", 9)).unwrap();
        }
    };
    node.node.run(send).unwrap();
    let dropped: Vec<_> = metrics::read(&agent.loaded)
        .unwrap()
        .into_iter()
        .filter(|m| m.kind == metrics::MetricKind::Drop)
        .map(|m| (m.name, m.packets))
        .collect();
    assert_eq!(dropped, [("Stale or unroutable IP", 3)]);
}

#[test]
fn a_pod_that_goes_leaves_nothing() {
    let node = Node::new();
    let mut agent = node.agent();
    let gone = agent.local.remove(0);
    node.node
        .run(|| {
            use pleopod_apply::pod::{self, reaper::Reaper};
            let mut netlink = Netlink::open().unwrap();
            let mut reaper = Reaper::start().unwrap();
            agent.tables.endpoints.delete(
                agent
                    .tables
                    .endpoints
                    .rows()
                    .iter()
                    .filter(|(_, v)| v.id == gone.id)
                    .map(|(k, _)| *k)
                    .collect::<Vec<_>>(),
            );
            agent.routes.delete(format!("{}/32", PODS[0]).parse().unwrap());
            agent.hooks.release_pod(&gone.ifname).unwrap();
            assert!(reaper.remove(gone.ifindex).unwrap());
            reaper.flush();
            assert_eq!(pod::list(&mut netlink).unwrap().len(), 1);
            assert!(agent.hooks.list().unwrap().iter().all(|h| !h.hook.contains(&gone.ifname)));
            assert!(
                netlink.routes(RouteFilter::default()).unwrap().iter().all(|r| r
                    .destination
                    .addr()
                    .to_string()
                    != PODS[0])
            );
            assert_eq!(agent.hooks.sweep().unwrap(), [] as [String; 0]);
        })
        .unwrap();
}
