//! Services for who is outside the cluster: real packets through each node, to pods there and elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use pleopod_tests::{Background, Lab, Said, until};
use rustix::process::Signal;
use serde_json::Value;

/// The nodes with their addresses. The last has none of the backends.
const NODES: [(&str, &str); 3] =
    [("k8s-s", "192.168.10.10"), ("k8s-w1", "192.168.10.101"), ("k8s-w2", "192.168.10.102")];
/// The addresses of the host outside.
const OUTSIDE: [&str; 2] = ["192.168.10.1", "203.0.113.10"];
/// The node port of the Services here.
const PORT: u16 = 30080;

/// A client in the cluster, and a backend on each of two nodes.
fn lab(service: &str) -> Lab {
    let lab = Lab::up();
    let client = pod("client", "k8s-s", "", "nicolaka/netshoot, command: [sleep, infinity]");
    let backends = [web("web1", "k8s-s"), web("web2", "k8s-w1")].concat();
    lab.apply(&format!("{client}{backends}{service}"));
    lab.ready("default");
    until_served(&lab, PORT, 2);
    lab
}

fn pod(name: &str, node: &str, app: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: '{app}'}}}}\nspec:\n  nodeName: {node}\n  \
         terminationGracePeriodSeconds: 2\n  containers: [{{name: c, image: {image}}}]\n---\n"
    )
}

fn web(name: &str, node: &str) -> String {
    pod(name, node, "web", "traefik/whoami")
}

/// A Service of the web pods at [`PORT`].
fn service(metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web{metadata}}}\nspec: {{selector: {{app: web}}, \
         ports: [{{port: 80, nodePort: {PORT}}}]{spec}}}\n---\n"
    )
}

/// Waits until every node has a node port with so many backends.
fn until_served(lab: &Lab, port: u16, backends: usize) {
    for (node, address) in NODES {
        let frontend = format!("{address}:{port}");
        until(&format!("{node} has {backends} backends at {frontend}"), Duration::from_secs(15), || {
            let said = lab.agent(node, &["service", "list", "-o", "json"]).run();
            let rows: Vec<Value> = serde_json::from_str(&said.out).ok()?;
            let row = rows.iter().find(|row| row["frontend"] == *frontend)?;
            (row["backends"].as_array()?.len() == backends).then_some(())
        });
    }
}

/// Who answered, and whom it took for its client.
type Answer = (String, String);

/// The answers in what `curl` printed.
fn answers(said: &str) -> Vec<Answer> {
    let after = |name: &str| -> Vec<&str> { said.lines().filter_map(|l| l.strip_prefix(name)).collect() };
    let clients = after("RemoteAddr: ").into_iter().map(|peer| peer.rsplit_once(':').map_or(peer, |p| p.0));
    after("Hostname: ").into_iter().zip(clients).map(|(pod, client)| (pod.into(), client.into())).collect()
}

/// Asks an address `count` times from outside, each time by a new connection; all must be answered.
#[track_caller]
fn ask_from(lab: &Lab, client: &str, to: &str, count: usize) -> Vec<Answer> {
    let url = format!("http://{to}/?[1-{count}]");
    let said = lab
        .outside("outside", &["curl", "-sS", "-m", "5", "-H", "Connection: close", "--interface", client])
        .words(&[&url])
        .run();
    let answers = answers(&said.out);
    assert!(said.success() && answers.len() == count, "{} of {count} answers: {said}", answers.len());
    answers
}

#[track_caller]
fn ask(lab: &Lab, to: &str, count: usize) -> Vec<Answer> {
    ask_from(lab, OUTSIDE[0], to, count)
}

fn pods(answers: &[Answer]) -> BTreeSet<&str> {
    answers.iter().map(|(pod, _)| pod.as_str()).collect()
}

fn clients(answers: &[Answer]) -> BTreeSet<&str> {
    answers.iter().map(|(_, client)| client.as_str()).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<&str> {
    names.into()
}

fn counts(answers: &[Answer]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (pod, _) in answers {
        *counts.entry(pod.as_str()).or_default() += 1;
    }
    counts
}

/// New connections from outside, one after the other, a hundred a second; a line for each.
fn load(lab: &Lab, to: &str, count: usize) -> Background {
    let url = format!("http://{to}/?[1-{count}]");
    lab.outside("outside", &["curl", "-s", "-m", "5", "-H", "Connection: close", "-o", "/dev/null"])
        .words(&["--rate", "100/s", "-w", "%{http_code} %{exitcode}\n", &url])
        .within(Duration::from_secs(60))
        .start()
}

#[track_caller]
fn all_answered(said: &Said, count: usize) {
    let bad: Vec<&str> = said.out.lines().filter(|line| *line != "200 0").collect();
    assert!(bad.is_empty() && said.out.lines().count() == count, "{bad:?} of {count}: {}", said.err);
}

/// A download and an upload of so many megabytes, four a second: curl's own limits let go of much at once.
struct Transfers {
    down: Background,
    up: Background,
    megabytes: u32,
}

impl Transfers {
    fn start(lab: &Lab, to: &str, megabytes: u32) -> Self {
        let bytes = megabytes * 1_000_000;
        let slowly =
            |from: &str| format!("for i in $(seq {megabytes}); do head -c 1000000 {from}; sleep 0.25; done");
        let (read, write) = (slowly(""), slowly("/dev/zero"));
        let down = format!(
            "curl -sS -m 40 -w '%{{stderr}}%{{exitcode}}' 'http://{to}/data?size={bytes}' | ({read}; cat) | wc -c"
        );
        // The web server sends back what it got, zeros below a head of text.
        let up = format!(
            "({write}) | curl -sS -m 40 -X POST -T - -w '%{{stderr}}%{{exitcode}}' http://{to}/ | tr -cd '\\0' | wc -c"
        );
        let start = |script: &str| {
            lab.outside("outside", &["sh", "-c", script]).within(Duration::from_secs(50)).start()
        };
        Self { down: start(&down), up: start(&up), megabytes }
    }

    #[track_caller]
    fn run_still(&mut self) {
        assert!(self.down.runs() && self.up.runs(), "what happened took longer than the transfers");
    }

    #[track_caller]
    fn arrive(self) {
        for transfer in [self.down, self.up] {
            let said = transfer.wait(Duration::from_secs(50));
            let bytes = (self.megabytes * 1_000_000).to_string();
            assert_eq!((said.err.as_str(), said.out.trim()), ("0", bytes.as_str()), "{said}");
        }
    }
}

#[test]
fn a_node_port_reaches_all_backends_through_every_node() {
    let echo =
        [pod("echo1", "k8s-s", "echo", "pleopod/echo"), pod("echo2", "k8s-w1", "echo", "pleopod/echo")];
    let echoes = "apiVersion: v1\nkind: Service\nmetadata: {name: echo}\nspec: {type: NodePort, selector: {app: echo}, \
                  ports: [{name: udp, port: 7, protocol: UDP, nodePort: 30007}, {name: tcp, port: 7, nodePort: 30007}]}";
    let lab = lab(&[service("", ", type: NodePort").as_str(), &echo.concat(), echoes].concat());
    until_served(&lab, 30007, 2);
    for (node, address) in NODES {
        let to = format!("{address}:{PORT}");
        let answers = ask(&lab, &to, 30);
        assert_eq!(pods(&answers), set(["web1", "web2"]), "through {node}");
        assert_eq!(clients(&answers), set([address]), "through {node}: the backend sees the node");

        // The node itself, by its own loopback; a pod, by the node's address.
        let own = lab.node(node, &["curl", "-sS", "-m", "5", "-H", "Connection: close"]);
        let said = own.words(&[&format!("http://127.0.0.1:{PORT}/?[1-30]")]).ok();
        assert_eq!(pods(&answers_of(&said, 30)), set(["web1", "web2"]), "{node} by its loopback");
        let from_pod = lab.exec("client", &["curl", "-sS", "-m", "5", "-H", "Connection: close"]);
        let said = from_pod.words(&[&format!("http://{to}/?[1-30]")]).ok();
        assert_eq!(pods(&answers_of(&said, 30)), set(["web1", "web2"]), "from a pod through {node}");
    }
    let said = lab.exec("client", &["curl", "-sS", "-m", "5", &format!("127.0.0.1:{PORT}")]).run();
    assert_eq!(said.code, Some(7), "a pod's loopback is its own: {said}");

    // 30 datagrams from as many sockets to each node, all on their way at once.
    let addresses = NODES.map(|(_, address)| address).join(" ");
    let script = format!(
        "for node in {addresses}; do for i in $(seq 30); do (echo $node $i | socat -t3 - UDP:$node:30007) & done; done; wait"
    );
    let said = lab.outside("outside", &["sh", "-c", &script]).ok();
    for (node, address) in NODES {
        let back = said.lines().filter(|line| line.starts_with(&format!("{address} "))).count();
        assert_eq!(back, 30, "datagrams that came back through {node}: {said}");
        let tcp = format!("echo hello | socat -t3 - TCP:{address}:30007");
        assert_eq!(lab.outside("outside", &["sh", "-c", &tcp]).ok(), "hello\n", "through {node}");
    }
    for pod in ["echo1", "echo2"] {
        let log = lab.kubectl(&["logs", pod]).ok();
        let udp = log.lines().filter_map(|line| line.strip_prefix("udp ")?.split(':').next());
        assert_eq!(udp.collect::<BTreeSet<_>>(), NODES.map(|(_, address)| address).into(), "{pod}: {log}");
    }
    lab.down().ok();
}

/// The answers in a text that must have at least so many.
#[track_caller]
fn answers_of(said: &str, least: usize) -> Vec<Answer> {
    let answers = answers(said);
    assert!(answers.len() >= least, "{said}");
    answers
}

#[test]
fn addresses_of_load_balancers_and_external_ones_are_answered() {
    const BALANCER: &str = "172.19.100.2";
    const EXTERNAL: &str = "198.51.100.7";
    let lab = lab(&service("", &format!(", type: LoadBalancer, externalIPs: [{EXTERNAL}]")));
    let ingress = format!("{{\"status\":{{\"loadBalancer\":{{\"ingress\":[{{\"ip\":\"{BALANCER}\"}}]}}}}}}");
    lab.kubectl(&["patch", "service", "web", "--subresource=status", "--type=merge", "-p", &ingress]).ok();
    for (node, _) in NODES {
        until(&format!("{node} knows the load balancer's address"), Duration::from_secs(10), || {
            lab.agent(node, &["service", "list"])
                .run()
                .out
                .contains(&format!("{BALANCER}:80/TCP"))
                .then_some(())
        });
    }
    // The client's router is told by hand.
    for (node, gateway) in NODES {
        for address in [BALANCER, EXTERNAL] {
            lab.outside("outside", &["ip", "route", "replace", address, "via", gateway]).ok();
            let answers = ask(&lab, address, 30);
            assert_eq!(pods(&answers), set(["web1", "web2"]), "{address} through {node}");
            assert_eq!(clients(&answers), set([gateway]), "{address} through {node}");
        }
    }
    // A port that the Service does not have is nobody's.
    let said = lab.outside("outside", &["curl", "-sS", "-m", "2", &format!("http://{BALANCER}:81/")]).run();
    assert!(!said.success() && said.out.is_empty(), "{said}");

    // The address is taken from the Service; the other stays.
    let none = "{\"status\":{\"loadBalancer\":{\"ingress\":[]}}}";
    lab.kubectl(&["patch", "service", "web", "--subresource=status", "--type=merge", "-p", none]).ok();
    for (node, _) in NODES {
        until(&format!("{node} has forgotten the address"), Duration::from_secs(10), || {
            (!lab.agent(node, &["bpf", "lb", "list"]).ok().contains(BALANCER)).then_some(())
        });
    }
    let said = lab.outside("outside", &["curl", "-sS", "-m", "2", BALANCER]).run();
    assert!(!said.success() && said.out.is_empty(), "{said}");
    assert_eq!(pods(&ask(&lab, EXTERNAL, 30)), set(["web1", "web2"]));
    lab.down().ok();
}

/// Sets the policy and waits until the node with `web1` acts on it.
fn set_policy(lab: &Lab, policy: &str) {
    let patch = format!("{{\"spec\":{{\"externalTrafficPolicy\":\"{policy}\"}}}}");
    lab.kubectl(&["patch", "service", "web", "-p", &patch]).ok();
    let node = NODES[0].1;
    let seen = if policy == "Local" { OUTSIDE[0] } else { node };
    until(&format!("policy {policy}"), Duration::from_secs(10), || {
        (clients(&ask(lab, &format!("{node}:{PORT}"), 1)) == set([seen])).then_some(())
    });
}

#[test]
fn policy_local_keeps_the_clients_address() {
    let lab = lab(&service("", ", type: NodePort, externalTrafficPolicy: Local"));
    for ((node, address), pod) in NODES.into_iter().zip(["web1", "web2"]) {
        for client in OUTSIDE {
            let answers = ask_from(&lab, client, &format!("{address}:{PORT}"), 10);
            assert_eq!(pods(&answers), set([pod]), "{node} asks only its own");
            assert_eq!(clients(&answers), set([client]), "through {node}");
        }
    }
    let without = format!("{}:{PORT}", NODES[2].1);
    let said = lab.outside("outside", &["curl", "-sS", "-m", "2", &without]).run();
    assert_eq!(said.code, Some(28), "a node without backends is silent: {said}");
    lab.down().ok();
}

#[test]
fn changing_the_policy_cuts_nothing() {
    let lab = lab(&service("", ", type: NodePort"));
    let [(_, with), _, (_, without)] = NODES;
    // A hundred connections a second through the node that answers under both policies, all the time.
    let load = load(&lab, &format!("{with}:{PORT}"), 900);
    // Under Local none could begin where no backend is.
    for (policy, through) in [("Local", vec![with, with, without]), ("Cluster", vec![with, with])] {
        let start = |node| Transfers::start(&lab, &format!("{node}:{PORT}"), 20);
        let mut running: Vec<Transfers> = through.into_iter().map(start).collect();
        thread::sleep(Duration::from_millis(500));
        set_policy(&lab, policy);
        for transfer in &mut running {
            transfer.run_still();
        }
        // The node without a backend is silent under Local, to new connections.
        let to = format!("{without}:{PORT}");
        let code = if policy == "Local" { 28 } else { 0 };
        until(&format!("policy {policy} where no backend is"), Duration::from_secs(10), || {
            let said = lab.outside("outside", &["curl", "-s", "-m", "1", &to]).run();
            (said.code == Some(code)).then_some(())
        });
        running.into_iter().for_each(Transfers::arrive);
    }
    all_answered(&load.wait(Duration::from_secs(60)), 900);
    lab.down().ok();
}

#[test]
fn a_client_with_affinity_stays_with_its_backend() {
    let lab = lab(&service("", ", type: NodePort, sessionAffinity: ClientIP"));
    let nodes = NODES.map(|(_, address)| format!("{address}:{PORT}"));
    let from_pod = |count: usize| {
        let url = format!("http://web/?[1-{count}]");
        let said = lab.exec("client", &["curl", "-sS", "-m", "5", "-H", "Connection: close", &url]).ok();
        answers_of(&said, count)
    };
    let mut kept = BTreeMap::new();
    for to in &nodes {
        for client in OUTSIDE {
            let answers = ask_from(&lab, client, to, 30);
            assert_eq!(pods(&answers).len(), 1, "{client} by {to}: {:?}", counts(&answers));
            kept.insert((to, client), answers[0].0.clone());
        }
    }
    let inside = from_pod(30);
    assert_eq!(pods(&inside).len(), 1, "a pod: {:?}", counts(&inside));

    // The one that the pod stays with is no backend any more; it would go on answering.
    let gone = inside[0].0.clone();
    let left = if gone == "web1" { "web2" } else { "web1" };
    lab.kubectl(&["label", "pod", &gone, "app=other", "--overwrite"]).ok();
    until_served(&lab, PORT, 1);
    for to in &nodes {
        for client in OUTSIDE {
            assert_eq!(pods(&ask_from(&lab, client, to, 10)), set([left]), "{client} by {to}");
        }
    }
    assert_eq!(pods(&from_pod(10)), set([left]));

    // Who has a backend keeps it when another comes.
    lab.kubectl(&["label", "pod", &gone, "app=web", "--overwrite"]).ok();
    until_served(&lab, PORT, 2);
    for to in &nodes {
        for client in OUTSIDE {
            assert_eq!(pods(&ask_from(&lab, client, to, 10)), set([left]), "{client} by {to}");
        }
    }
    assert_eq!(pods(&from_pod(10)), set([left]));

    lab.kubectl(&["patch", "service", "web", "-p", "{\"spec\":{\"sessionAffinity\":\"None\"}}"]).ok();
    for to in &nodes {
        until("both are asked without affinity", Duration::from_secs(10), || {
            (pods(&ask(&lab, to, 20)).len() == 2).then_some(())
        });
    }
    lab.down().ok();
}

#[test]
fn backends_are_chosen_as_the_annotations_say() {
    const ALGORITHM: &str = "pleopod.io/load-balancer-algorithm";
    let turns = format!(", annotations: {{{ALGORITHM}: round-robin}}");
    let lab = lab(&service(&turns, ", type: NodePort"));
    let nodes = NODES.map(|(_, address)| format!("{address}:{PORT}"));
    for to in &nodes {
        let answers = ask(&lab, to, 40);
        assert!(answers.windows(2).all(|two| two[0].0 != two[1].0), "by turns at {to}: {answers:?}");
    }

    lab.kubectl(&["annotate", "service", "web", "pleopod.io/backend-weights=web1=3,web2=1"]).ok();
    for (node, _) in NODES {
        until("the weights are there", Duration::from_secs(10), || {
            lab.agent(node, &["bpf", "lb", "list"]).ok().contains(" places=3").then_some(())
        });
    }
    for to in &nodes {
        let answers = ask(&lab, to, 40);
        assert_eq!(counts(&answers), BTreeMap::from([("web1", 30), ("web2", 10)]), "three of four at {to}");
    }

    lab.kubectl(&["annotate", "service", "web", "pleopod.io/backend-weights-"]).ok();
    lab.kubectl(&["annotate", "service", "web", "--overwrite", &format!("{ALGORITHM}=maglev")]).ok();
    for (node, _) in NODES {
        until("the table of Maglev is there", Duration::from_secs(10), || {
            let list = lab.agent(node, &["bpf", "lb", "list"]).ok();
            list.lines().any(|line| line.contains("places=5")).then_some(())
        });
    }
    for to in &nodes {
        assert_eq!(pods(&ask(&lab, to, 40)), set(["web1", "web2"]), "ports are spread at {to}");
    }

    lab.kubectl(&["annotate", "service", "web", "--overwrite", &format!("{ALGORITHM}=source-hash")]).ok();
    for to in &nodes {
        until(&format!("one backend for one client at {to}"), Duration::from_secs(10), || {
            (pods(&ask(&lab, to, 20)).len() == 1).then_some(())
        });
    }
    lab.down().ok();
}

#[test]
fn transfers_through_a_node_outlive_its_agent() {
    let lab = lab(&service("", ", type: NodePort"));
    // Two of each: through the node without backends, and through one whose own backend may be chosen.
    let mut transfers: Vec<Transfers> = [NODES[2].1, NODES[2].1, NODES[0].1, NODES[0].1]
        .into_iter()
        .map(|node| Transfers::start(&lab, &format!("{node}:{PORT}"), 20))
        .collect();
    let load = load(&lab, &format!("{}:{PORT}", NODES[2].1), 400);
    thread::sleep(Duration::from_millis(500));
    for (node, _) in [NODES[2], NODES[0]] {
        let before = lab.agent_process(node);
        assert!(before.signal(Signal::KILL), "the agent of {node} was not there");
        if node == NODES[2].0 {
            transfers.iter_mut().for_each(Transfers::run_still);
        }
        until(&format!("{node} has another agent"), Duration::from_secs(20), || {
            let other = lab.agent(node, &["status"]).run().success() && lab.agent_process(node) != before;
            other.then_some(())
        });
    }
    transfers.into_iter().for_each(Transfers::arrive);
    all_answered(&load.wait(Duration::from_secs(60)), 400);
    lab.down().ok();
}

#[test]
fn what_is_removed_is_asked_no_more() {
    let lab = lab(&service("", ", type: NodePort"));
    let nodes = NODES.map(|(_, address)| format!("{address}:{PORT}"));
    // It stops answering a while after it has left: nobody may notice.
    let loads = nodes.each_ref().map(|to| load(&lab, to, 300));
    thread::sleep(Duration::from_secs(1));
    let address = lab.pod_ip("web1");
    lab.kubectl(&["delete", "pod", "web1", "--wait=false"]).ok();
    until_served(&lab, PORT, 1);
    for to in &nodes {
        assert_eq!(pods(&ask(&lab, to, 50)), set(["web2"]), "at {to}");
    }
    for load in loads {
        all_answered(&load.wait(Duration::from_secs(30)), 300);
    }
    for (node, _) in NODES {
        let list = lab.agent(node, &["bpf", "lb", "list"]).ok();
        assert!(!list.contains(&format!("{address}:")), "{node} keeps {address}: {list}");
    }

    let address = lab.pod_ip("web2");
    lab.kubectl(&["delete", "service", "web"]).ok();
    for (node, _) in NODES {
        until(&format!("{node} has nothing of it"), Duration::from_secs(10), || {
            let list = lab.agent(node, &["bpf", "lb", "list"]).ok();
            (!list.contains(&format!(":{PORT}/")) && !list.contains(&format!("{address}:"))).then_some(())
        });
    }
    for to in &nodes {
        let said = lab.outside("outside", &["curl", "-sS", "-m", "2", to]).run();
        assert_eq!(said.code, Some(7), "nobody listens: {said}");
    }
    lab.down().ok();
}

#[test]
fn connections_that_are_over_are_soon_forgotten() {
    let lab = lab(&service("", ", type: NodePort"));
    let backends = ["web1", "web2"].map(|pod| lab.pod_ip(pod));
    for (entry, address) in NODES {
        // The server closes first, then the client, with backends here and elsewhere.
        let to = format!("{address}:{PORT}");
        ask(&lab, &to, 20);
        for _ in 0..10 {
            lab.outside("outside", &["curl", "-sS", "-m", "5", &to]).ok();
        }
        for (node, own) in NODES {
            let service = (own, PORT.to_string());
            let told = |row: &&str| {
                let words: Vec<&str> = row.split_whitespace().collect();
                words.windows(2).any(|end| (end[0], end[1]) == (service.0, &service.1))
                    || backends.iter().any(|pod| words.contains(&pod.as_str()))
            };
            until(&format!("all is over on {node}"), Duration::from_secs(5), || {
                let list = lab.agent(node, &["bpf", "ct", "list"]).ok();
                let rows: Vec<&str> = list.lines().filter(told).collect();
                let open: Vec<&&str> = rows.iter().filter(|row| !row.contains(" closed ")).collect();
                // Two FINs at the same moment on two CPUs may cost one of them.
                let over = open.len() * 10 <= rows.len();
                if !over {
                    eprintln!("{node}, of {}: {open:#?}", rows.len());
                }
                (over && (node != entry || !rows.is_empty())).then_some(())
            });
        }
    }
    lab.down().ok();
}
