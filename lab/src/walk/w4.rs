//! W4: three nodes, watched.

use std::io::Write;

use super::seen::{Outcome, Seen, so};
use super::session::Session;
use super::{programs, service};

/// The nodes that the manifest names, the control plane first.
pub const NODES: [&str; 3] = ["k8s-s", "k8s-w1", "k8s-w2"];

const PODS: [&str; 3] = ["netpod", "webpod1", "webpod2"];

/// Walks.
pub fn walk<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    pods(s)?;
    addresses(s)?;
    identities(s)?;
    endpoints(s)?;
    kernel(s)?;
    pod_network(s)?;
    ping(s)?;
    web(s)?;
    refused(s)?;
    world(s)?;
    service::answers(s)?;
    translation(s)?;
    listed(s)?;
    service::api_server(s)?;
    programs::attached(s, NODES[0])?;
    restored(s)
}

fn pods<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "A pod on each node",
        "netpod calls from k8s-s; webpod1 and webpod2 answer on k8s-w1 and k8s-w2.",
    )?;
    s.run("kubectl get nodes")?;
    s.run("kubectl apply -f w4.yaml -f svc.yaml")?;
    let wait = s.run("kubectl wait pods netpod webpod1 webpod2 --for=condition=Ready --timeout=50s")?;
    s.check("every pod became Ready", wait.ended(0))?;
    let pods = s.run("kubectl get pods -o wide")?;
    for (name, node) in PODS.into_iter().zip(NODES) {
        let row = pods.row(name);
        let runs = row.get(1..3) == Some(&["1/1", "Running"]) && row.contains(&node);
        s.check(&format!("{name} runs on {node}"), so(runs, || format!("{row:?}")))?;
    }
    s.define("p0() { kubectl exec netpod -- \"$@\"; }")?;
    for (variable, pod) in ["NETPODIP", "WEBPOD1IP", "WEBPOD2IP"].into_iter().zip(PODS) {
        s.set(variable, &format!("kubectl get pod {pod} -o jsonpath={{.status.podIP}}"))?;
    }
    s.set("SVC", "kubectl get service svc -o jsonpath={.spec.clusterIP}")?;
    Ok(())
}

fn addresses<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Addresses",
        "Each agent hands out its node's part of the pod network: router, health, and the pods by name.",
    )?;
    for (pod, node) in PODS.into_iter().zip(NODES) {
        let status = s.run(&format!("pleopod status --verbose --node {node} | grep -A 4 Allocated"))?;
        let outcome = status.says_all(&["(router)", "(health)", &format!("(default/{pod}")]);
        s.check(&format!("{node} has router, health and {pod}"), outcome)?;
    }
    let nodes = s.run("pleopod node list")?;
    s.check("every node is known with its pod CIDR", nodes.says_all(&NODES))
}

fn identities<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Identities",
        "A pod's labels are its identity, a number that is the same on every node. webpod1 and webpod2 have the same \
         labels, netpod has others. Numbers below 256 are reserved.",
    )?;
    let endpoints = s.run("kubectl get pleopodendpoints")?;
    let identity =
        |pod: &str| endpoints.row(pod).get(1).and_then(|word| word.parse::<u32>().ok()).unwrap_or(0);
    let (net, one, two) = (identity("netpod"), identity("webpod1"), identity("webpod2"));
    s.check("webpod1 and webpod2 share one", so(one == two && one >= 256, || format!("{one} and {two}")))?;
    s.check("netpod has another", so(net != one && net >= 256, || format!("{net} and {one}")))?;
    let ready = PODS.iter().all(|pod| endpoints.row(pod).get(2) == Some(&"ready"));
    s.check("all three endpoints are ready", so(ready, || "not all say ready".to_owned()))?;
    let list = s.run_cut("pleopod identity list", 14)?;
    let reserved =
        [(1, "host"), (2, "world"), (3, "unmanaged"), (4, "health"), (5, "init"), (6, "remote-node")];
    let reserved = reserved.into_iter().chain([(7, "kube-apiserver"), (8, "ingress")]);
    let as_told = |(number, name): (u32, &str)| {
        let row = list.row(&number.to_string());
        so(row.get(1) == Some(&format!("reserved:{name}").as_str()), || format!("{number} is {row:?}"))
    };
    s.check("1 to 8 are the reserved ones", reserved.into_iter().try_for_each(as_told))?;
    for node in NODES {
        let entry = s.run(&format!("pleopod map get ipcache --node {node} | grep \"^$WEBPOD1IP/32\""))?;
        s.check(&format!("{node} knows webpod1 by it"), entry.says(&format!("identity={one} ")))?;
    }
    Ok(())
}

fn endpoints<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Endpoints of a node, and every address it knows",
        "Labels with their source, addresses, and where each came from.",
    )?;
    let endpoints = s.run("pleopod endpoint list")?;
    let labels = [
        "k8s:app=netpod",
        "k8s:io.kubernetes.pod.namespace=default",
        "k8s:io.pleopod.k8s.policy.serviceaccount=default",
        "reserved:health",
        "reserved:host",
    ];
    s.check("netpod with its labels, health and host", endpoints.says_all(&labels))?;
    let ips = s.run_cut("pleopod ip list", 18)?;
    let known = ["0.0.0.0/0", "192.168.10.10/32", "192.168.10.101/32", "192.168.10.102/32"];
    let pods = ["NETPODIP", "WEBPOD1IP", "WEBPOD2IP"].map(|name| format!("{}/32", s.value(name)));
    let outcome = ips.says_all(&known).and(ips.says_all(&pods));
    s.check("the world, every node and every pod have a line", outcome)
}

fn kernel<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "What the kernel holds",
        "The same facts read back from the BPF maps, with the state of each entry.",
    )?;
    let endpoints = s.run("pleopod bpf endpoint list")?;
    let line = endpoints.text.lines().find(|line| line.starts_with(&format!("{}:0", s.value("NETPODIP"))));
    let line = line.unwrap_or_default();
    let holds = ["id=", "sec_id=", "ifindex=", "mac=", "nodemac="].iter().all(|field| line.contains(field));
    s.check("netpod's row has identity, interface and MAC addresses", so(holds, || format!("`{line}`")))?;
    let maps = s.run("pleopod map list")?;
    s.check(
        "maps are listed by name",
        maps.says_all(&["pleo_endpoints", "pleo_ipcache", "pleo_ct", "pleo_lb_fe"]),
    )?;
    let cache = s.run("pleopod map get ipcache")?;
    let rows = cache.text.lines().skip(1).filter(|line| !line.is_empty());
    let unsynced: Vec<&str> = rows.filter(|line| !line.ends_with("sync")).collect();
    s.check("every entry is in sync, none has an error", so(unsynced.is_empty(), || unsynced.join("; ")))
}

fn pod_network<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look("The pod's interface", "A /32 and the uplink's MTU; a default route to the node's router.")?;
    let address = s.run("p0 ip -4 addr show eth0")?;
    s.check("MTU 9001, as the uplink has", address.says("mtu 9001"))?;
    s.check("netpod's address as a /32", address.says(&format!("inet {}/32", s.value("NETPODIP"))))?;
    let routes = s.run("p0 route -n")?;
    s.check("a default route through a gateway on eth0", routes.says("UG "))
}

fn ping<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Ping across nodes, and on one node",
        "A node that forwards is a router and takes one off the TTL of 64: 62 is left after two nodes, 63 after one. The \
         flows are those of every node that saw the packet.",
    )?;
    for pod in ["$WEBPOD1IP", "$WEBPOD2IP"] {
        let ping = s.run(&format!("p0 ping -c 1 -W 2 {pod}"))?;
        s.check("answered, TTL 62", ping.says("ttl=62"))?;
    }
    let local = s.ask_quietly("kubectl get pods -n kube-system -l k8s-app=kube-dns -o wide --no-headers")?;
    let near = local.text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = NODES.iter().position(|node| words.get(6) == Some(node))?;
        Some((PODS[at], (*words.get(5)?).to_owned()))
    });
    if let Some((pod, address)) = near {
        let ping =
            s.run(&format!("kubectl exec {pod} -- ping -c 1 -W 2 {address}   # a DNS pod of the same node"))?;
        s.check("answered, TTL 63", ping.says("ttl=63"))?;
    }
    let lines = [
        "default/netpod (ID:@) -> default/webpod2 (ID:@) to-network FORWARDED (ICMPv4 EchoRequest)",
        "default/netpod (ID:@) -> default/webpod2 (ID:@) to-endpoint FORWARDED (ICMPv4 EchoRequest)",
        "default/netpod (ID:@) <- default/webpod2 (ID:@) to-network FORWARDED (ICMPv4 EchoReply)",
        "default/netpod (ID:@) <- default/webpod2 (ID:@) to-endpoint FORWARDED (ICMPv4 EchoReply)",
    ];
    let command = "pleopod observe --pod webpod2 --protocol icmp --last 4";
    let seen = s.run_until(command, |seen| flows(seen, &lines))?;
    s.check("echo request and reply, on both nodes", flows(&seen, &lines))
}

fn web<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look("HTTP between pods", "The whole life of one connection: handshake, request and answer, close.")?;
    for (pod, name) in [("$WEBPOD1IP", "webpod1"), ("$WEBPOD2IP", "webpod2")] {
        let answer = s.run(&format!("p0 curl -s -m 5 {pod}"))?;
        s.check(&format!("{name} answers"), answer.says(&format!("Hostname: {name}")))?;
    }
    let (there, back) = ("->", "<-");
    let life = [
        (there, "SYN)"),
        (back, "SYN, ACK)"),
        (there, "ACK)"),
        (there, "ACK, PSH)"),
        (back, "ACK, PSH)"),
        (there, "ACK, FIN)"),
        (back, "ACK, FIN)"),
        (there, "ACK)"),
    ];
    let lines = life.map(|(way, flags)| {
        format!("{way} default/webpod2:80 (ID:@) to-endpoint FORWARDED (TCP Flags: {flags}")
    });
    let lines = lines.each_ref().map(String::as_str);
    // Answers are delivered to netpod on k8s-s, requests to webpod2 on k8s-w2.
    let command = "pleopod observe --pod webpod2 --port 80 --type trace:to-endpoint --last 8";
    let seen = s.run_until(command, |seen| flows(seen, &lines))?;
    s.check("SYN to the last ACK, each as it was delivered", flows(&seen, &lines))
}

fn refused<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look("A port where nobody listens", "curl ends with 7: the pod's RST came back.")?;
    for pod in ["$WEBPOD1IP", "$WEBPOD2IP"] {
        let answer = s.run(&format!("p0 curl -s -m 5 {pod}:8080"))?;
        s.check("curl ends with 7", answer.ended(7))?;
    }
    let lines = [
        "-> default/webpod2:8080 (ID:@) to-endpoint FORWARDED (TCP Flags: SYN)",
        "<- default/webpod2:8080 (ID:@) to-endpoint FORWARDED (TCP Flags: ACK, RST)",
    ];
    let command = "pleopod observe --pod webpod2 --port 8080 --last 4";
    let seen = s.run_until(command, |seen| flows(seen, &lines))?;
    s.check("SYN there, RST back", flows(&seen, &lines))
}

fn world<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "The world outside",
        "outside.example lives beyond the nodes' gateway. Its name comes from the cluster's DNS; it sees the node's address; \
         the flows name it by its address.",
    )?;
    let ping = s.run("p0 ping -c 1 -W 2 203.0.113.10")?;
    s.check("it answers ping", ping.says(" 0% packet loss"))?;
    let answer = s.run("p0 curl -s -m 5 outside.example")?;
    s.check("it answers, and saw the node's address", answer.says("Client: 192.168.10.10"))?;
    let lines = ["-> kube-system/coredns-", "<- kube-system/coredns-"];
    let command = "pleopod observe --pod netpod --protocol udp --type trace:to-endpoint --last 2";
    let seen = s.run_until(command, |seen| flows(seen, &lines))?;
    s.check("a DNS question and its answer", flows(&seen, &lines).and(seen.says("FORWARDED (UDP)")))?;
    let lines = [
        "-> 203.0.113.10:80 (world) to-network FORWARDED (TCP Flags: SYN)",
        "<- 203.0.113.10:80 (world) to-endpoint FORWARDED (TCP Flags: SYN, ACK)",
        "-> 203.0.113.10:80 (world) to-network FORWARDED (TCP Flags: ACK, FIN)",
    ];
    let command = "pleopod observe --ip 203.0.113.10 --port 80 --type trace --last 8";
    let seen = s.run_until(command, |seen| flows(seen, &lines))?;
    s.check("the connection to the world, with its address", flows(&seen, &lines))
}

fn translation<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Translation at the socket",
        "Before connect(): the Service. After: a pod. When curl asks who it speaks with: the pod, and after translating \
         back: the Service.",
    )?;
    s.run("p0 curl -s -m 5 -o /dev/null $SVC")?;
    let lines = [
        "<> default/svc:80 (world) pre-xlate-fwd TRACED (TCP)",
        "<> default/webpod@:80 (ID:@) post-xlate-fwd TRANSLATED (TCP)",
        "default/webpod@:80 (ID:@) <> default/netpod:@ (ID:@) pre-xlate-rev TRACED (TCP)",
        "default/svc:80 (world) <> default/netpod:@ (ID:@) post-xlate-rev TRANSLATED (TCP)",
    ];
    let command = "pleopod observe --pod netpod --protocol tcp --type trace-sock --last 7";
    let seen = s.run_until(command, |seen| flows(seen, &lines))?;
    s.check("all four observation points", flows(&seen, &lines))
}

fn listed<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "Services",
        "What every node knows of every Service; the API server and DNS are Services as others.",
    )?;
    let services = s.run("pleopod service list")?;
    service::listed(s, &services)
}

fn restored<W: Write>(s: &mut Session<W>) -> anyhow::Result<()> {
    s.look(
        "The agent starts anew",
        "Programs and maps stay in the kernel meanwhile; addresses are kept, and marked.",
    )?;
    s.run(&format!("pleopod lab fault agent {} restart", NODES[0]))?;
    let command = format!("pleopod status --verbose --node {} | grep -A 4 Allocated", NODES[0]);
    let wanted = format!("{} (default/netpod [restored])", s.value("NETPODIP"));
    let status = s.run_until(&command, |seen| seen.says(&wanted))?;
    s.check("netpod has its address, restored", status.says(&wanted))?;
    let answer = s.run("p0 curl -s -m 5 svc | grep Hostname")?;
    s.check("the Service still answers", answer.says("Hostname: webpod"))
}

/// Whether lines of flows stand in this order; `@` is any word.
fn flows(seen: &Seen, lines: &[&str]) -> Outcome {
    let mut rest = seen.text.lines();
    lines.iter().try_for_each(|wanted| {
        let found = rest.any(|line| fits(line, wanted));
        so(found, || format!("no line with `{wanted}`, or not in this order"))
    })
}

/// Whether `pattern` stands in `line`, where each `@` is one or more of what a name or a number has.
fn fits(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('@');
    let first = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    line.match_indices(first).any(|(at, _)| {
        let mut rest = &line[at + first.len()..];
        parts.iter().all(|part| {
            let name = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
            let after = rest.get(name..).filter(|after| name > 0 && after.starts_with(part));
            after.is_some_and(|after| {
                rest = &after[part.len()..];
                true
            })
        })
    })
}
