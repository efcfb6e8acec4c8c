//! An agent that dies, or is told to end, is not missed: everything of it is pinned, and the next one goes on from there.

use std::thread;
use std::time::Duration;

use pleopod_tests::{Background, Lab, Said, manifest, until};
use rustix::process::Signal;
use serde_json::Value;

const NODES: [&str; 3] = ["k8s-s", "k8s-w1", "k8s-w2"];
/// How long the loads run: longer than six restarts take.
const LOAD: Duration = Duration::from_secs(18);

/// What a restart must leave as it is.
#[derive(Debug, PartialEq)]
struct Kept {
    /// Hooks with the kernel's number of the link at each.
    links: Vec<(String, u64)>,
    /// Addresses with their owners.
    addresses: Vec<(String, String)>,
}

/// What an agent says of itself; `None` while it does not answer, or is not ready.
fn status(lab: &Lab, node: &str) -> Option<Value> {
    let said = lab.agent(node, &["status", "--verbose", "-o", "json"]).run();
    let status: Value = serde_json::from_str(&said.out).ok()?;
    (status["ready"] == true).then_some(status)
}

fn rows<'a>(status: &'a Value, list: &str) -> &'a [Value] {
    status[list].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn kept(status: &Value) -> Kept {
    let link = |row: &Value| (text(&row["hook"]), row["link_id"].as_u64().unwrap_or_default());
    let address = |row: &Value| (text(&row["address"]), text(&row["owner"]));
    Kept {
        links: rows(status, "attached").iter().map(link).collect(),
        addresses: rows(status, "addresses").iter().map(address).collect(),
    }
}

/// New connections, one after the other, for as long as [`LOAD`]; one line each.
fn connect(lab: &Lab, from: &str, to: &str) -> Background {
    let rate = 100;
    let url = format!("http://{to}/?[1-{}]", rate * LOAD.as_secs());
    let words = ["curl", "-s", "-o", "/dev/null", "--max-time", "5", "-H", "Connection: close", "--rate"];
    let rate = format!("{rate}/s");
    let words: Vec<&str> =
        words.into_iter().chain([&*rate, "-w", "%{http_code} %{exitcode}\n", &url]).collect();
    lab.exec(from, &words).within(LOAD * 3).start()
}

/// Every connection that [`connect`] made was answered.
fn all_answered(said: &Said) {
    let answers: Vec<&str> = said.out.lines().collect();
    let bad: Vec<&&str> = answers.iter().filter(|answer| **answer != "200 0").collect();
    let some = &bad[..bad.len().min(8)];
    assert!(
        bad.is_empty(),
        "{} of {} connections failed, as {some:?}: {}",
        bad.len(),
        answers.len(),
        said.line
    );
    assert_eq!(answers.len() as u64, 100 * LOAD.as_secs(), "{}", said.err);
}

/// Kills or ends the agent of a node; the one after it has everything that the first had.
fn replace(lab: &Lab, node: &str, signal: Signal) {
    let before = status(lab, node).unwrap_or_else(|| panic!("the agent of {node} is not ready"));
    assert!(lab.agent_process(node).signal(signal), "the agent of {node} was not there");
    let after = until(&format!("{node} has another agent"), Duration::from_secs(20), || {
        status(lab, node).filter(|after| after["pid"] != before["pid"])
    });
    assert_eq!(kept(&after), kept(&before), "{node} after {signal:?}");
    let pods = rows(&after, "addresses").iter().filter(|row| text(&row["owner"]).contains('/'));
    assert!(pods.clone().count() > 0, "{after:#}");
    for pod in pods {
        assert_eq!(pod["restored"], true, "{pod}");
    }
    let shown = lab.agent(node, &["status", "--verbose"]).ok();
    assert!(shown.contains(" [restored])"), "{shown}");
}

/// A counter of `/proc/net/netstat` inside a pod.
fn counter(lab: &Lab, pod: &str, name: &str) -> u64 {
    let said = lab.exec(pod, &["cat", "/proc/net/netstat"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    let found = lines.chunks(2).find_map(|pair| {
        let [names, values] = pair else { return None };
        let at = names.split(' ').position(|word| word == name)?;
        values.split(' ').nth(at)?.parse().ok()
    });
    found.unwrap_or_else(|| panic!("no {name} in {said}"))
}

/// Packets that programs of a node dropped, with the reasons.
fn drops(lab: &Lab, node: &str) -> Vec<String> {
    let said = lab.agent(node, &["bpf", "metrics", "list"]).ok();
    said.lines().filter(|line| line.starts_with("drop")).map(str::to_owned).collect()
}

#[test]
fn agents_are_killed_and_restarted_under_load_and_nobody_notices() {
    let lab = Lab::up();
    lab.kubectl(&["apply", "-f", &manifest("w4.yaml"), "-f", &manifest("svc.yaml")]).ok();
    lab.ready("default");
    let (web1, web2) = (lab.pod_ip("webpod1"), lab.pod_ip("webpod2"));
    let server = lab.exec("webpod2", &["iperf3", "-s", "-1", "--forceflush"]).start();
    server.until_says("Server listening");
    let dropped: Vec<_> = NODES.iter().map(|node| drops(&lab, node)).collect();
    let timeouts = |pod| counter(&lab, pod, "TCPTimeouts");
    let before = ["netpod", "webpod1", "webpod2"].map(timeouts);

    // Through the Service, to a pod, one long transfer of a known size, and packets that nobody sends again.
    let service = connect(&lab, "netpod", "svc");
    let direct = connect(&lab, "netpod", &web1);
    let size = LOAD.as_secs() << 21;
    let mut long = lab
        .exec("netpod", &["curl", "-sS", "-o", "/dev/null", "--limit-rate", "2M"])
        .words(&["-w", "%{exitcode} %{size_download}", &format!("http://{web2}/data?size={size}")])
        .within(LOAD * 3)
        .start();
    let seconds = LOAD.as_secs().to_string();
    let datagrams = lab
        .exec("netpod", &["iperf3", "-c", &web2, "-u", "-b", "2M", "-l", "250", "-J", "-t", &seconds])
        .within(LOAD * 3)
        .start();
    thread::sleep(Duration::from_secs(1));

    for node in NODES {
        for signal in [Signal::KILL, Signal::TERM] {
            replace(&lab, node, signal);
        }
    }
    assert!(long.runs(), "the restarts took longer than the load");

    all_answered(&service.wait(LOAD * 2));
    all_answered(&direct.wait(LOAD * 2));
    let said = long.wait(LOAD * 2);
    assert_eq!(said.out, format!("0 {size}"), "{said}");
    let said = datagrams.wait(LOAD * 2);
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said}"));
    let sum = &report["end"]["sum"];
    assert!(sum["packets"].as_u64().is_some_and(|sent| sent > 10_000), "{sum:#}");
    assert_eq!(sum["lost_packets"], 0, "{sum:#}");
    drop(server);

    assert_eq!(["netpod", "webpod1", "webpod2"].map(timeouts), before, "segments were sent again");
    let after: Vec<_> = NODES.iter().map(|node| drops(&lab, node)).collect();
    assert_eq!(after, dropped, "packets were dropped");
    lab.down().ok();
}
