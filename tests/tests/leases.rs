//! What an agent finds when it starts: a journal that is damaged, lost or of another version, pins of another layout,
//! another agent. And when an address is given again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pleopod_tests::runtime::{Container, Runtime};
use pleopod_tests::{Background, Lab, manifest, until};
use rustix::process::Signal;

const NODE: &str = "k8s-w1";

/// W4's pods: `netpod` on k8s-s asks, `webpod1` on k8s-w1 answers.
fn lab() -> Lab {
    let lab = Lab::up();
    lab.kubectl(&["apply", "-f", &manifest("w4.yaml"), "-f", &manifest("svc.yaml")]).ok();
    lab.ready("default");
    lab
}

fn act(lab: &Lab, what: &str) {
    lab.pleopod(&["lab", "fault", "agent", NODE, what]).ok();
}

fn journal(lab: &Lab) -> PathBuf {
    lab.layout().node(NODE).dir.join("state/leases.json")
}

/// What the agent of the node has logged.
fn log(lab: &Lab) -> String {
    std::fs::read_to_string(lab.layout().node(NODE).agent_log()).expect("the log")
}

/// Pods of the node with their addresses, as `status` lists them.
fn pods(lab: &Lab) -> Vec<String> {
    let status = lab.agent(NODE, &["status", "--verbose"]).ok();
    status
        .lines()
        .filter(|line| line.contains('/') && line.contains('('))
        .filter(|line| line.starts_with("  172."))
        .map(str::to_owned)
        .collect()
}

/// A transfer of three megabytes a second from `webpod1`, and pings a hundred times a second; `end` looks at both.
struct Load {
    transfer: Background,
    pings: Background,
}

impl Load {
    fn start(lab: &Lab) -> Self {
        let address = lab.pod_ip("webpod1");
        let url = format!("http://{address}/data?size=18000000");
        let transfer = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "--limit-rate",
            "3M",
            "-w",
            "%{exitcode} %{size_download}",
            &url,
        ];
        let pings = ["ping", "-q", "-i", "0.01", "-c", "500", &address];
        let within = Duration::from_secs(60);
        let load = Self {
            transfer: lab.exec("netpod", &transfer).within(within).start(),
            pings: lab.exec("netpod", &pings).within(within).start(),
        };
        std::thread::sleep(Duration::from_millis(500));
        load
    }

    fn end(mut self) {
        assert!(self.transfer.runs() && self.pings.runs(), "the load was over before the agent was back");
        let said = self.transfer.wait(Duration::from_secs(60));
        assert_eq!(said.out, "0 18000000", "{said}");
        let said = self.pings.wait(Duration::from_secs(60));
        assert!(said.out.contains("500 received"), "{said}");
    }
}

#[test]
fn whatever_became_of_the_journal_pods_keep_their_addresses() {
    let lab = lab();
    let before = pods(&lab);
    assert!(before.iter().any(|line| line.contains("default/webpod1")), "{before:?}");
    let restored =
        |line: &String| format!("{} [restored])", line.trim_end_matches(')').trim_end_matches(" [restored]"));
    let expected: Vec<String> = before.iter().map(restored).collect();

    let whole = |text: &str| text.to_owned();
    type Damage = (&'static str, Option<fn(&str) -> String>, &'static str);
    let damages: [Damage; 6] = [
        ("as it was", Some(whole), "pods taken over"),
        ("lost", None, "leases rebuilt from interfaces"),
        ("empty", Some(|_| String::new()), "the lease journal is damaged (the file is empty)"),
        (
            "cut short",
            Some(|text| text[..300].to_owned()),
            "the lease journal is damaged (216 bytes, expected ",
        ),
        (
            "changed",
            Some(|text| text.replace("172.16.1.3", "172.16.1.9")),
            "the lease journal is damaged (checksum ",
        ),
        (
            "newer",
            Some(|text| text.replace("\"version\":1", "\"version\":2")),
            "the lease journal has version 2, this agent reads 1; it is put aside, and leases are rebuilt from the interfaces that are there",
        ),
    ];
    for (what, change, sentence) in damages {
        let load = Load::start(&lab);
        act(&lab, "stop");
        let text = std::fs::read_to_string(journal(&lab)).expect("the journal");
        match change {
            Some(change) => std::fs::write(journal(&lab), change(&text)).expect("writing"),
            None => std::fs::remove_file(journal(&lab)).expect("removing"),
        }
        let logged = log(&lab).len();
        act(&lab, "start");
        lab.agent_ok(NODE);
        let said = log(&lab)[logged..].to_owned();
        assert!(said.contains(sentence), "{what}: {said}");
        assert_eq!(pods(&lab), expected, "{what}");
        load.end();
    }
    assert!(journal(&lab).with_extension("damaged.json").exists(), "a damaged journal is kept");
    assert!(journal(&lab).with_extension("version-2.json").exists(), "one of another version is kept, too");

    // The runtime's own id of the container was lost with the journal; its DEL still finds the interface.
    lab.kubectl(&["delete", "pod", "webpod1"]).ok();
    until("the pod is off the node", Duration::from_secs(10), || {
        (!pods(&lab).iter().any(|line| line.contains("default/webpod1"))).then_some(())
    });
    let links = lab.node(NODE, &["ls", "/sys/fs/bpf/pleopod/links"]).ok();
    let of_pods = links.lines().filter(|name| name.starts_with("lxc")).count();
    assert_eq!(of_pods, 2 * (before.len() - 1), "{links}");
    lab.down().ok();
}

#[test]
fn pins_of_an_older_or_newer_agent_are_replaced_while_packets_flow() {
    let lab = lab();
    for layout in ["layout-0", "layout-999"] {
        let load = Load::start(&lab);
        act(&lab, "stop");
        let rename = format!("cd /sys/fs/bpf/pleopod && rmdir layout-* && mkdir {layout}");
        lab.node(NODE, &["sh", "-c", &rename]).ok();
        let logged = log(&lab).len();
        act(&lab, "start");
        lab.agent_ok(NODE);
        let said = log(&lab)[logged..].to_owned();
        let number = layout.trim_start_matches("layout-");
        let sentence = format!(
            "a pinned map could not be used again; it starts empty map=\"pleo_endpoints\" why=\"pinned by layout {number}, this is layout "
        );
        assert!(said.contains(&sentence), "{said}");
        load.end();
        lab.exec("netpod", &["curl", "-sS", "--max-time", "3", "svc"]).ok();
    }
    // Something that is no map of ours at all.
    let load = Load::start(&lab);
    act(&lab, "stop");
    lab.node(
        NODE,
        &["sh", "-c", "cd /sys/fs/bpf/pleopod/maps && rm pleo_endpoints && ln pleo_ct pleo_endpoints"],
    )
    .ok();
    act(&lab, "start");
    lab.agent_ok(NODE);
    load.end();
    lab.down().ok();
}

#[test]
fn a_second_agent_on_a_node_is_refused() {
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    let first = lab.agent_process("k8s-s");
    let config = lab.layout().node("k8s-s").agent_config().display().to_string();
    let agent = lab.program("pleopod-agent");
    let said = lab.node("k8s-s", &[&agent, "--config", &config]).within(Duration::from_secs(10)).run();
    let pins = lab.layout().node("k8s-s").dir.join("bpf/pleopod");
    let expected = format!(
        "pleopod-agent: another pleopod-agent runs on this node (process {}) and holds {}; two would undo each other's work, so \
         this one ends. Stop the other first\n",
        first.pid,
        pins.display()
    );
    assert_eq!((said.code, said.err.as_str()), (Some(1), expected.as_str()));
    lab.agent_ok("k8s-s");
    assert!(first.alive());
    // Once the first is gone the next may come: the lock goes with the process, however that ends.
    assert!(first.signal(Signal::KILL));
    until("another agent runs", Duration::from_secs(15), || {
        let status = lab.agent("k8s-s", &["status"]).run();
        (status.success() && !status.out.contains(&format!("(pid {},", first.pid))).then_some(())
    });
    lab.down().ok();
}

#[test]
fn an_address_rests_before_it_is_given_again() {
    let lab = Lab::unmade();
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("writing");
        path.display().to_string()
    };
    let topology = lab.pleopod(&["lab", "up", "--nodes", "1", "--print-topology"]).ok();
    let topology = file("topology.yaml", &topology.replace("172.16.0.0/24", "172.16.0.0/29"));
    let config = file("agent.yaml", "ipam-grace: 5\n");
    lab.bring_up(&["--topology", &topology, "--config", &config, "--without-dns"]).ok();
    let runtime = Runtime::new(&lab, "k8s-s");

    // Of eight addresses four are for pods: the net's and broadcast, router and health are not.
    let all: Vec<Container> = (0..4).map(|_| Container::new("full")).collect();
    let mut addresses: Vec<String> =
        all.iter().map(|container| runtime.add(container).ok().address()).collect();
    addresses.sort();
    assert_eq!(addresses, ["172.16.0.3", "172.16.0.4", "172.16.0.5", "172.16.0.6"]);
    let more = Container::new("more");
    let said = runtime.add(&more).refused(11);
    assert!(
        said.ends_with("no free IPv4 address in 172.16.0.0/29: 6 of 6 in use, 0 freed less than 5 s ago"),
        "{said}"
    );
    let said = runtime.status().refused(50);
    assert_eq!(
        said,
        "STATUS: every address of 172.16.0.0/29 is in use; delete pods or give the node a larger pod CIDR"
    );

    let freed = Instant::now();
    let _ = runtime.del(&all[1]).ok();
    let said = runtime.add(&more).refused(11);
    assert!(said.contains("5 of 6 in use, 1 freed less than 5 s ago; the next is free in "), "{said}");
    // A restart does not forget what rests.
    lab.pleopod(&["lab", "fault", "agent", "k8s-s", "kill"]).ok();
    lab.agent_ok("k8s-s");
    if freed.elapsed() < Duration::from_secs(4) {
        let said = runtime.add(&more).refused(11);
        assert!(said.contains("5 of 6 in use, 1 freed less than 5 s ago; the next is free in "), "{said}");
    }
    until("the address has rested", Duration::from_secs(15), || {
        runtime.add(&more).said.success().then_some(())
    });
    assert!(freed.elapsed() >= Duration::from_secs(5), "given again after {:?}", freed.elapsed());
    lab.down().ok();
}
