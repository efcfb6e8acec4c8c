//! Services as sockets see them.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use pleopod_apply::{metrics, sockets};
use pleopod_model::intent::Protocol;
use pleopod_sys_netns::Netns;

use crate::node::{Node, PODS, service};

/// Answers every datagram with the address it was sent to, for as long as the test runs.
fn echo(socket: UdpSocket) {
    std::thread::spawn(move || {
        let own = socket.local_addr().unwrap().ip();
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if &buffer[..length] == b"end\n" {
                return;
            }
            socket.send_to(format!("{own}\n").as_bytes(), from).ok();
        }
    });
}

#[test]
fn udp_sockets_to_a_removed_backend_end_and_only_those() {
    let node = Node::new();
    let mut agent = node.agent();
    for (pod, address) in node.pods.iter().zip(PODS) {
        echo(pod.run(|| UdpSocket::bind((address, 53))).unwrap().unwrap());
    }
    let backend = |n: usize| format!("{}:53", PODS[n]);
    let one = service("10.96.0.10:53", Protocol::Udp, &[&backend(1)]);
    assert_eq!(agent.tables.converge_services(&one, None).1, []);

    // One client by the Service, one by the pod's own address. Both connect.
    let mut by_service = node.command(&node.pods[0], "socat -T 20 - UDP:10.96.0.10:53");
    let mut by_address = node.command(&node.pods[0], &format!("socat -T 20 - UDP:{}:53", PODS[1]));
    let ask = |child: &mut std::process::Child, reader: &mut BufReader<std::process::ChildStdout>| {
        child.stdin.as_mut().unwrap().write_all(b"who\n").unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    };
    let mut service_out = BufReader::new(by_service.stdout.take().unwrap());
    let mut address_out = BufReader::new(by_address.stdout.take().unwrap());
    assert_eq!(ask(&mut by_service, &mut service_out).trim(), PODS[1]);
    assert_eq!(ask(&mut by_address, &mut address_out).trim(), PODS[1]);

    let other = service("10.96.0.10:53", Protocol::Udp, &[&backend(0)]);
    let (_, removed) = agent.tables.converge_services(&other, None);
    assert_eq!(removed, [(backend(1).parse().unwrap(), Protocol::Udp)]);
    let pods: Vec<Netns> = node.pods.iter().map(|pod| Netns::open_named(pod.name()).unwrap()).collect();
    let end = || sockets::end_stale(&removed, &pods, &agent.connections.reverse);
    let (ended, errors) = node.node.run(end).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(ended, 1);

    let status = by_service.wait().unwrap();
    assert!(!status.success(), "its owner was told");
    assert_eq!(ask(&mut by_address, &mut address_out).trim(), PODS[1], "not ours to end");
    drop(by_address.stdin.take());
    by_address.wait().unwrap();

    // A new one gets the backend that is there. socat ends by itself when its input does.
    let mut again = node.command(&node.pods[0], "socat -t 1 - UDP:10.96.0.10:53");
    let mut out = BufReader::new(again.stdout.take().unwrap());
    assert_eq!(ask(&mut again, &mut out).trim(), PODS[0]);
    drop(again.stdin.take());
    again.wait().unwrap();
    for (pod, address) in node.pods.iter().zip(PODS) {
        let to: IpAddr = address.parse().unwrap();
        let end =
            || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().send_to(b"end\n", (to, 53)).unwrap();
        pod.run(end).unwrap();
    }
}

#[test]
fn a_tcp_client_of_a_service_is_spread_over_its_backends_and_refused_without() {
    let node = Node::new();
    let mut agent = node.agent();
    let servers: Vec<_> = (0..2)
        .map(|n| {
            let line = format!(
                "socat -T 20 TCP-LISTEN:80,bind={},fork,reuseaddr SYSTEM:'echo {}'",
                PODS[n], PODS[n]
            );
            node.command(&node.pods[n], &line)
        })
        .collect();
    let both =
        service("10.96.1.1:80", Protocol::Tcp, &[&format!("{}:80", PODS[0]), &format!("{}:80", PODS[1])]);
    agent.tables.converge_services(&both, None);
    let call = |netns| {
        let output = node.command(netns, "socat -T 5 - TCP:10.96.1.1:80").wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let ready = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        (0..2).all(|n| {
            let line = format!("socat -T 5 - TCP:{}:80", PODS[n]);
            node.command(&node.node, &line).wait_with_output().unwrap().stdout.starts_with(b"172")
        })
    });
    assert!(ready);
    // From a pod and from the node itself.
    for netns in [&node.pods[0], &node.node] {
        let answers: Vec<String> = (0..24).map(|_| call(netns)).collect();
        for address in PODS {
            // Never by chance: one in 2^24.
            assert!(answers.iter().any(|a| a == address), "{answers:?}");
        }
        assert!(answers.iter().all(|a| PODS.contains(&a.as_str())), "{answers:?}");
    }
    let none = service("10.96.1.1:80", Protocol::Tcp, &[]);
    agent.tables.converge_services(&none, None);
    let refused = node.command(&node.pods[0], "socat -T 5 - TCP:10.96.1.1:80").wait_with_output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("Connection refused"), "{told}");
    // Nothing else is behind the address: another port is refused, and a ping goes nowhere.
    let refused = node.command(&node.pods[0], "socat -T 5 - TCP:10.96.1.1:81").wait_with_output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("Connection refused"), "{told}");
    // With a source of its own choice ping asks nobody first; else its connect() is refused, too.
    let line = format!("ping -n -c 1 -W 1 -I {} 10.96.1.1", PODS[0]);
    let ping = node.command(&node.pods[0], &line).wait_with_output().unwrap();
    assert!(!ping.status.success());
    let all = metrics::read(&agent.loaded).unwrap();
    let dropped: Vec<_> = all.iter().filter(|m| m.kind == metrics::MetricKind::Drop).collect();
    assert!(matches!(dropped[..], [m] if m.name == "Is a ClusterIP" && m.packets == 1), "{dropped:?}");
    for mut server in servers {
        server.kill().ok();
        server.wait().ok();
    }
}
