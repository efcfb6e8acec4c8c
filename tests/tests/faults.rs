//! What breaks around an agent: its API server, its watches, its uplink, the agent itself in the middle of its work.

use std::thread;
use std::time::{Duration, Instant};

use pleopod_tests::runtime::{Container, Runtime};
use pleopod_tests::{Lab, manifest, until};
use rustix::process::Signal;

/// W4's pods and Service.
fn lab() -> Lab {
    let lab = Lab::up();
    lab.kubectl(&["apply", "-f", &manifest("w4.yaml"), "-f", &manifest("svc.yaml")]).ok();
    lab.ready("default");
    lab
}

fn fault(lab: &Lab, words: &[&str]) {
    lab.pleopod(&["lab", "fault"]).words(words).ok();
}

/// A line of `pleopod status`, by its first word; empty while there is none.
fn line(lab: &Lab, node: &str, name: &str) -> String {
    let status = lab.agent(node, &["status"]).run().out;
    let found = status.lines().find(|line| line.starts_with(&format!("{name}:")));
    found.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn until_line(lab: &Lab, node: &str, expected: &str) {
    let name = expected.split(':').next().unwrap_or_default();
    until(&format!("{node} says {expected}"), Duration::from_secs(15), || {
        line(lab, node, name).starts_with(expected).then_some(())
    });
}

/// Whether `netpod` gets an answer. Not through kubectl, which needs the API server.
fn answers(lab: &Lab, url: &str) -> bool {
    let curl = ["curl", "-s", "-o", "/dev/null", "--max-time", "2", url];
    lab.pleopod(&["lab", "exec", "netpod", "--"]).words(&curl).run().success()
}

#[test]
fn an_api_server_that_is_away_stops_nothing_that_runs() {
    let lab = lab();
    let service = format!("http://{}/", lab.field("svc/svc", ".spec.clusterIP"));
    let web1 = format!("http://{}/", lab.pod_ip("webpod1"));
    fault(&lab, &["api", "away"]);
    until_line(&lab, "k8s-s", "API server: Error watch of ");
    assert!(line(&lab, "k8s-s", "API server").ends_with(": the API server is away"));
    assert_eq!(line(&lab, "k8s-s", "Agent"), "Agent: Ok", "what is in force stays so");
    assert!(answers(&lab, &service) && answers(&lab, &web1));
    assert!(lab.agent("k8s-s", &["service", "list"]).ok().contains("default/svc"));

    // An agent that starts now goes on with the Node as it was last seen; everything of the one before stays.
    fault(&lab, &["agent", "k8s-s", "kill"]);
    until_line(
        &lab,
        "k8s-s",
        "Kubernetes: Error waiting for the first list of Node, Namespace, Pod, Service, ",
    );
    let agent = line(&lab, "k8s-s", "Agent");
    assert!(
        agent.starts_with("Agent: Not ready: ") && agent.contains(": the API server is away; "),
        "{agent}"
    );
    assert_eq!(lab.agent("k8s-s", &["status"]).run().code, Some(1));
    let addresses = lab.agent("k8s-s", &["status", "--verbose"]).run().out;
    assert!(addresses.contains("default/netpod [restored]"), "its pods are taken over\n{addresses}");
    for _ in 0..20 {
        assert!(answers(&lab, &service) && answers(&lab, &web1));
    }

    let back = Instant::now();
    fault(&lab, &["api", "back"]);
    for node in ["k8s-s", "k8s-w1", "k8s-w2"] {
        until_line(&lab, node, "API server: Ok every watch runs");
        until_line(&lab, node, "Agent: Ok");
    }
    assert!(back.elapsed() < Duration::from_secs(15), "known to be back after {:?}", back.elapsed());
    lab.kubectl(&["label", "pod", "webpod1", "tier=front"]).ok();
    until("news arrive", Duration::from_secs(10), || {
        lab.agent("k8s-w1", &["endpoint", "list"]).ok().contains("k8s:tier=front").then_some(())
    });
    lab.down().ok();
}

#[test]
fn news_arrive_after_watches_end_and_after_410() {
    let lab = lab();
    for (number, how) in ["drop-watches", "compact", "drop-watches"].into_iter().enumerate() {
        fault(&lab, &["api", how]);
        lab.kubectl(&["label", "pod", "webpod1", &format!("round=r{number}"), "--overwrite"]).ok();
        until(&format!("news arrive after {how}"), Duration::from_secs(10), || {
            lab.agent("k8s-w1", &["endpoint", "list"])
                .ok()
                .contains(&format!("k8s:round=r{number}"))
                .then_some(())
        });
    }
    // What went while nobody could tell is missed at the next list.
    fault(&lab, &["api", "away"]);
    until_line(&lab, "k8s-s", "API server: Error");
    fault(&lab, &["api", "compact"]);
    fault(&lab, &["api", "back"]);
    lab.kubectl(&["delete", "service", "svc"]).ok();
    until("the Service is gone", Duration::from_secs(15), || {
        (!lab.agent("k8s-s", &["service", "list"]).ok().contains("default/svc")).then_some(())
    });
    lab.down().ok();
}

#[test]
fn an_uplink_goes_and_comes_back() {
    let lab = lab();
    let (web1, web2) =
        (format!("http://{}/", lab.pod_ip("webpod1")), format!("http://{}/", lab.pod_ip("webpod2")));
    let node = |words: &[&str]| lab.node("k8s-w1", words).ok();

    fault(&lab, &["link", "k8s-w1", "cut"]);
    until_line(
        &lab,
        "k8s-w1",
        "Uplinks: Error link ens5 has no carrier; other nodes are not reached over it",
    );
    assert_eq!(line(&lab, "k8s-w1", "Agent"), "Agent: Ok", "its own pods are served");
    assert!(!answers(&lab, &web1) && answers(&lab, &web2));
    fault(&lab, &["link", "k8s-w1", "heal"]);
    until_line(&lab, "k8s-w1", "Uplinks: Ok ens5 up");
    until("it is reached again", Duration::from_secs(5), || answers(&lab, &web1).then_some(()));

    // The kernel takes the routes of a link that is set down away without a word.
    node(&["ip", "link", "set", "ens5", "down"]);
    until_line(&lab, "k8s-w1", "Uplinks: Error link ens5 is down; other nodes are not reached over it");
    until_line(&lab, "k8s-w1", "Tables: Error node-routes 172.16.0.0/24: ");
    node(&["ip", "link", "set", "ens5", "up"]);
    until_line(&lab, "k8s-w1", "Tables: Ok");
    until("it is reached again", Duration::from_secs(5), || answers(&lab, &web1).then_some(()));

    // Away and back with another index: programs and facts must follow.
    let index = node(&["cat", "/sys/class/net/ens5/ifindex"]).trim().to_owned();
    let address = lab.field("node/k8s-w1", ".status.addresses[0].address");
    let elsewhere = Container::new("elsewhere");
    let script = format!(
        "ip link set ens5 netns {0} && ip link add pleo-t-dummy index {index} type veth peer name pleo-t-peer && sleep 1 && \
         ip -n {0} link set ens5 netns $$ && ip addr add {address}/24 dev ens5 && ip link set ens5 up",
        elsewhere.netns.name()
    );
    let moved = lab.node("k8s-w1", &["sh", "-c", &script]).run();
    assert!(moved.success(), "{moved}");
    let other = node(&["cat", "/sys/class/net/ens5/ifindex"]).trim().to_owned();
    assert_ne!(other, index);
    until_line(&lab, "k8s-w1", "Uplinks: Ok ens5 up");
    until_line(&lab, "k8s-w1", "Tables: Ok");
    until("it is reached again", Duration::from_secs(10), || answers(&lab, &web1).then_some(()));
    let attached = lab.agent("k8s-w1", &["status", "--verbose"]).ok();
    for hook in ["ens5 tcx/ingress from_uplink", "ens5 tcx/egress to_uplink"] {
        // A link whose interface is gone would say so after its hook.
        assert!(attached.contains(hook), "{hook}: {attached}");
    }
    let counted = passed(&lab, "k8s-w1");
    assert!(answers(&lab, &web1));
    until("its programs see packets again", Duration::from_secs(5), || {
        (passed(&lab, "k8s-w1") > counted).then_some(())
    });
    lab.down().ok();
}

/// Packets that programs of a node put into pods.
fn passed(lab: &Lab, node: &str) -> u64 {
    let rows = lab.agent(node, &["bpf", "metrics", "list"]).ok();
    let row = rows
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| row.starts_with(&["forward", "to-endpoint"]));
    row.and_then(|row| row.get(3)?.parse().ok()).unwrap_or_default()
}

/// Host sides of pods that are not waiting to be deleted, with pins, rows and leases of the node.
fn held(lab: &Lab, node: &str) -> [usize; 4] {
    let count = |words: &[&str], part: &str| {
        lab.node(node, words).ok().lines().filter(|line| line.contains(part)).count()
    };
    let status = lab.agent(node, &["status", "--verbose"]).ok();
    let rows = lab.agent(node, &["map", "get", "endpoints"]).ok();
    [
        count(&["ip", "-o", "link", "show", "type", "veth"], "lxc"),
        count(&["ls", "/sys/fs/bpf/pleopod/links"], "lxc") / 2,
        rows.lines().filter(|line| line.contains("mac=")).count(),
        status.lines().filter(|line| line.contains("(default/byhand")).count(),
    ]
}

/// A few numbers that look like chance and are the same in every run.
fn chance(round: u64) -> Duration {
    let mixed = (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Duration::from_micros((mixed >> 40) % 120_000)
}

#[test]
fn an_agent_that_is_killed_at_any_moment_of_a_burst_leaves_nothing_half_done() {
    const NODE: &str = "k8s-s";
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    let runtime = Runtime::new(&lab, NODE);
    for round in 0..20 {
        let containers: Vec<Container> = (0..6).map(|_| Container::new("burst")).collect();
        thread::scope(|scope| {
            for container in &containers {
                let runtime = &runtime;
                // A runtime that is told to try again later does.
                scope.spawn(move || {
                    let end = Instant::now() + Duration::from_secs(30);
                    loop {
                        let answer = runtime.add(container);
                        if answer.said.success() {
                            break;
                        }
                        assert_eq!(answer.json["code"], 11, "round {round}: {}", answer.said);
                        assert!(Instant::now() < end, "round {round}: {}", answer.said);
                        thread::sleep(Duration::from_millis(100));
                    }
                });
            }
            thread::sleep(chance(round));
            let killed = lab.agent_process(NODE).signal(Signal::KILL);
            assert!(killed, "round {round}: there was an agent");
        });
        lab.agent_ok(NODE);
        until(
            &format!("round {round}: six of everything: {:?}", held(&lab, NODE)),
            Duration::from_secs(10),
            || (held(&lab, NODE) == [6; 4]).then_some(()),
        );
        let addresses: Vec<String> =
            containers.iter().map(|one| one.ip(&["-o", "-4", "address", "show", "dev", "eth0"])).collect();
        for (one, other) in containers.iter().zip(addresses.iter().cycle().skip(1)) {
            let address =
                other.split_whitespace().nth(3).and_then(|net| net.split('/').next()).unwrap_or_default();
            let words = ["netns", "exec", one.netns.name(), "ping", "-c1", "-W2", address];
            pleopod_tests::Run::new("ip").words(&words).ok();
        }
        // Every other time the agent is killed as they go, too.
        thread::scope(|scope| {
            for container in &containers {
                let runtime = &runtime;
                scope.spawn(move || {
                    until("DEL", Duration::from_secs(30), || {
                        let answer = runtime.del(container);
                        assert!(
                            answer.said.success() || answer.json["code"] == 11,
                            "round {round}: {}",
                            answer.said
                        );
                        answer.said.success().then_some(())
                    });
                });
            }
            if round % 2 == 1 {
                thread::sleep(chance(round + 100) / 4);
                assert!(lab.agent_process(NODE).signal(Signal::KILL), "round {round}: there was an agent");
            }
        });
        lab.agent_ok(NODE);
        until(&format!("round {round}: nothing: {:?}", held(&lab, NODE)), Duration::from_secs(15), || {
            (held(&lab, NODE) == [0; 4]).then_some(())
        });
    }
    let panics = std::fs::read_to_string(lab.layout().node(NODE).agent_log()).expect("the log");
    assert!(!panics.contains("panicked"), "{panics}");
    lab.down().ok();
}
