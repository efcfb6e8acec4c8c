//! W1: one node, a Service without iptables.

use std::time::Duration;

use pleopod_tests::{Lab, manifest, topology, until};

const NODE: &str = "acme-control";

/// The lab of the walk, with its pods and the Service, made as a reader of the walk makes them.
fn lab() -> Lab {
    let lab = Lab::up_with(&["--topology", &topology("w1.yaml")]);
    let said = lab.kubectl(&["create", "-f", &manifest("w1.yaml")]).ok();
    assert_eq!(said, "pod/netpod created\npod/webpod1 created\npod/webpod2 created\n");
    assert_eq!(lab.kubectl(&["create", "-f", &manifest("svc.yaml")]).ok(), "service/svc created\n");
    lab.ready("default");
    lab
}

fn cluster_ip(lab: &Lab) -> String {
    lab.field("service/svc", ".spec.clusterIP")
}

/// `n words` lines of `uniq -c`, as numbers by the last word.
fn counted(text: &str, word: &str) -> usize {
    let line = text.lines().find(|line| line.ends_with(word));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_pods_way_out_is_its_router() {
    let lab = lab();
    let pods = lab.kubectl(&["get", "pods", "-o", "wide"]).ok();
    let heading: Vec<&str> =
        pods.lines().next().unwrap_or_default().split("  ").filter(|word| !word.is_empty()).collect();
    let heading: Vec<&str> = heading.iter().map(|word| word.trim()).collect();
    assert_eq!(
        heading,
        ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    );
    let address = lab.pod_ip("netpod");
    let row: Vec<&str> =
        pods.lines().find(|line| line.starts_with("netpod")).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..4], ["netpod", "1/1", "Running", "0"], "{pods}");
    assert_eq!(row[5..], [&address, NODE, "<none>", "<none>"], "{pods}");

    let host = lab.node(NODE, &["ip", "-4", "-br", "address", "show", "pleo_host"]).ok();
    let router =
        host.split_whitespace().nth(2).and_then(|net| net.strip_suffix("/32")).expect("a router address");
    let brief = lab.exec("netpod", &["ip", "-4", "-br", "address", "show", "eth0"]).ok();
    assert_eq!(brief.split_whitespace().last(), Some(format!("{address}/32").as_str()), "{brief}");
    let routes = lab.exec("netpod", &["ip", "route"]).ok();
    let routes: Vec<&str> = routes.lines().map(str::trim_end).collect();
    let terminal =
        lab.command("script").words(&["-qec", "kubectl exec -it netpod -- ip route", "/dev/null"]).ok();
    assert!(terminal.contains(&format!("default via {router} dev eth0")), "on a terminal: {terminal}");
    assert_eq!(routes, [format!("default via {router} dev eth0"), format!("{router} dev eth0 scope link")]);

    let link = lab.exec("netpod", &["cat", "/sys/class/net/eth0/iflink"]).ok();
    let links = lab.node(NODE, &["ip", "-o", "link"]).ok();
    let line =
        links.lines().find(|line| line.starts_with(&format!("{}: ", link.trim()))).expect("the other end");
    assert!(line.contains(": lxc"), "{line}");
    let mac =
        line.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next()).expect("a MAC address");
    let neighbours = lab.exec("netpod", &["ip", "neigh"]).ok();
    assert_eq!(neighbours.trim_end(), format!("{router} dev eth0 lladdr {mac} PERMANENT"));

    let ping = lab.exec("netpod", &["ping", "-c", "1", "-W", "2", &lab.pod_ip("webpod1")]).ok();
    assert!(ping.contains(" ttl=63 "), "one node forwarded it: {ping}");
}

#[test]
fn the_service_is_chosen_before_there_is_a_packet() {
    let lab = lab();
    let service = cluster_ip(&lab);
    let (caller, backends) = (lab.pod_ip("netpod"), [lab.pod_ip("webpod1"), lab.pod_ip("webpod2")]);

    // Both pods answer, by name and by address, and see the caller's own address.
    let mut seen = std::collections::BTreeSet::new();
    until("both pods answered", Duration::from_secs(20), || {
        let answer = lab.exec("netpod", &["curl", "-s", "-m", "5", "svc"]).ok();
        assert!(answer.contains(&format!("RemoteAddr: {caller}:")), "{answer}");
        assert!(answer.contains("GET / HTTP/1.1\r\nHost: svc\r\n"), "{answer}");
        seen.insert(answer.lines().next().unwrap_or_default().to_owned());
        (seen.len() == 2).then_some(())
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["Hostname: webpod1", "Hostname: webpod2"]);

    // connect() goes to the Service and getpeername() says so.
    let trace =
        ["strace", "-f", "-e", "trace=connect,getpeername", "curl", "-s", "-o", "/dev/null", &service];
    let said = lab.exec("netpod", &trace).run();
    assert!(said.success(), "{said}");
    let calls: Vec<&str> = said.err.lines().filter(|line| line.contains("AF_INET")).collect();
    for call in ["connect(", "getpeername("] {
        assert!(calls.iter().any(|line| line.contains(call)), "no {call}: {said}");
    }
    let peer = format!("sin_port=htons(80), sin_addr=inet_addr(\"{service}\")");
    assert!(calls.iter().all(|line| line.contains(&peer)), "{said}");

    // On the wire there is the backend, in the very first packet, and never the Service.
    let capture = ["tcpdump", "-tlnni", "eth0", "tcp"];
    let capture = lab.exec("webpod1", &capture).start();
    capture.until_says("listening on");
    until("webpod1 got a connection", Duration::from_secs(20), || {
        let answer = lab.exec("netpod", &["curl", "-s", "-m", "5", &service]).ok();
        (answer.contains("Hostname: webpod1") && capture.so_far().contains("[F.]")).then_some(())
    });
    let packets = capture.stop().out;
    let first = packets.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("IP {caller}.")), "{first}");
    assert!(first.contains(&format!(" > {}.80: Flags [S],", backends[0])), "{first}");
    assert!(!packets.contains(&service), "{packets}");

    // No rule does it.
    for command in [&["iptables-save"][..], &["ip6tables-save"], &["nft", "list", "ruleset"]] {
        assert_eq!(lab.node(NODE, command).ok(), "", "{command:?}");
        assert_eq!(lab.exec("netpod", command).ok(), "", "{command:?} in the pod");
    }

    // The agent lists it as the kernel has it.
    let listed = lab.pleopod(&["service", "list"]).ok();
    let lines: Vec<&str> = listed.lines().skip_while(|line| !line.contains(&service)).take(2).collect();
    let first: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(first[1..3], [&format!("{service}:80/TCP"), "ClusterIP"], "{listed}");
    assert_eq!(first.last(), Some(&"default/svc:svc-webport"), "{listed}");
    for (line, backend) in lines.iter().zip(&backends) {
        assert!(line.contains(&format!(" => {backend}:80 (active)")), "{listed}");
    }
}

#[test]
fn a_thousand_calls_fall_on_both_pods_as_chance_has_it() {
    let lab = lab();
    let urls = format!("http://{}/?[1-1000]", cluster_ip(&lab));
    // Every call on a connection of its own: the choice is made once a connection.
    let script = format!("curl -s -H 'Connection: close' '{urls}' | grep ^Hostname | sort | uniq -c");
    let counts = lab.exec("netpod", &["sh", "-c", &script]).within(Duration::from_secs(60)).ok();
    let (one, two) = (counted(&counts, "webpod1"), counted(&counts, "webpod2"));
    assert_eq!(one + two, 1000, "{counts}");
    // A fair coin thrown a thousand times: a standard deviation is 15.8, five of them 79.
    assert!(one.abs_diff(500) <= 79, "{counts}");
}

#[test]
fn whoever_is_on_the_node_has_the_service() {
    let lab = lab();
    lab.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: hostpod}\nspec:\n  hostNetwork: true\n  \
         terminationGracePeriodSeconds: 0\n  containers:\n  - {name: c, image: nicolaka/netshoot, command: [tail, -f, \
         /dev/null]}\n",
    );
    lab.ready("default");
    let service = cluster_ip(&lab);
    let own = lab.field(&format!("node/{NODE}"), ".status.addresses[?(@.type==\"InternalIP\")].address");
    assert_eq!(lab.pod_ip("hostpod"), own);
    let curl = ["curl", "-s", "-m", "5", &service];
    for answer in [lab.exec("hostpod", &curl).ok(), lab.node(NODE, &curl).ok()] {
        assert!(answer.starts_with("Hostname: webpod"), "{answer}");
        assert!(answer.contains(&format!("RemoteAddr: {own}:")), "{answer}");
    }
    // UDP: the answer comes from the Service's address, else dig would not take it.
    let question =
        ["dig", "+short", "+tries=1", "+timeout=3", "@10.96.0.10", "svc.default.svc.cluster.local"];
    for answer in [
        lab.exec("hostpod", &question).ok(),
        lab.node(NODE, &question).ok(),
        lab.exec("netpod", &question).ok(),
    ] {
        assert_eq!(answer.trim(), service);
    }
}

#[test]
fn the_agent_mounts_cgroup2_where_there_is_none() {
    let lab = lab();
    let hooks = || {
        let status = lab.pleopod(&["status", "--verbose"]).run();
        let text = if status.success() { status.out } else { String::new() };
        text.lines()
            .filter(|line| line.trim_start().starts_with("cgroup "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(hooks().len(), 8, "connect, sendmsg, recvmsg, getpeername; 4 and 6");
    let before = lab.agent_process(NODE);
    lab.pleopod(&["lab", "fault", "agent", NODE, "without-cgroup2"]).ok();
    let process = until("another agent runs", Duration::from_secs(20), || {
        Some(lab.agent_process(NODE)).filter(|process| *process != before && process.alive())
    });
    lab.agent_ok(NODE);
    let log = std::fs::read_to_string(lab.layout().node(NODE).agent_log()).expect("the agent's log");
    assert!(log.contains("the node has no cgroup2 mounted; mounted our own"), "{log}");
    // What it has mounted is seen by itself only, and is all the cgroup2 it has.
    let own = lab.layout().node(NODE).run.join("cgroup2");
    let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", process.pid)).expect("its mounts");
    let points: Vec<&str> = mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(points, [own.to_str().expect("a path")]);
    assert_eq!(hooks().len(), 8);
    let answer = lab.exec("netpod", &["curl", "-s", "-m", "5", "svc"]).ok();
    assert!(answer.starts_with("Hostname: webpod"), "{answer}");
}

#[test]
fn a_pod_reaches_the_api_server_as_in_cluster_clients_do() {
    let lab = lab();
    let ask = |path: &str| {
        let script = format!(
            "cd /var/run/secrets/kubernetes.io/serviceaccount && curl -s -m 5 --cacert ca.crt --oauth2-bearer \"$(cat \
             token)\" https://kubernetes.default{path}"
        );
        lab.exec("netpod", &["sh", "-c", &script]).ok()
    };
    assert!(ask("/version").contains("\"gitVersion\""), "{}", ask("/version"));
    let review = ask("/api/v1/namespaces/default/pods");
    assert!(
        review.contains("system:serviceaccount:default:default") && review.contains("\"code\":403"),
        "the server knows who asks: {review}"
    );
    let environment = lab.exec("netpod", &["env"]).ok();
    assert!(environment.contains("KUBERNETES_SERVICE_HOST=10.96.0.1\n"), "{environment}");
}

#[test]
fn the_printed_walk_holds() {
    let lab = Lab::up_with(&["--topology", &topology("w1.yaml")]);
    let said = lab.pleopod(&["lab", "walk"]).within(Duration::from_secs(120)).run();
    assert!(said.success(), "{said}");
    assert!(said.out.contains(" checks held, 0 did not"), "{said}");
    pleopod_tests::fits_a_page(&said.out);
}
