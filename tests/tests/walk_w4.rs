//! W4: three nodes, watched.

use std::time::{Duration, Instant};

use pleopod_tests::{Lab, manifest, until};

const NODES: [&str; 3] = ["k8s-s", "k8s-w1", "k8s-w2"];
const PODS: [&str; 3] = ["netpod", "webpod1", "webpod2"];

/// The lab of the walk with its pods, made as a reader of the walk makes them.
fn lab() -> Lab {
    let lab = Lab::up();
    let said = lab.kubectl(&["create", "-f", &manifest("w4.yaml")]).ok();
    assert_eq!(said, "pod/netpod created\npod/webpod1 created\npod/webpod2 created\n");
    lab.ready("default");
    lab
}

/// The Service in front of the web pods; gives its address.
fn service(lab: &Lab) -> String {
    assert_eq!(lab.kubectl(&["create", "-f", &manifest("svc.yaml")]).ok(), "service/svc created\n");
    lab.field("service/svc", ".spec.clusterIP")
}

/// A pod's identity, as the endpoint's own object says.
fn identity(lab: &Lab, pod: &str) -> u32 {
    let number = lab.field(&format!("pleopodendpoint/{pod}"), ".status.identity.id");
    number.parse().unwrap_or_else(|_| panic!("identity of {pod}: `{number}`"))
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The row of a table whose first word is `name`.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    table.lines().map(words).find(|words| words.first() == Some(&name)).unwrap_or_default()
}

/// What `pleopod observe` says of `filter` on one node, without the time, once there are `count` lines.
fn observed(lab: &Lab, node: &str, filter: &[&str], count: usize) -> Vec<String> {
    let mut last = Vec::new();
    until(&format!("{count} flows of {filter:?} on {node}"), Duration::from_secs(10), || {
        let text = lab.agent(node, &["observe", "--all"]).words(filter).ok();
        last = text.lines().map(untimed).collect();
        (last.len() >= count).then_some(())
    });
    last
}

/// Fails unless one node comes to say exactly `wanted` of `filter`, lines of `aside` left aside.
#[track_caller]
fn observed_as(lab: &Lab, node: &str, filter: &[&str], wanted: &[String], aside: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = observed(lab, node, filter, wanted.len());
        let seen: Vec<String> = seen.into_iter().filter(|line| line != aside).collect();
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < end, "on {node}, of {filter:?}: {seen:#?}\nbut not: {wanted:#?}");
    }
}

/// Fails unless one node comes to say, of `filter`, a line for each of `wanted` that has all its parts. Gives all lines.
#[track_caller]
fn observed_with<const N: usize>(
    lab: &Lab,
    node: &str,
    filter: &[&str],
    wanted: &[[&str; N]],
) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = observed(lab, node, filter, 1);
        let has = |parts: &[&str; N]| seen.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        let missing: Vec<&[&str; N]> = wanted.iter().filter(|parts| !has(parts)).collect();
        if missing.is_empty() {
            return seen;
        }
        assert!(Instant::now() < end, "on {node}, of {filter:?}: no {missing:#?} in {seen:#?}");
    }
}

/// A line without its time, `Nov 21 05:16:36.444: `.
fn untimed(line: &str) -> String {
    line.split_once(": ").map_or(line, |(_, rest)| rest).to_owned()
}

/// The client's port, as whoami tells it.
fn port(answer: &str) -> &str {
    let line = answer.lines().find(|line| line.starts_with("RemoteAddr: ")).expect("a RemoteAddr");
    line.rsplit(':').next().unwrap_or_default()
}

#[test]
fn a_lab_goes_down_without_a_trace() {
    let lab = lab();
    lab.down().ok();
    assert_eq!(lab.traces(), [] as [String; 0]);
}

#[test]
fn pods_have_addresses_of_their_nodes_and_identities_of_their_labels() {
    let lab = lab();
    let pods = lab.kubectl(&["get", "pods", "-o", "wide"]).ok();
    let ips = PODS.map(|pod| lab.pod_ip(pod));
    for (index, (pod, node)) in PODS.into_iter().zip(NODES).enumerate() {
        let row = row(&pods, pod);
        assert_eq!(row[1..4], ["1/1", "Running", "0"], "{pods}");
        assert_eq!(row[5..], [&ips[index], node, "<none>", "<none>"], "{pods}");
        assert!(ips[index].starts_with(&format!("172.16.{index}.")), "{pods}");
    }

    // The same labels are the same number on every node.
    let [net, one, two] = PODS.map(|pod| identity(&lab, pod));
    assert_eq!(one, two);
    assert!(net != one && net >= 256 && one >= 256, "{net} and {one}");
    let table = lab.kubectl(&["get", "pleopodendpoints"]).ok();
    let heading = table.lines().next().unwrap_or_default();
    assert_eq!(words(heading), words("NAME SECURITY IDENTITY ENDPOINT STATE IPV4 IPV6"));
    for (pod, (number, ip)) in PODS.into_iter().zip([net, one, two].into_iter().zip(&ips)) {
        assert_eq!(row(&table, pod)[1..], [&number.to_string(), "ready", ip], "{table}");
        for node in NODES {
            let cache = lab.agent(node, &["map", "get", "ipcache"]).ok();
            let entry = row(&cache, &format!("{ip}/32"));
            assert_eq!(entry.get(1), Some(&format!("identity={number}").as_str()), "{node}: {cache}");
            assert_eq!(entry.last(), Some(&"sync"), "{node}: {cache}");
        }
    }
    let list = lab.pleopod(&["identity", "list"]).ok();
    let reserved =
        ["host", "world", "unmanaged", "health", "init", "remote-node", "kube-apiserver", "ingress"];
    for (number, name) in (1..).zip(reserved) {
        assert_eq!(row(&list, &number.to_string())[1], format!("reserved:{name}"), "{list}");
    }
    assert!(list.contains(&format!("{one:<8}k8s:app=webpod\n")), "{list}");
}

#[test]
fn what_the_agent_says_is_what_the_kernel_holds() {
    let lab = lab();
    let ips = PODS.map(|pod| lab.pod_ip(pod));
    let [net, web, _] = PODS.map(|pod| identity(&lab, pod));
    for (pod, (node, ip)) in PODS.into_iter().zip(NODES.into_iter().zip(&ips)) {
        let status = lab.agent(node, &["status", "--verbose"]).ok();
        let allocated = status.lines().skip_while(|line| *line != "Allocated addresses:").skip(1);
        let allocated: Vec<&str> =
            allocated.take_while(|line| line.starts_with("  ")).map(str::trim).collect();
        let router = row(&lab.pleopod(&["node", "list"]).ok(), node)[3].to_owned();
        let health = row(&lab.pleopod(&["node", "list"]).ok(), node)[4].to_owned();
        for wanted in
            [format!("{router} (router)"), format!("{health} (health)"), format!("{ip} (default/{pod})")]
        {
            assert!(allocated.contains(&wanted.as_str()), "no `{wanted}` on {node}: {status}");
        }
        assert!(!status.contains("[restored]"), "{status}");
    }

    let endpoints = lab.pleopod(&["endpoint", "list"]).ok();
    let mut lines = endpoints.lines();
    let heading =
        "ENDPOINT POLICY (ingress) POLICY (egress) IDENTITY LABELS (source:key[=value]) IPv6 IPv4 STATUS";
    assert_eq!(words(lines.next().unwrap_or_default()), words(heading));
    assert_eq!(words(lines.next().unwrap_or_default()), ["ENFORCEMENT", "ENFORCEMENT"]);
    let labels: Vec<&str> = endpoints
        .lines()
        .skip_while(|line| !line.contains("k8s:app=netpod"))
        .take(5)
        .filter_map(|line| words(line).into_iter().find(|word| word.starts_with("k8s:")))
        .collect();
    assert_eq!(
        labels,
        [
            "k8s:app=netpod",
            "k8s:io.kubernetes.pod.namespace=default",
            "k8s:io.pleopod.k8s.namespace.labels.kubernetes.io/metadata.name=default",
            "k8s:io.pleopod.k8s.policy.cluster=default",
            "k8s:io.pleopod.k8s.policy.serviceaccount=default",
        ]
    );
    let line = endpoints.lines().find(|line| line.contains("k8s:app=netpod")).map(words).unwrap_or_default();
    assert_eq!(line[1..], ["Disabled", "Disabled", &net.to_string(), "k8s:app=netpod", &ips[0], "ready"]);
    let id = line[0].to_owned();
    for (number, label) in [("4", "reserved:health"), ("1", "k8s:node-role.kubernetes.io/control-plane")] {
        let line = endpoints.lines().find(|line| line.contains(label)).map(words).unwrap_or_default();
        assert_eq!(line[1..4], ["Disabled", "Disabled", number], "{endpoints}");
    }

    let list = lab.pleopod(&["ip", "list"]).ok();
    for (prefix, label, source) in [
        ("0.0.0.0/0".to_owned(), "reserved:world", "reserved"),
        ("192.168.10.10/32".to_owned(), "reserved:host", "reserved"),
        ("192.168.10.101/32".to_owned(), "reserved:remote-node", "node"),
        ("192.168.10.102/32".to_owned(), "reserved:remote-node", "node"),
        (format!("{}/32", ips[0]), "k8s:app=netpod", "custom-resource"),
        (format!("{}/32", ips[1]), "k8s:app=webpod", "custom-resource"),
        (format!("{}/32", ips[2]), "k8s:app=webpod", "custom-resource"),
    ] {
        assert_eq!(row(&list, &prefix)[1..], [label, source], "{list}");
    }

    // The MAC addresses are those of the two ends of the pair.
    let pod_mac = lab.exec("netpod", &["cat", "/sys/class/net/eth0/address"]).ok().trim().to_uppercase();
    let index = lab.exec("netpod", &["cat", "/sys/class/net/eth0/iflink"]).ok().trim().to_owned();
    let links = lab.node("k8s-s", &["ip", "-o", "link"]).ok();
    let link = links.lines().find(|line| line.starts_with(&format!("{index}: "))).expect("the host's end");
    let node_mac = words(link.split_once("link/ether").expect("a MAC address").1)[0].to_uppercase();
    let wanted =
        format!("id={id} sec_id={net} flags=0x0000 ifindex={index} mac={pod_mac} nodemac={node_mac}");
    let held = lab.pleopod(&["bpf", "endpoint", "list"]).ok();
    assert_eq!(row(&held, &format!("{}:0", ips[0]))[1..].join(" "), wanted, "{held}");
    assert_eq!(row(&held, "192.168.10.10:0")[1..], ["(localhost)"], "{held}");
    let map = lab.pleopod(&["map", "get", "endpoints"]).ok();
    assert_eq!(row(&map, &format!("{}:0", ips[0]))[1..].join(" "), format!("{wanted} sync"), "{map}");
    let cache = lab.pleopod(&["map", "get", "ipcache"]).ok();
    assert_eq!(
        row(&cache, &format!("{}/32", ips[1]))[1..].join(" "),
        format!("identity={web} encryptkey=0 tunnelendpoint=192.168.10.101, flags=<none> sync")
    );
    let maps = lab.pleopod(&["map", "list"]).ok();
    for name in ["ct", "endpoints", "events", "ipcache", "lb_fe", "metrics"] {
        assert_eq!(row(&maps, name).get(1), Some(&format!("pleo_{name}").as_str()), "{maps}");
    }
}

#[test]
fn programs_are_where_bpftool_finds_them() {
    let lab = lab();
    let status = lab.agent("k8s-s", &["status", "--verbose"]).ok();
    let programs: Vec<Vec<&str>> =
        status.lines().filter(|line| line.contains(" prog_id ")).map(words).collect();
    let attached: Vec<(&str, &str, &str)> =
        programs.iter().map(|words| (words[0], words[1], words[2])).collect();
    let pods = attached.iter().filter(|(interface, ..)| interface.starts_with("lxc")).count();
    assert!(pods >= 2 && pods % 2 == 0, "{status}");
    for wanted in [
        ("ens5", "tcx/ingress", "from_uplink"),
        ("ens5", "tcx/egress", "to_uplink"),
        ("pleo_host", "tcx/ingress", "to_host"),
        ("pleo_host", "tcx/egress", "from_host"),
        ("pleo_net", "tcx/ingress", "to_host"),
        ("cgroup", "connect4", "sock_connect4"),
        ("cgroup", "sendmsg4", "sock_sendmsg4"),
        ("cgroup", "recvmsg4", "sock_recvmsg4"),
        ("cgroup", "getpeer4", "sock_getpeer4"),
        ("cgroup", "connect6", "sock_connect6"),
    ] {
        assert!(attached.contains(&wanted), "no {wanted:?}: {status}");
    }
    let net = lab.node("k8s-s", &["bpftool", "net", "show"]).ok();
    // bpftool knows tcx since 7.3; an older one knows the links and the programs behind them.
    let knows_tcx = net.contains("tcx/");
    for words in &programs {
        let [interface, hook, program, _, number, _, link] = words[..] else { panic!("{words:?}") };
        if knows_tcx && interface != "cgroup" {
            let line = net.lines().find(|line| {
                line.starts_with(&format!("{interface}("))
                    && line.contains(&format!("{hook} {program} prog_id {number} "))
            });
            assert!(
                line.is_some_and(|line| line.trim_end().ends_with(&format!("link_id {link}"))),
                "{words:?}: {net}"
            );
        }
        // Some versions show the link and end with an error all the same.
        let shown = lab.node("k8s-s", &["bpftool", "link", "show", "id", link]).run().out;
        assert!(
            shown.contains(&format!("{link}: ")) && shown.contains(&format!("prog {number} ")),
            "{shown}"
        );
        let shown = lab.node("k8s-s", &["bpftool", "prog", "show", "id", number]).ok();
        // The kernel keeps fifteen letters of a name.
        let name = &program[..program.len().min(15)];
        assert!(shown.contains(&format!("name {name} ")), "{program}: {shown}");
    }
    let maps = lab.pleopod(&["map", "list"]).ok();
    for line in maps.lines().skip(1).map(words) {
        let shown = lab.node("k8s-s", &["bpftool", "map", "show", "id", line[2]]).ok();
        assert!(shown.contains(&format!("name {} ", line[1])), "{line:?}: {shown}");
    }
}

#[test]
fn packets_between_pods_are_seen_as_they_are() {
    let lab = lab();
    let ips = PODS.map(|pod| lab.pod_ip(pod));
    let address = lab.exec("netpod", &["ip", "-4", "addr", "show", "eth0"]).ok();
    assert!(
        address.contains(" mtu 9001 ") && address.contains(&format!("inet {}/32 scope global eth0", ips[0]))
    );
    for ip in &ips[1..] {
        let ping = lab.exec("netpod", &["ping", "-c", "1", "-W", "2", ip]).ok();
        assert!(ping.contains(" ttl=62 "), "two nodes forwarded it: {ping}");
        let refused = lab.exec("netpod", &["curl", "-s", "-m", "5", &format!("{ip}:8080")]).run();
        assert_eq!(refused.code, Some(7), "{refused}");
        assert!(refused.took < Duration::from_secs(4), "an RST, not a silence: {refused}");
    }
    let answers = [&ips[1], &ips[2]].map(|ip| lab.exec("netpod", &["curl", "-s", "-m", "5", ip]).ok());
    for (answer, pod) in answers.iter().zip(&PODS[1..]) {
        assert!(answer.starts_with(&format!("Hostname: {pod}\n")), "{answer}");
        assert!(answer.contains(&format!("RemoteAddr: {}:", ips[0])), "{answer}");
    }

    let [net, web, _] = PODS.map(|pod| identity(&lab, pod));
    // What the receiving node says, then what the sending one says: only the points differ.
    let seen_by = [("k8s-w2", "to-endpoint", "to-network"), ("k8s-s", "to-network", "to-endpoint")];
    for (node, there, back) in seen_by {
        let line = |way: &str, tail: &str| {
            let point = if way == "->" { there } else { back };
            format!("default/netpod@ (ID:{net}) {way} default/webpod2# (ID:{web}) {point} FORWARDED ({tail})")
        };
        let echo = [line("->", "ICMPv4 EchoRequest"), line("<-", "ICMPv4 EchoReply")];
        let echo = echo.map(|line| line.replace(['@', '#'], ""));
        assert_eq!(observed(&lab, node, &["--pod", "webpod2", "--protocol", "icmp"], 2), echo);

        let life = [
            ("->", "SYN"),
            ("<-", "SYN, ACK"),
            ("->", "ACK"),
            ("->", "ACK, PSH"),
            ("<-", "ACK, PSH"),
            ("->", "ACK, FIN"),
            ("<-", "ACK, FIN"),
            ("->", "ACK"),
        ];
        let client = format!(":{}", port(&answers[1]));
        let life = life.map(|(way, flags)| line(way, &format!("TCP Flags: {flags}")));
        let life = life.map(|line| line.replace('@', &client).replace('#', ":80"));
        // A slow machine may acknowledge the request before it answers.
        let late = line("<-", "TCP Flags: ACK").replace('@', &client).replace('#', ":80");
        observed_as(&lab, node, &["--pod", "webpod2", "--port", "80", "--type", "trace"], &life, &late);

        let refused = observed(&lab, node, &["--pod", "webpod2", "--port", "8080", "--type", "trace"], 2);
        let client = refused[0].split(['/', ' ']).nth(1).unwrap_or_default().replace("netpod", "");
        let wanted = [line("->", "TCP Flags: SYN"), line("<-", "TCP Flags: ACK, RST")];
        let wanted = wanted.map(|line| line.replace('@', &client).replace('#', ":8080"));
        assert_eq!(refused, wanted, "on {node}");
    }
    // Each end asks who its peer is. Without a Service there is nothing to translate back.
    let client = format!("default/netpod:{} (ID:{net})", port(&answers[1]));
    let server = format!("default/webpod2:80 (ID:{web})");
    for (node, pod, peer, own) in
        [("k8s-s", "netpod", &server, &client), ("k8s-w2", "webpod2", &client, &server)]
    {
        let wanted = format!("{peer} <> {own} pre-xlate-rev TRACED (TCP)");
        let filter = ["--pod", pod, "--type", "trace-sock", "--protocol", "tcp"];
        let sockets = observed_with(&lab, node, &filter, &[[&wanted]]);
        assert!(!sockets.iter().any(|line| line.contains("TRANSLATED")), "{sockets:#?}");
    }
}

#[test]
fn names_and_the_world_are_seen_as_they_are() {
    let lab = lab();
    let ping = lab.exec("netpod", &["ping", "-c", "1", "-W", "2", "203.0.113.10"]).ok();
    assert!(ping.contains(" ttl=63 "), "one node forwarded it: {ping}");
    let answer = lab.exec("netpod", &["curl", "-s", "-m", "5", "outside.example"]).ok();
    assert_eq!(answer, "outside answers\nClient: 192.168.10.10\nHost: outside.example\n");

    let net = identity(&lab, "netpod");
    let client = |line: &String| line.split([' ', ':']).nth(1).unwrap_or_default().to_owned();
    let line = |port: &str, way: &str, flags: &str| {
        let point = if way == "->" { "to-network" } else { "to-endpoint" };
        format!(
            "default/netpod:{port} (ID:{net}) {way} 203.0.113.10:80 (world) {point} FORWARDED (TCP Flags: {flags})"
        )
    };
    let world = ["--ip", "203.0.113.10", "--port", "80", "--type", "trace"];
    let seen = observed(&lab, "k8s-s", &world, 8);
    let port = client(&seen[0]);
    let life = [
        ("->", "SYN"),
        ("<-", "SYN, ACK"),
        ("->", "ACK"),
        ("->", "ACK, PSH"),
        ("<-", "ACK, PSH"),
        ("->", "ACK, FIN"),
        ("<-", "ACK, FIN"),
        ("->", "ACK"),
    ];
    let life = life.map(|(way, flags)| line(&port, way, flags));
    let late = line(&port, "<-", "ACK");
    observed_as(&lab, "k8s-s", &world, &life, &late);
    let echo = observed(&lab, "k8s-s", &["--ip", "203.0.113.10", "--protocol", "icmp"], 2);
    assert_eq!(
        echo,
        [
            format!(
                "default/netpod (ID:{net}) -> 203.0.113.10 (world) to-network FORWARDED (ICMPv4 EchoRequest)"
            ),
            format!(
                "default/netpod (ID:{net}) <- 203.0.113.10 (world) to-endpoint FORWARDED (ICMPv4 EchoReply)"
            ),
        ]
    );

    // The name was asked of kube-dns, by a socket that one of its pods answered.
    let pod = "kube-system/coredns-";
    let wanted = [
        ["default/netpod (ID:", " <> kube-system/kube-dns:53 (world) pre-xlate-fwd TRACED (UDP)"],
        ["default/netpod (ID:", ":53 (ID:"],
        [pod, " post-xlate-fwd TRANSLATED (UDP)"],
        [pod, " FORWARDED (UDP)"],
        [pod, " pre-xlate-rev TRACED (UDP)"],
        ["kube-system/kube-dns:53 (world) <> default/netpod:", " post-xlate-rev TRANSLATED (UDP)"],
    ];
    observed_with(&lab, "k8s-s", &["--pod", "netpod", "--protocol", "udp"], &wanted);
}

#[test]
fn a_service_is_translated_at_the_socket() {
    let lab = lab();
    let address = service(&lab);
    let answer = until("svc answers", Duration::from_secs(10), || {
        let said = lab.exec("netpod", &["curl", "-s", "-m", "5", &address]).run();
        said.success().then_some(said.out)
    });
    let pod = answer.lines().next().and_then(|line| line.strip_prefix("Hostname: ")).expect("a pod's name");
    let [net, web, _] = PODS.map(|pod| identity(&lab, pod));
    let client = format!("default/netpod:{} (ID:{net})", port(&answer));
    let filter = ["--pod", "netpod", "--type", "trace-sock", "--protocol", "tcp"];
    let (before, after) = (format!("default/netpod (ID:{net}) <> "), format!("default/{pod}:80 (ID:{web})"));
    let wanted = [
        format!("{before}default/svc:80 (world) pre-xlate-fwd TRACED (TCP)"),
        format!("{before}{after} post-xlate-fwd TRANSLATED (TCP)"),
        format!("{after} <> {client} pre-xlate-rev TRACED (TCP)"),
        format!("default/svc:80 (world) <> {client} post-xlate-rev TRANSLATED (TCP)"),
    ];
    observed_with(&lab, "k8s-s", &filter, &wanted.each_ref().map(|line| [line.as_str()]));
    // What goes over the wire is between the pods.
    let wire = observed(&lab, "k8s-s", &["--pod", pod, "--port", "80", "--type", "trace"], 8);
    assert!(wire.iter().all(|line| line.starts_with(&client) && line.contains(&after)), "{wire:#?}");

    // Every node knows it alike, and its own processes have it.
    for node in NODES {
        let listed = lab.agent(node, &["service", "list"]).ok();
        assert!(listed.contains(&format!("{address}:80/TCP")), "{node}: {listed}");
        let answer = lab.node(node, &["curl", "-s", "-m", "5", &address]).ok();
        let own = lab.field(&format!("node/{node}"), ".status.addresses[?(@.type==\"InternalIP\")].address");
        assert!(answer.contains(&format!("RemoteAddr: {own}:")), "{node}: {answer}");
    }
    let urls = format!("http://{address}/?[1-1000]");
    let script = format!("curl -s -H 'Connection: close' '{urls}' | grep -c 'Hostname: webpod1'");
    let count = lab.exec("netpod", &["sh", "-c", &script]).within(Duration::from_secs(60)).ok();
    let count: usize = count.trim().parse().expect("a number");
    assert!(
        count.abs_diff(500) <= 79,
        "{count} of 1000 on webpod1: more than five standard deviations from half"
    );
}

#[test]
fn addresses_are_restored_when_an_agent_starts_anew() {
    let lab = lab();
    for (pod, node) in PODS.into_iter().zip(NODES) {
        let ip = lab.pod_ip(pod);
        let before = lab.agent_process(node);
        lab.pleopod(&["lab", "fault", "agent", node, "restart"]).ok();
        until(&format!("{pod} is restored on {node}"), Duration::from_secs(20), || {
            let said = lab.agent(node, &["status", "--verbose"]).run();
            said.out.contains(&format!("  {ip} (default/{pod} [restored])\n")).then_some(())
        });
        assert_ne!(lab.agent_process(node), before);
        assert_eq!(lab.pod_ip(pod), ip);
    }
    for ip in [lab.pod_ip("webpod1"), lab.pod_ip("webpod2")] {
        assert!(lab.exec("netpod", &["curl", "-s", "-m", "5", &ip]).ok().starts_with("Hostname: webpod"));
    }
}

#[test]
fn the_printed_walk_holds() {
    let lab = Lab::up();
    let said = lab.pleopod(&["lab", "walk"]).within(Duration::from_secs(120)).run();
    assert!(said.success(), "{said}");
    assert!(said.out.contains(" checks held, 0 did not"), "{said}");
    pleopod_tests::fits_a_page(&said.out);
    // A second walk finds what the first one made, and holds too.
    let said = lab.pleopod(&["lab", "walk", "w4"]).within(Duration::from_secs(120)).run();
    assert!(said.success() && said.out.contains("pod/netpod unchanged"), "{said}");
}
