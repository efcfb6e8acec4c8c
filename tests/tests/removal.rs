//! Endpoints go while others use them: deleted, unready, over TCP and UDP.

use std::collections::BTreeSet;
use std::time::Duration;

use pleopod_tests::{Background, Lab, Said, until};

/// Two backends that end as most programs do, two that are cut off at once, and a client.
const OBJECTS: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: k8s-s
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: nicolaka/netshoot, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 7, protocol: UDP}]}
";

fn web(name: &str, node: &str, grace: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec:\n  nodeName: {node}\n  \
         terminationGracePeriodSeconds: {grace}\n  containers:\n  - name: c\n    image: traefik/whoami\n    \
         readinessProbe: {{httpGet: {{path: /health, port: 80}}, periodSeconds: 1, failureThreshold: 1}}\n---\n"
    )
}

fn echo(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: echo}}}}\nspec:\n  nodeName: {node}\n  \
         terminationGracePeriodSeconds: 0\n  containers: [{{name: c, image: pleopod/echo}}]\n---\n"
    )
}

/// A lab of three nodes with the client, the Services and `more`.
fn lab(more: &str) -> Lab {
    let lab = Lab::up();
    lab.apply(&format!("{OBJECTS}---\n{more}"));
    lab.ready("default");
    lab
}

/// The ready addresses in the slices of a Service, as the API server has them now.
fn endpoints(lab: &Lab, service: &str) -> Vec<String> {
    let selector = format!("kubernetes.io/service-name={service}");
    let path = "{range .items[*].endpoints[?(@.conditions.ready==true)]}{.addresses[0]}{\"\\n\"}{end}";
    let said =
        lab.kubectl(&["get", "endpointslices", "-l", &selector, "-o", &format!("jsonpath={path}")]).ok();
    said.lines().map(str::to_owned).collect()
}

/// Waits until an address is no ready endpoint of a Service.
fn until_left(lab: &Lab, service: &str, address: &str) {
    until(&format!("{address} has left {service}"), Duration::from_secs(15), || {
        (!endpoints(lab, service).iter().any(|there| there == address)).then_some(())
    });
}

/// New connections to the Service, one after the other; a line with status, exit code and backend for each.
fn requests(lab: &Lab, count: u32, rate: u32) -> Background {
    let (url, rate) = (format!("http://web/?[1-{count}]"), format!("{rate}/s"));
    lab.exec("client", &["curl", "-s", "--max-time", "5", "-H", "Connection: close", "-o", "/dev/null"])
        .words(&["--rate", &rate, "-w", "%{http_code} %{exitcode}\n", &url])
        .within(Duration::from_secs(60))
        .start()
}

fn all_answered(said: &Said, count: usize) {
    let bad = said.out.lines().filter(|line| *line != "200 0").count();
    assert_eq!(
        (said.out.lines().count(), bad),
        (count, 0),
        "answers and failures of {}: {}",
        said.line,
        said.err
    );
}

/// How many times each backend answers.
fn who_answers(lab: &Lab, count: u32) -> Vec<(String, usize)> {
    let url = format!("http://web/?[1-{count}]");
    let said = lab.exec("client", &["curl", "-s", "--max-time", "5", "-H", "Connection: close", &url]).ok();
    let mut names: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("Hostname: ")).collect();
    assert_eq!(names.len(), count as usize, "{said}");
    names.sort_unstable();
    names.chunk_by(|a, b| a == b).map(|same| (same[0].to_owned(), same.len())).collect()
}

#[test]
fn a_backend_that_ends_in_peace_loses_no_request() {
    let lab = lab(&[web("web1", "k8s-w1", 30), web("web2", "k8s-w2", 30), web("web3", "k8s-s", 30)].concat());
    let load = requests(&lab, 1200, 150);
    for (at, pod) in ["web1", "web3"].into_iter().enumerate() {
        let enough = (at + 1) * 300;
        until("requests are on their way", Duration::from_secs(20), || {
            (load.so_far().lines().count() >= enough).then_some(())
        });
        lab.kubectl(&["delete", "pod", pod, "--wait=false"]).ok();
    }
    all_answered(&load.wait(Duration::from_secs(60)), 1200);
    assert_eq!(who_answers(&lab, 20), [("web2".to_owned(), 20)]);
    lab.down().ok();
}

#[test]
fn a_backend_that_dies_is_asked_no_more_once_it_has_left_the_slice() {
    let lab = lab(&[web("web1", "k8s-w1", 0), web("web2", "k8s-w2", 0), web("web3", "k8s-s", 0)].concat());
    for pod in ["web1", "web3"] {
        let address = lab.pod_ip(pod);
        // Load goes on over the whole of it; what was on its way to the pod as it died may fail.
        let beside = requests(&lab, 300, 150);
        until("requests are on their way", Duration::from_secs(20), || {
            (beside.so_far().lines().count() >= 50).then_some(())
        });
        lab.kubectl(&["delete", "pod", pod, "--wait=false"]).ok();
        until_left(&lab, "web", &address);
        all_answered(&requests(&lab, 300, 300).wait(Duration::from_secs(30)), 300);
        let said = beside.wait(Duration::from_secs(30));
        let failed = said.out.lines().filter(|line| *line != "200 0").count();
        assert!(
            failed <= 20,
            "{failed} requests failed around the death of one of three backends\n{}",
            said.err
        );
    }
    assert_eq!(who_answers(&lab, 20), [("web2".to_owned(), 20)]);
    lab.down().ok();
}

#[test]
fn an_endpoint_that_is_not_ready_is_not_chosen_until_it_is_again() {
    let lab = lab(&[web("web1", "k8s-w1", 0), web("web2", "k8s-w2", 0)].concat());
    let both: Vec<String> = who_answers(&lab, 60).into_iter().map(|(name, _)| name).collect();
    assert_eq!(both, ["web1", "web2"]);
    let address = lab.pod_ip("web1");
    let health = format!("http://{address}/health");
    let load = requests(&lab, 900, 150);
    lab.exec("client", &["curl", "-sS", "--max-time", "5", "-d", "503", &health]).ok();
    until_left(&lab, "web", &address);
    assert_eq!(who_answers(&lab, 60), [("web2".to_owned(), 60)]);
    let kept = lab.exec("client", &["curl", "-sS", "--max-time", "5", &format!("http://{address}/")]).ok();
    assert!(kept.contains("Hostname: web1"), "its own address still answers: {kept}");

    lab.exec("client", &["curl", "-sS", "--max-time", "5", "-d", "200", &health]).ok();
    until("web1 is back", Duration::from_secs(15), || {
        endpoints(&lab, "web").contains(&address).then_some(())
    });
    let both: Vec<String> = who_answers(&lab, 60).into_iter().map(|(name, _)| name).collect();
    assert_eq!(both, ["web1", "web2"]);
    all_answered(&load.wait(Duration::from_secs(60)), 900);
    lab.down().ok();
}

/// A UDP client that asks ten times a second over one socket, and opens another when that one reports an error.
fn udp_client(lab: &Lab) -> Background {
    let script =
        "while :; do (while sleep 0.1; do echo hello; done) | socat -d - UDP:echo:7; echo again; done";
    lab.exec("client", &["sh", "-c", script]).within(Duration::from_secs(60)).start()
}

/// The ports of those who asked a pod.
fn askers(lab: &Lab, pod: &str) -> BTreeSet<String> {
    let log = lab.kubectl(&["logs", pod]).ok();
    log.lines().filter_map(|line| line.strip_prefix("udp ")?.split(' ').next().map(str::to_owned)).collect()
}

/// Waits until every client has had another answer since now.
fn all_get_answers(clients: &[Background]) {
    let hellos = |client: &Background| client.so_far().matches("hello\n").count();
    let before: Vec<usize> = clients.iter().map(hellos).collect();
    until("every client gets answers", Duration::from_secs(10), || {
        clients.iter().zip(&before).all(|(client, before)| hellos(client) > before + 3).then_some(())
    });
}

#[test]
fn a_connected_udp_socket_learns_that_its_backend_is_gone() {
    let lab = lab(&[echo("echo1", "k8s-w1"), echo("echo2", "k8s-w2")].concat());
    let (first, second) = (lab.pod_ip("echo1"), lab.pod_ip("echo2"));
    let clients: Vec<Background> = (0..8).map(|_| udp_client(&lab)).collect();
    for client in &clients {
        client.until_says("hello");
    }
    let (of_first, of_second) = (askers(&lab, "echo1").len(), askers(&lab, "echo2").len());
    assert!(of_first > 0 && of_second > 0 && of_first + of_second == 8, "{of_first} and {of_second} clients");
    let again = |client: &&Background| client.so_far().contains("again\n");
    assert_eq!(clients.iter().filter(again).count(), 0, "nobody was told anything yet");

    // The pod lives on and would go on answering, but is no backend any more.
    lab.kubectl(&["label", "pod", "echo1", "app=other", "--overwrite"]).ok();
    until_left(&lab, "echo", &first);
    until("its clients are told", Duration::from_secs(5), || {
        (clients.iter().filter(again).count() == of_first).then_some(())
    });
    for client in clients.iter().filter(again) {
        let said = client.complaints();
        // The first is what reading says (ECONNABORTED), the other what writing says (EDESTADDRREQ).
        let told = ["Software caused connection abort", "Destination address required"];
        assert!(told.iter().any(|error| said.contains(error)), "{said}");
    }
    all_get_answers(&clients);
    assert_eq!(
        clients.iter().filter(again).count(),
        of_first,
        "clients of the other backend noticed nothing"
    );
    assert_eq!(askers(&lab, "echo1").len(), of_first, "nobody came to the one that left");

    lab.kubectl(&["label", "pod", "echo1", "app=echo", "--overwrite"]).ok();
    until("echo1 is back", Duration::from_secs(15), || {
        endpoints(&lab, "echo").contains(&first).then_some(())
    });
    lab.kubectl(&["delete", "pod", "echo2", "--wait=false"]).ok();
    until_left(&lab, "echo", &second);
    all_get_answers(&clients);
    assert!(askers(&lab, "echo1").len() >= of_first + 8, "all have come to the one that is left");
    lab.down().ok();
}
