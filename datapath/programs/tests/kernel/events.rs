//! What the programs report of real connections.

use crate::{
    loaded,
    nets::{IDENTITY, Net},
    packet,
};
use aya::{
    Ebpf,
    maps::RingBuf,
    programs::{SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions},
};
use pleopod_abi::{
    Config, DropReason,
    event::{FlowEvent, flow_flags, kind},
    metrics::{Direction, counter, metric_index},
    proto,
    reason::{ObservationPoint, Verdict},
};
use zerocopy::FromBytes as _;

/// One line per event, as `observe` would write it; ports of clients are left out.
fn lines(ebpf: &mut Ebpf) -> Vec<String> {
    let mut ring = RingBuf::try_from(ebpf.map_mut("pleo_events").unwrap()).unwrap();
    let mut out = Vec::new();
    while let Some(item) = ring.next() {
        if item[0] != kind::FLOW {
            continue;
        }
        let e = FlowEvent::read_from_bytes(&item).unwrap();
        assert_eq!(usize::from(e.header.len), size_of::<FlowEvent>());
        assert_ne!(e.header.time_ns, 0);
        if e.proto == proto::ICMPV6 && e.icmp_type > 129 {
            continue;
        }
        out.push(line(&e));
    }
    out
}

fn line(e: &FlowEvent) -> String {
    let reply = e.flags & flow_flags::REPLY != 0;
    let arrow = match (e.flags & flow_flags::REPLY_KNOWN != 0, reply) {
        (false, _) => "<>",
        (true, false) => "->",
        (true, true) => "<-",
    };
    let side = |ip: pleopod_abi::Addr16, port: u16, id: u32| {
        if e.proto == proto::TCP && port < 32768 {
            format!("{ip}:{port} ({id})")
        } else {
            format!("{ip} ({id})")
        }
    };
    let source = side(e.src, e.sport.get(), e.src_identity);
    let destination = side(e.dst, e.dport.get(), e.dst_identity);
    let (left, right) = if reply { (destination, source) } else { (source, destination) };
    let what = match e.proto {
        proto::TCP => {
            let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
            let set: Vec<_> =
                names.iter().enumerate().filter(|(n, _)| e.tcp_flags >> n & 1 == 1).map(|x| *x.1).collect();
            set.join(",")
        }
        proto::ICMP | proto::ICMPV6 => format!("ICMP {}/{}", e.icmp_type, e.icmp_code),
        other => format!("protocol {other}"),
    };
    let verdict = if e.verdict == Verdict::Dropped as u8 {
        format!("DROPPED {}", DropReason::from_u8(e.reason).map_or("?", DropReason::name))
    } else {
        "FORWARDED".to_owned()
    };
    let point = ObservationPoint::from_u8(e.point).map_or("?", ObservationPoint::name);
    format!("{left} {arrow} {right} {point} {verdict} {what}")
}

fn listen(net: &Net, ns: &str) -> crate::nets::Running {
    let server = net.spawn(ns, &["socat", "TCP4-LISTEN:8080,fork,reuseaddr", "SYSTEM:read x; echo hello"]);
    net.sh(ns, "for i in $(seq 50); do ss -Hltn | grep -q 8080 && exit 0; sleep 0.1; done; exit 1");
    server
}

#[test]
fn a_connection_is_told_by_its_flags() {
    let net = Net::new(Config::STANDARD);
    let mut ebpf = net.attach();
    let _server = listen(&net, "far");
    net.sh("pod1", "echo hi | timeout 5 socat -t2 - TCP4:192.0.2.2:8080");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pod = IDENTITY + 1;
    let seen = lines(&mut ebpf);
    let (forward, reply): (Vec<_>, Vec<_>) = seen.iter().partition(|l| l.contains("->"));
    let out = |flags: &str| format!("10.1.0.11 ({pod}) -> 192.0.2.2:8080 (2) to-network FORWARDED {flags}");
    let back = |flags: &str| format!("10.1.0.11 ({pod}) <- 192.0.2.2:8080 (2) to-endpoint FORWARDED {flags}");
    for flags in ["SYN", "ACK", "PSH,ACK", "FIN,ACK"] {
        assert!(forward.iter().any(|l| **l == out(flags)), "{flags}: {seen:#?}");
    }
    // The acknowledgement that completes the close is told, too.
    assert!(seen.last().is_some_and(|l| l.ends_with("FORWARDED ACK")), "{seen:#?}");
    for flags in ["SYN,ACK", "PSH,ACK"] {
        assert!(reply.iter().any(|l| **l == back(flags)), "{flags}: {seen:#?}");
    }
    assert!(reply.iter().any(|l| l.contains("FIN")), "{seen:#?}");
    assert!(seen.len() <= 10, "{seen:#?}");
}

#[test]
fn a_refused_connection_and_a_ping_are_told_on_one_node() {
    let net = Net::new(Config::STANDARD);
    let mut ebpf = net.attach();
    net.try_sh("pod1", "echo hi | timeout 5 socat - TCP4:10.1.0.12:8080");
    net.sh("pod1", "ping -n -c 3 -i 0.05 -W 1 10.1.0.12");
    let (one, two) = (IDENTITY + 1, IDENTITY + 2);
    assert_eq!(
        lines(&mut ebpf),
        [
            format!("10.1.0.11 ({one}) -> 10.1.0.12:8080 ({two}) to-endpoint FORWARDED SYN"),
            format!("10.1.0.11 ({one}) <- 10.1.0.12:8080 ({two}) to-endpoint FORWARDED RST,ACK"),
            format!("10.1.0.11 ({one}) -> 10.1.0.12 ({two}) to-endpoint FORWARDED ICMP 8/0"),
            format!("10.1.0.11 ({one}) <- 10.1.0.12 ({two}) to-endpoint FORWARDED ICMP 0/0"),
        ]
    );
}

#[test]
fn drops_and_the_stack_are_told() {
    let net = Net::new(Config::STANDARD);
    let mut ebpf = net.attach();
    net.sh("pod1", "ip addr add 10.1.0.99/32 dev lo; ping -n -c 1 -W 1 10.1.0.1");
    net.try_sh("pod1", "ping -n -c 1 -W 1 -I 10.1.0.99 10.1.0.1");
    net.sh("node", "ping -n -c 1 -W 1 10.1.0.11");
    let pod = IDENTITY + 1;
    let seen = lines(&mut ebpf);
    for expected in [
        format!("10.1.0.11 ({pod}) -> 10.1.0.1 (1) to-stack FORWARDED ICMP 8/0"),
        "10.1.0.99 (2) <> 10.1.0.1 (2) from-endpoint DROPPED Invalid source ip ICMP 8/0".to_owned(),
        format!("10.1.0.1 (1) -> 10.1.0.11 ({pod}) to-endpoint FORWARDED ICMP 8/0"),
        format!("10.1.0.1 (1) <- 10.1.0.11 ({pod}) to-stack FORWARDED ICMP 0/0"),
    ] {
        assert!(seen.contains(&expected), "{expected}\nin {seen:#?}");
    }
}

/// The node routes for others, too: it is not the sender of what it forwards.
#[test]
fn what_the_node_forwards_is_not_its_own() {
    let net = Net::new(Config::STANDARD);
    let mut ebpf = net.attach();
    net.sh("far", "ip route add 10.1.1.5/32 via 192.0.2.1");
    net.try_sh("far", "ping -n -c 1 -W 1 10.1.1.5");
    net.try_sh("node", "ping -n -c 1 -W 1 10.1.1.5");
    let seen = lines(&mut ebpf);
    for from in ["192.0.2.2 (2)", "192.0.2.1 (1)"] {
        let expected = format!("{from} -> 10.1.1.5 ({}) to-network FORWARDED ICMP 8/0", IDENTITY + 5);
        assert!(seen.contains(&expected), "{expected}\nin {seen:#?}");
    }
}

/// Hands a packet to from_pod, so many times.
fn flood(ebpf: &mut Ebpf, packet: &str, repeat: u32) {
    let program: &mut SchedClassifier = ebpf.program_mut("from_pod").unwrap().try_into().unwrap();
    program
        .test_run(TestRunOptions {
            data_in: Some(&packet::build(packet)),
            data_out: None,
            ctx_in: None,
            ctx_out: None,
            repeat,
            attrs: TestRunAttrs::new(),
        })
        .unwrap();
}

/// Events that were not told.
fn lost(ebpf: &Ebpf) -> usize {
    let of = |direction| loaded::metric(ebpf, metric_index(counter::FLOW_EVENT_LOST, direction));
    (of(Direction::Ingress) + of(Direction::Egress)) as usize
}

#[test]
fn a_flood_of_drops_is_told_in_part_and_counted_in_full() {
    let net = Net::new(Config::STANDARD);
    let mut ebpf = net.attach();
    flood(&mut ebpf, "eth 2:1 > 1:1 | ip 203.0.113.1 > 10.1.0.12 ttl 64 | udp 1 > 2", 500);
    let dropped = loaded::metric(&ebpf, metric_index(DropReason::InvalidSourceIp as u8, Direction::Egress));
    let told = lines(&mut ebpf).iter().filter(|line| line.contains("203.0.113.1")).count();
    let lost = lost(&ebpf);
    assert_eq!((dropped, told + lost), (500, 500), "{told} told, {lost} lost");
    assert!((16..500).contains(&told), "{told} told");
}

/// The ring of the tests has room for some 450 events: the floods would fill it.
#[test]
fn a_flood_from_one_pod_leaves_room_for_the_events_of_others() {
    let net = Net::new(Config::STANDARD);
    let config = Config {
        event_rate: 1,
        event_burst: 160,
        flags: Config::STANDARD.flags & !pleopod_abi::config::config_flags::ANTI_SPOOF,
        ..Config::STANDARD
    };
    for what in ["connections", "errors", "drops"] {
        let mut ebpf = net.fill(&config);
        loaded::load(&mut ebpf, "from_pod");
        let from = "eth 2:1 > 1:1 | ip 10.1.0.11 > 10.1.0.12 ttl 64";
        match what {
            "connections" => (1..=600).for_each(|n| flood(&mut ebpf, &format!("{from} | udp {n} > 53"), 1)),
            "errors" => {
                let quoted = "ip 10.1.0.12 > 10.1.0.11 ttl 63 | udp 4 > 5";
                flood(&mut ebpf, &format!("{from} | icmp 3/3 | {quoted}"), 600);
            }
            _ => flood(&mut ebpf, &format!("{from} | udp 1 > 2 | cut 36"), 600),
        }
        let lost = lost(&ebpf);
        flood(&mut ebpf, "eth 2:2 > 1:2 | ip 10.1.0.12 > 10.1.0.11 ttl 64 | udp 5 > 6", 1);
        let (of_one, of_others): (Vec<_>, Vec<_>) =
            lines(&mut ebpf).into_iter().partition(|line| line.starts_with("10.1.0.11 "));
        assert_eq!(of_others.len(), 1, "after a flood of {what}: {of_others:?}");
        assert_eq!(of_one.len() + lost, 600, "{what}: {} told, {lost} lost", of_one.len());
        assert!((16..450).contains(&of_one.len()), "{what}: {} told", of_one.len());
    }
}
