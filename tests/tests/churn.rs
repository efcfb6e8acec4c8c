//! Two hundred pods on one node come, fifty at a time, and go: nothing of them stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pleopod_lab::cgroup;
use pleopod_lab::pod::sandbox::{RECORD, Sandbox};
use pleopod_tests::{Lab, until};
use serde_json::Value;

const NODE: &str = "k8s-s";
const BATCH: usize = 50;
const PODS: usize = 200;

const NETPOD: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: netpod}
spec:
  nodeName: k8s-s
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: nicolaka/netshoot, command: [sleep, infinity]}]
";

/// Everything of a node, and of the cluster, that a pod leaves a trace in; each line of each list is one trace.
type Traces = BTreeMap<&'static str, BTreeSet<String>>;

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

fn files(directory: PathBuf) -> BTreeSet<String> {
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Attachments on record in the journal: a line of header, a line of JSON.
fn leases(journal: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(journal).expect("the journal");
    let body = text.lines().nth(1).expect("the second line");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let owned =
        ["leases", "addresses", "endpointIds"].map(|list| body[list].as_array().expect("a list").clone());
    owned
        .concat()
        .iter()
        .map(|entry| if entry["attachment"].is_null() { entry } else { &entry["attachment"] }.to_string())
        .collect()
}

fn traces(lab: &Lab) -> Traces {
    let layout = lab.layout().node(NODE);
    let on_node = |words: &[&str]| lines(&lab.node(NODE, words).ok());
    let map = |name: &str| lines(&lab.agent(NODE, &["map", "get", name]).ok());
    let cgroup = cgroup::mount_point().expect("cgroup2").join(lab.layout().cgroup()).join(NODE);
    let first = |words: BTreeSet<String>| {
        words.iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    BTreeMap::from([
        ("links", on_node(&["sh", "-c", "ip -o link | cut -d: -f2"])),
        ("addresses", on_node(&["sh", "-c", "ip -o address | cut -d' ' -f2,7"])),
        // The uplink gets its link-local address when it likes.
        ("routes", on_node(&["sh", "-c", "ip route show table all | grep -v 'dev ens5'"])),
        ("permanent neighbours", on_node(&["ip", "neigh", "show", "nud", "permanent"])),
        ("pins of links", on_node(&["ls", "/sys/fs/bpf/pleopod/links"])),
        ("pins of maps", on_node(&["ls", "/sys/fs/bpf/pleopod/maps"])),
        ("endpoints", map("endpoints")),
        ("ipcache", first(map("ipcache"))),
        ("netns", map("netns")),
        ("leases", leases(&layout.dir.join("state/leases.json"))),
        ("sandboxes", files(layout.dir.join("pods"))),
        ("cgroups", on_node(&["find", &cgroup.display().to_string(), "-mindepth", "1", "-type", "d"])),
        ("endpoint objects", lines(&lab.kubectl(&["get", "pep", "-A", "-o", "name"]).ok())),
    ])
}

fn batch(number: usize) -> String {
    (number * BATCH..(number + 1) * BATCH).fold(String::new(), |mut yaml, pod| {
        let _ = write!(
            yaml,
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: churn{pod}, labels: {{app: churn}}}}\nspec:\n  nodeName: {NODE}\n  \
             terminationGracePeriodSeconds: 0\n  containers: [{{name: c, image: registry.k8s.io/pause}}]\n---\n"
        );
        yaml
    })
}

/// The pods of the test as objects.
fn pods(lab: &Lab) -> Vec<Value> {
    let list = lab.kubectl(&["get", "pods", "-l", "app=churn", "-o", "json"]).ok();
    let list: Value = serde_json::from_str(&list).expect("a list");
    list["items"].as_array().cloned().unwrap_or_default()
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Connections that have one of `addresses` at one of their ends.
fn connections(lab: &Lab, addresses: &BTreeSet<String>) -> Vec<String> {
    let rows = lab.agent(NODE, &["bpf", "ct", "list"]).ok();
    let concerned = |line: &&str| line.split_whitespace().any(|word| addresses.contains(word));
    rows.lines().filter(concerned).map(str::to_owned).collect()
}

#[test]
fn two_hundred_pods_come_and_go_and_leave_nothing() {
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    lab.apply(NETPOD);
    lab.ready("default");
    until("the pod's object is published", Duration::from_secs(10), || {
        lab.kubectl(&["get", "pep", "netpod"]).run().success().then_some(())
    });
    let before = traces(&lab);

    for number in 0..PODS / BATCH {
        lab.apply(&batch(number));
        until("the batch is ready", Duration::from_secs(90), || {
            let pods = pods(&lab);
            (pods.len() == (number + 1) * BATCH && pods.iter().all(ready)).then_some(())
        });
    }
    let addresses: BTreeSet<String> =
        pods(&lab).iter().filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned)).collect();
    assert_eq!(addresses.len(), PODS, "every pod has an address of its own");
    let records = lab.layout().node(NODE).dir.join("pods");
    let namespaces: Vec<PathBuf> = std::fs::read_dir(&records)
        .expect("sandboxes")
        .flatten()
        .filter_map(|pod| {
            serde_json::from_slice::<Sandbox>(&std::fs::read(pod.path().join(RECORD)).ok()?).ok()
        })
        .map(|sandbox| sandbox.netns)
        .collect();
    assert_eq!(namespaces.len(), PODS + 1);

    // Some of them talk, so that there are connections to forget.
    for address in addresses.iter().take(20) {
        lab.exec("netpod", &["ping", "-q", "-c", "1", "-W", "2", address]).ok();
    }
    assert_eq!(connections(&lab, &addresses).len(), 20);

    lab.kubectl(&["delete", "pods", "-l", "app=churn", "--wait=false"]).within(Duration::from_secs(60)).ok();
    until("the pods are gone", Duration::from_secs(60), || pods(&lab).is_empty().then_some(()));
    let mut left = String::new();
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        left.clear();
        for (what, now) in &traces(&lab) {
            let more: Vec<_> = now.difference(&before[what]).collect();
            let less: Vec<_> = before[what].difference(now).collect();
            if !more.is_empty() || !less.is_empty() {
                let _ = writeln!(left, "{what}: stay {more:?}, missing {less:?}");
            }
        }
        let known = connections(&lab, &addresses);
        if !known.is_empty() {
            let _ = writeln!(left, "connections: stay {known:?}");
        }
        if left.is_empty() || std::time::Instant::now() > patience {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(left, "");
    let stay: Vec<_> = namespaces.iter().filter(|path| path.exists()).collect();
    assert_eq!(stay.len(), 1, "only the pod that was not deleted has its namespace: {stay:?}");
    lab.agent_ok(NODE);
    lab.down().ok();
    assert_eq!(lab.traces(), [] as [String; 0]);
}
