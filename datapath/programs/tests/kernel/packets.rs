//! Real packets through the attached programs.

use crate::{
    loaded,
    nets::{Net, addr16},
    packet,
};
use pleopod_abi::{
    Config, DropReason, ForwardReason,
    config::config_flags,
    metrics::{Direction, metric_index},
    nat::{NatKey, NatValue, nat_dir},
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
};

#[test]
fn pods_of_a_node_and_the_far_side_reach_each_other() {
    let net = Net::new(Config::STANDARD);
    let ebpf = net.attach();
    for (from, to) in [
        ("pod1", "10.1.0.12"),
        ("pod1", "10.1.0.1"),
        ("pod1", "192.0.2.1"),
        ("pod1", "192.0.2.2"),
        ("far", "10.1.0.11"),
        ("node", "10.1.0.12"),
        ("pod1", "fd01::12"),
        ("pod1", "fd01::1"),
        ("pod1", "2001:db8::2"),
        ("far", "fd01::11"),
        ("node", "fd01::12"),
    ] {
        let out = net.try_sh(from, &format!("ping -n -c 2 -i 0.05 -W 1 {to}"));
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{from} to {to}: {text}\n{}", loaded::metrics(&ebpf));
    }
    assert_ne!(loaded::metric(&ebpf, metric_index(ForwardReason::ToNetwork as u8, Direction::Egress)), 0);
    for reason in DropReason::ALL {
        assert_eq!(
            loaded::metric(&ebpf, metric_index(*reason as u8, Direction::Egress)),
            0,
            "{}",
            reason.name()
        );
    }
}

/// The network of the pods, which is reached without masquerading.
fn masquerading() -> Config {
    Config {
        flags: Config::STANDARD.flags | config_flags::MASQUERADE,
        native4: addr16("10.1.0.0"),
        native4_prefixlen: 96 + 16,
        native6: addr16("fd01::"),
        native6_prefixlen: 48,
        ..Config::STANDARD
    }
}

/// The far side has no route to the pods: it can only answer the node.
fn cut_off(net: &Net) {
    net.sh("far", "ip route del 10.1.0.0/24; ip -6 route del fd01::/64");
}

#[test]
fn pods_reach_the_world_with_the_address_of_the_node() {
    let net = Net::new(masquerading());
    let ebpf = net.attach();
    cut_off(&net);
    let said = |line: &str| {
        let out = net.try_sh("pod1", line);
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.success(), text)
    };
    // socat names the client it sees; TCP and UDP, both families.
    let _servers: Vec<_> = ["TCP4-LISTEN", "TCP6-LISTEN", "UDP4-LISTEN", "UDP6-LISTEN"]
        .iter()
        .map(|kind| {
            let extra = if kind.contains('6') { ",ipv6only=1" } else { "" };
            net.spawn(
                "far",
                &[
                    "socat",
                    &format!("{kind}:8080,fork,reuseaddr{extra}"),
                    "SYSTEM:read x; echo $SOCAT_PEERADDR",
                ],
            )
        })
        .collect();
    net.sh(
        "far",
        "for i in $(seq 50); do [ $(ss -Hltun | wc -l) = 4 ] && exit 0; sleep 0.1; done; ss -ltun; exit 1",
    );
    for (target, node) in [
        ("TCP4:192.0.2.2:8080", "192.0.2.1"),
        ("UDP4:192.0.2.2:8080", "192.0.2.1"),
        ("TCP6:[2001:db8::2]:8080", "[2001:0db8:0000:0000:0000:0000:0000:0001]"),
        ("UDP6:[2001:db8::2]:8080", "[2001:0db8:0000:0000:0000:0000:0000:0001]"),
    ] {
        let (ok, text) = said(&format!("echo hello | timeout 5 socat -t2 - {target}"));
        assert!(ok && text.trim() == node, "{target}: {text}\n{}", loaded::metrics(&ebpf));
    }
    for target in ["192.0.2.2", "2001:db8::2"] {
        let (ok, text) = said(&format!("ping -n -c 3 -i 0.05 -W 1 {target}"));
        assert!(ok, "{target}: {text}\n{}", loaded::metrics(&ebpf));
    }
    // The far side's port unreachable finds the pod's socket.
    for target in ["UDP4:192.0.2.2:9", "UDP6:[2001:db8::2]:9"] {
        let (_, text) =
            said(&format!("(echo a; sleep 0.3; echo b; sleep 0.3) | timeout 5 socat -t1 - {target}"));
        assert!(text.contains("Connection refused"), "{target}: {text}\n{}", loaded::metrics(&ebpf));
    }
    // A big transfer: segments joined by the kernel, checksums left to be completed.
    let (ok, text) = said("head -c 3000000 /dev/zero | timeout 10 socat -u - TCP4:192.0.2.2:8080; echo done");
    assert!(ok && text.contains("done"), "{text}");
    // Between pods nothing is translated.
    let _server =
        net.spawn("pod2", &["socat", "TCP4-LISTEN:8080,fork,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR"]);
    net.sh("pod2", "for i in $(seq 50); do ss -Hltn | grep -q 8080 && exit 0; sleep 0.1; done; exit 1");
    let (ok, text) = said("timeout 5 socat -u TCP4:10.1.0.12:8080 -");
    assert!(ok && text.trim() == "10.1.0.11", "{text}");

    let entries = loaded::dump::<NatKey, NatValue, 40, 24>(&ebpf, "pleo_nat");
    assert!(entries.len() >= 12 && entries.len().is_multiple_of(2), "{entries:#?}");
    assert!(
        entries
            .iter()
            .filter(|(k, _)| k.dir == nat_dir::OUT)
            .all(|(_, v)| v.port.get() >= 61000 && ["192.0.2.1", "2001:db8::1"].map(addr16).contains(&v.addr)),
        "{entries:#?}"
    );
    for reason in DropReason::ALL {
        for direction in [Direction::Egress, Direction::Ingress] {
            assert_eq!(loaded::metric(&ebpf, metric_index(*reason as u8, direction)), 0, "{}", reason.name());
        }
    }
}

/// Ports of the node are few for one destination; connections that are over give theirs up, live ones do not.
#[test]
fn a_node_does_not_run_out_of_ports_for_a_destination() {
    let net = Net::new(Config { nat_port_min: 61000, nat_port_max: 61003, ..masquerading() });
    let ebpf = net.attach();
    cut_off(&net);
    let _tcp = net.spawn("far", &["socat", "TCP4-LISTEN:8080,fork,reuseaddr", "SYSTEM:cat"]);
    let _udp = net.spawn("far", &["socat", "UDP4-LISTEN:8080,fork,reuseaddr", "SYSTEM:cat"]);
    net.sh("far", "for i in $(seq 50); do [ $(ss -Hltun | wc -l) = 2 ] && exit 0; sleep 0.1; done; exit 1");
    let wait = std::time::Duration::from_secs(2);
    let far: std::net::SocketAddr = "192.0.2.2:8080".parse().unwrap();
    net.inside("pod1", || {
        let open = || {
            let stream = TcpStream::connect_timeout(&far, wait)?;
            stream.set_read_timeout(Some(wait))?;
            std::io::Result::Ok(stream)
        };
        let echo =
            |stream: &mut TcpStream| stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut [0; 5]));
        for n in 0..12 {
            let done = open().and_then(|mut stream| {
                echo(&mut stream)?;
                stream.shutdown(std::net::Shutdown::Write)?;
                stream.read(&mut [0; 5])
            });
            assert_eq!(done.ok(), Some(0), "connection {n}\n{}", loaded::metrics(&ebpf));
        }
        for n in 0..12 {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(wait)).unwrap();
            socket.send_to(b"hello", far).unwrap();
            let got = socket.recv(&mut [0; 5]).ok();
            assert_eq!(got, Some(5), "datagram {n}\n{}", loaded::metrics(&ebpf));
        }
        let mut held: Vec<_> = (0..4).map(|n| open().unwrap_or_else(|e| panic!("held {n}: {e}"))).collect();
        assert!(open().is_err(), "a fifth one among four ports");
        for stream in &mut held {
            echo(stream).unwrap_or_else(|e| panic!("held: {e}\n{}", loaded::metrics(&ebpf)));
        }
    });
    let refused = metric_index(DropReason::NoNatMapping as u8, Direction::Egress);
    assert_ne!(loaded::metric(&ebpf, refused), 0, "{}", loaded::metrics(&ebpf));
}

#[test]
fn those_who_reach_a_pod_by_its_own_address_are_answered_from_it() {
    let net = Net::new(masquerading());
    let ebpf = net.attach();
    // The far side has the route here: it opens, the pod answers, nothing is masqueraded.
    let out = net.try_sh("far", "ping -n -c 2 -i 0.05 -W 1 10.1.0.11");
    assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stdout), loaded::metrics(&ebpf));
    assert_eq!(loaded::metric(&ebpf, metric_index(ForwardReason::Masqueraded as u8, Direction::Egress)), 0);
    // The pod's own error about a packet of the far side comes from the pod, too.
    let out =
        net.try_sh("far", "(echo a; sleep 0.3; echo b; sleep 0.3) | timeout 5 socat -t1 - UDP4:10.1.0.11:9");
    assert!(String::from_utf8_lossy(&out.stderr).contains("refused"), "{}", loaded::metrics(&ebpf));
}

#[test]
fn a_pod_cannot_use_an_address_that_is_not_its_own() {
    let net = Net::new(Config::STANDARD);
    let ebpf = net.attach();
    net.sh("pod1", "ip addr add 10.1.0.12/32 dev lo; ip addr add 10.1.0.99/32 dev lo");
    for source in ["10.1.0.12", "10.1.0.99"] {
        let out = net.try_sh("pod1", &format!("ping -n -c 1 -W 1 -I {source} 192.0.2.2"));
        assert!(!out.status.success(), "{source}");
    }
    assert_eq!(loaded::metric(&ebpf, metric_index(DropReason::InvalidSourceIp as u8, Direction::Egress)), 2);
    net.sh("pod1", "ip addr del 10.1.0.12/32 dev lo; ip link set eth0 address 02:00:00:00:02:77");
    let out = net.try_sh("pod1", "ip neigh replace 10.1.0.1 lladdr 02:00:00:00:01:01 dev eth0 nud permanent; ping -n -c 1 -W 1 192.0.2.2");
    assert!(!out.status.success());
    assert_eq!(loaded::metric(&ebpf, metric_index(DropReason::InvalidSourceMac as u8, Direction::Egress)), 1);
}

/// A frame with a VLAN tag is of another network behind the same cable.
#[test]
fn a_tagged_frame_changes_no_network() {
    let net = Net::new(Config::STANDARD);
    let ebpf = net.attach();
    // The same datagram without and with a tag, as octal for printf; socat sends frames as they are.
    let send = |from: &str, text: &str, tag: &[u8]| {
        let mut frame = packet::build(text);
        frame.resize(60, 0);
        frame.splice(12..12, tag.iter().copied());
        let octal: String = frame.iter().map(|byte| format!("\\{byte:03o}")).collect();
        net.sh(from, &format!("printf '{octal}' | socat -u - INTERFACE:eth0"));
    };
    let count = |reason: u8, direction| loaded::metric(&ebpf, metric_index(reason, direction));
    let (out, into) = (ForwardReason::ToNetwork as u8, ForwardReason::ToEndpoint as u8);
    let from_pod = "eth 2:1 > 1:1 | ip 10.1.0.11 > 192.0.2.2 ttl 64 | udp 4 > 5";
    let vlan_100 = [0x81, 0x00, 0x00, 100];
    let before = count(out, Direction::Egress);
    send("pod1", from_pod, &vlan_100);
    assert_eq!(count(DropReason::VlanFiltered as u8, Direction::Egress), 1, "{}", loaded::metrics(&ebpf));
    assert_eq!(count(out, Direction::Egress), before);
    send("pod1", from_pod, &[]);
    assert_eq!(count(out, Direction::Egress), before + 1, "{}", loaded::metrics(&ebpf));
    net.sh("node", "ip link set up0 address 02:00:00:00:06:06");
    let from_far = "eth 5:5 > 6:6 | ip 192.0.2.2 > 10.1.0.11 ttl 64 | udp 4 > 5";
    let before = count(into, Direction::Ingress);
    send("far", from_far, &vlan_100);
    assert_eq!(count(into, Direction::Ingress), before, "{}", loaded::metrics(&ebpf));
    send("far", from_far, &[]);
    assert_eq!(count(into, Direction::Ingress), before + 1, "{}", loaded::metrics(&ebpf));
}

#[test]
fn an_address_without_a_pod_is_unroutable() {
    let net = Net::new(Config::STANDARD);
    let ebpf = net.attach();
    for from in ["pod1", "far", "node"] {
        let out = net.try_sh(from, "ping -n -c 1 -W 1 10.1.0.77");
        assert!(!out.status.success());
    }
    // Others may speak there, too: the kernel announces itself on new links.
    assert!(
        loaded::metric(&ebpf, metric_index(DropReason::Unroutable as u8, Direction::Ingress)) >= 3,
        "{}",
        loaded::metrics(&ebpf)
    );
}

#[test]
fn the_last_hop_is_told_by_the_stack() {
    let net = Net::new(Config::STANDARD);
    let ebpf = net.attach();
    let out = net.sh("pod1", "traceroute -n -q 1 -w 1 192.0.2.2");
    assert!(out.contains(" 1  10.1.0.1 ") && out.contains(" 2  192.0.2.2 "), "{out}");
    let out = net.sh("far", "traceroute -n -q 1 -w 1 10.1.0.11");
    assert!(out.contains(" 1  192.0.2.1 ") && out.contains(" 2  10.1.0.11 "), "{out}");
    // Too big for the uplink and not to be fragmented: the stack answers with the MTU.
    net.sh("node", "ip link set up0 mtu 1400");
    let out = net.try_sh("pod1", "ping -n -c 2 -i 0.2 -W 1 -M do -s 1400 192.0.2.2");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("mtu = 1400") || text.contains("mtu=1400"), "{text}\n{}", loaded::metrics(&ebpf));
}

#[test]
fn fragments_reach_the_pod() {
    let net = Net::new(masquerading());
    let ebpf = net.attach();
    for (from, to) in [
        ("pod1", "10.1.0.12"),
        ("pod1", "192.0.2.2"),
        ("far", "10.1.0.11"),
        ("pod1", "2001:db8::2"),
        ("far", "fd01::11"),
    ] {
        let out = net.try_sh(from, &format!("ping -n -c 2 -i 0.05 -W 1 -s 4000 {to}"));
        assert!(
            out.status.success(),
            "{from} to {to}: {}\n{}",
            String::from_utf8_lossy(&out.stdout),
            loaded::metrics(&ebpf)
        );
    }
}
