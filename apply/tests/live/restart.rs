//! The agent goes, by whatever signal, and comes back: nothing that it made is disturbed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pleopod_abi::ct::{CtKey, CtValue};
use pleopod_abi::{Addr16, Be16};
use pleopod_apply::ct::Connections;
use pleopod_apply::ct::sweeper::Sweeper;
use pleopod_apply::metrics;
use pleopod_sys_link::{Netlink, RouteFilter};

use crate::node::{Node, PODS};

#[test]
fn links_rows_routes_and_connections_survive_the_agent() {
    let node = Node::new();
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
    assert!(names.contains(&"pleo_host tcx/egress from_host".into()), "{names:#?}");
    assert!(names.contains(&format!("{} tcx/ingress from_pod", first.local[0].ifname)), "{names:#?}");
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
