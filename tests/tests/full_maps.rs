//! What happens when a table of the kernel is full: what found no room is told, everything else is served, and room that
//! comes back is used.

use std::fmt::Write as _;
use std::time::Duration;

use pleopod_tests::{Lab, manifest, until};
use serde_json::Value;

const NODE: &str = "k8s-s";
const FULL: &str = "writing: the map is full; `pleopod map list` says how many entries it holds at most";

/// Fills a table of the node with rows of nobody: `key` gives the bytes of a row's key.
fn fill(lab: &Lab, map: &str, key: impl Fn(u32) -> Vec<u8>) {
    let path = format!("/sys/fs/bpf/pleopod/maps/{map}");
    let about = lab.node(NODE, &["bpftool", "-j", "map", "show", "pinned", &path]).ok();
    let about: Value = serde_json::from_str(&about).expect("JSON");
    let number = |name: &str| about[name].as_u64().expect("a number");
    let value = " 00".repeat(usize::try_from(number("bytes_value")).expect("a size"));
    let mut batch = String::new();
    for row in 1..=u32::try_from(number("max_entries")).expect("a size") {
        let key: String = key(row).iter().map(|byte| format!(" {byte:02x}")).collect();
        let _ = writeln!(batch, "map update pinned {path} key hex{key} value hex{value}");
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), batch).expect("writing");
    // It stops at the first row that finds no room.
    let filled = lab.node(NODE, &["bpftool", "batch", "file", &file.path().display().to_string()]);
    let filled = filled.within(Duration::from_secs(30)).run();
    assert!(filled.err.contains("update failed: Argument list too long"), "{filled}");
}

/// An address of nobody, as tables hold it.
fn address(row: u32) -> Vec<u8> {
    let [_, a, b, c] = row.to_be_bytes();
    [0; 10].into_iter().chain([0xff, 0xff, 11, a, b, c]).collect()
}

/// A frontend of nobody: TCP port 80 of that address.
fn frontend(row: u32) -> Vec<u8> {
    address(row).into_iter().chain([0, 80, 6, 0]).collect()
}

/// Waits until a full pass has just been: rows of nobody stay for nearly half a minute from now.
fn full_pass(lab: &Lab) {
    let path = "/sys/fs/bpf/pleopod/maps/pleo_ipcache";
    let key: Vec<String> = address(0).iter().map(|byte| format!("{byte:02x}")).collect();
    let row = |verb: &str, rest: &[&str]| {
        lab.node(NODE, &["bpftool", "map", verb, "pinned", path, "key", "hex"])
            .words(&key.iter().map(String::as_str).collect::<Vec<_>>())
            .words(rest)
            .run()
    };
    let zeros = vec!["00"; 24];
    let written = row("update", &[&["value", "hex"][..], &zeros].concat());
    assert!(written.success(), "{written}");
    until("a full pass", Duration::from_secs(35), || (!row("lookup", &[]).success()).then_some(()));
}

/// A row of `pleopod map list`, by column.
fn listed(lab: &Lab, map: &str) -> Vec<String> {
    let list = lab.agent(NODE, &["map", "list"]).ok();
    let row = list.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    row.into_iter().find(|row| row[0] == map).unwrap_or_else(|| panic!("no {map} in {list}"))
}

fn tables(lab: &Lab) -> String {
    let status = lab.agent(NODE, &["status"]).ok();
    status.lines().find(|line| line.starts_with("Tables:")).unwrap_or_default().to_owned()
}

#[test]
fn a_full_table_of_connections_refuses_nobody_and_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("agent.yaml");
    std::fs::write(&config, "ct-entries: 1024\n").expect("writing");
    let lab = Lab::up_with(&["--config", &config.display().to_string()]);
    lab.kubectl(&["apply", "-f", &manifest("w4.yaml")]).ok();
    lab.ready("default");
    assert_eq!(listed(&lab, "ct")[5], "1024");
    let status = || lab.agent(NODE, &["status"]).ok();
    assert!(!status().contains("Connections:"), "no word while there is room");

    // One that goes on, and three times as many as there is room for.
    let url = format!("http://{}/data?size=24000000", lab.pod_ip("webpod1"));
    let paced =
        ["curl", "-s", "-o", "/dev/null", "--limit-rate", "2M", "-w", "%{exitcode} %{size_download}", &url];
    let mut paced = lab.exec("netpod", &paced).within(Duration::from_secs(60)).start();
    let many = format!("http://{}/?[1-3000]", lab.pod_ip("webpod2"));
    let burst = [
        "curl",
        "-sS",
        "-o",
        "/dev/null",
        "--no-keepalive",
        "-H",
        "Connection: close",
        "-w",
        "%{exitcode}\n",
        &many,
    ];
    let burst = lab.exec("netpod", &burst).within(Duration::from_secs(60)).ok();
    assert_eq!(burst.lines().filter(|line| *line == "0").count(), 3000, "every new connection was made");
    assert!(paced.runs(), "the long one is over too soon");
    let entries: usize = listed(&lab, "ct")[4].parse().expect("a number");
    assert!((512..=1024).contains(&entries), "{entries}");
    let sentence = " of at most 1024 connections are tracked; those longest unused are forgotten to make room; raise ct-entries";
    until("status tells", Duration::from_secs(25), || {
        let status = status();
        let line = status.lines().find(|line| line.starts_with("Connections:             Error   "))?;
        line.ends_with(sentence).then_some(())
    });
    lab.agent_ok(NODE);
    let said = paced.wait(Duration::from_secs(60));
    assert_eq!(said.out, "0 24000000", "{said}");
    let metrics = lab.agent(NODE, &["bpf", "metrics", "list"]).ok();
    assert!(!metrics.contains("ct-insert-failed"), "{metrics}");
    lab.down().ok();
}

#[test]
fn full_tables_of_addresses_and_services_are_told_and_put_right() {
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    lab.apply(
        r"
apiVersion: v1
kind: Node
metadata: {name: elsewhere}
spec: {podCIDR: 172.16.99.0/24, podCIDRs: [172.16.99.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.10.199}]}
",
    );
    let reaches = |url: &str| {
        lab.node(NODE, &["curl", "-sk", "-o", "/dev/null", "--max-time", "3", "-w", "%{exitcode}", url])
            .run()
            .out
    };
    let api = format!("https://{}/version", lab.field("svc/kubernetes", ".spec.clusterIP"));
    assert_eq!(reaches(&api), "0");
    full_pass(&lab);
    fill(&lab, "pleo_ipcache", address);
    fill(&lab, "pleo_lb_fe", frontend);
    lab.apply(
        r"
apiVersion: pleopod.io/v1alpha1
kind: PleopodEndpoint
metadata: {name: far}
spec: {node: elsewhere}
status: {id: 1, state: ready, identity: {id: 300}, networking: {node: 192.168.10.199, addressing: [{ipv4: 172.16.99.7}]}}
---
apiVersion: v1
kind: Service
metadata: {name: late}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
",
    );
    until("status tells", Duration::from_secs(10), || {
        let line = tables(&lab);
        let told = line.starts_with("Tables:                  Error   ipcache 172.16.99.7/32: ")
            && line.contains(FULL)
            && line.ends_with(" more rows; tried again every 30 s");
        told.then_some(())
    });
    for (map, row) in [("ipcache", "172.16.99.7"), ("lb_fe", "10.")] {
        assert_ne!(listed(&lab, map)[8], "0", "rows of {map} failed");
        let rows = lab.agent(NODE, &["map", "get", map]).ok();
        assert!(rows.lines().any(|line| line.starts_with(row) && line.contains(FULL)), "{rows}");
    }
    lab.agent_ok(NODE);
    assert_eq!(reaches(&api), "0", "what is in the tables is served");

    // Rows of nobody go with the next full pass, and what found no room finds it.
    until("the tables are in order", Duration::from_secs(35), || {
        tables(&lab).starts_with("Tables:                  Ok").then_some(())
    });
    assert_eq!((listed(&lab, "ipcache")[8].as_str(), listed(&lab, "lb_fe")[8].as_str()), ("0", "0"));
    assert!(lab.agent(NODE, &["map", "get", "ipcache"]).ok().contains("172.16.99.7"));
    // Refused at once: it is known, and nobody serves it.
    assert_eq!(reaches(&format!("http://{}/", lab.field("svc/late", ".spec.clusterIP"))), "7");
    lab.down().ok();
}

#[test]
fn a_full_table_of_endpoints_refuses_the_pod_and_is_put_right() {
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    full_pass(&lab);
    fill(&lab, "pleo_endpoints", address);
    lab.apply(
        r"
apiVersion: v1
kind: Pod
metadata: {name: late}
spec: {nodeName: k8s-s, terminationGracePeriodSeconds: 0, containers: [{name: c, image: registry.k8s.io/pause}]}
",
    );
    until("the pod's events tell", Duration::from_secs(10), || {
        let events = lab
            .kubectl(&[
                "get",
                "events",
                "--field-selector",
                "involvedObject.name=late",
                "-o",
                "jsonpath={.items[*].message}",
            ])
            .ok();
        events.contains(FULL).then_some(())
    });
    assert!(
        lab.agent(NODE, &["status"]).run().success(),
        "one pod that found no room is no reason to refuse others"
    );
    // Rows that nobody asked for go with the next full pass, and the runtime has kept trying.
    lab.kubectl(&["wait", "pod/late", "--for=condition=Ready", "--timeout=60s"])
        .within(Duration::from_secs(70))
        .ok();
    until("the tables are in order", Duration::from_secs(35), || {
        lab.agent(NODE, &["status"]).ok().contains("Tables:                  Ok").then_some(())
    });
    let log = std::fs::read_to_string(lab.layout().node(NODE).agent_log()).expect("the log");
    assert!(log.contains("full pass put rows right changed="), "{log}");
    lab.down().ok();
}
