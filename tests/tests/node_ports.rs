//! Where a node answers for Services, and what it tells load balancers of them.

use std::path::PathBuf;
use std::time::Duration;

use pleopod_tests::{Lab, until};
use serde_json::Value;

const NODES: [&str; 2] = ["k8s-s", "k8s-w1"];
const CHECK: u16 = 32_100;
const SOON: Duration = Duration::from_secs(10);

/// A file of the test's own.
struct Config(PathBuf);

impl Drop for Config {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// A Service whose endpoints are written by hand: one on `k8s-s`, and as many as `here` on `k8s-w1`.
fn objects(here: usize) -> String {
    let endpoint = |address: String, node: &str| {
        format!("{{addresses: [{address}], nodeName: {node}, conditions: {{ready: true}}}}")
    };
    let there = (0..here).map(|i| endpoint(format!("172.16.1.{}", 200 + i), NODES[1]));
    let all = std::iter::once(endpoint("172.16.0.200".into(), NODES[0])).chain(there);
    let endpoints = all.collect::<Vec<_>>().join(", ");
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{type: LoadBalancer, externalTrafficPolicy: Local, \
         healthCheckNodePort: {CHECK}, ports: [{{port: 80, nodePort: 30080}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: \
         {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{port: 80}}]\nendpoints: [{endpoints}]\n"
    )
}

/// What a load balancer beside `k8s-s` hears of a node: headers and body, or nothing.
fn asked(lab: &Lab, address: &str) -> Option<(String, Value)> {
    let url = format!("http://{address}:{CHECK}/");
    let said = lab.node(NODES[0], &["curl", "-sS", "-i", "-m", "2", &url]).run();
    let (head, body) = said.out.split_once("\r\n\r\n")?;
    Some((head.to_ascii_lowercase(), serde_json::from_str(body).ok()?))
}

/// Asks until so many endpoints are told with this status.
fn tells(lab: &Lab, address: &str, endpoints: u64, status: &str) {
    until(&format!("{endpoints} endpoints at {address}"), SOON, || {
        let (head, body) = asked(lab, address)?;
        let weight = format!("x-load-balancing-endpoint-weight: {endpoints}");
        let whole = head.starts_with(&format!("http/1.1 {status}"))
            && head.contains(&weight)
            && head.contains("content-type: application/json")
            && head.contains("x-content-type-options: nosniff")
            && body["service"]["namespace"] == "default"
            && body["service"]["name"] == "web"
            && body["localEndpoints"] == endpoints
            && body["serviceProxyHealthy"] == true;
        whole.then_some(())
    });
}

/// Addresses at which a node serves its node port.
fn served_at(lab: &Lab, node: &str) -> Vec<String> {
    let list = lab.agent(node, &["service", "get", "web", "-o", "json"]).run().out;
    let list: Value = serde_json::from_str(&list).unwrap_or_default();
    let rows = list.as_array().cloned().unwrap_or_default();
    let ports = rows.iter().filter(|row| row["type"] == "NodePort");
    ports.filter_map(|row| row["frontend"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_node_answers_where_it_is_told_to_and_says_what_it_has() {
    let config = Config(std::env::temp_dir().join(format!("pleo-t-{}-node-ports.yaml", std::process::id())));
    let text =
        "nodeport-addresses: [192.168.77.0/24]\nnodeport-localhost: false\nlb-algorithm: round-robin\n";
    std::fs::write(&config.0, text).expect("written");
    let lab = Lab::unmade();
    lab.bring_up(&["--nodes", "2", "--without-dns", "--config", &config.0.display().to_string()]).ok();

    // Taken on one node before there is the Service.
    let holder = lab
        .node(NODES[0], &["socat", &format!("TCP-LISTEN:{CHECK},bind=192.168.10.10,fork"), "SYSTEM:true"])
        .start();
    until("the port is held", SOON, || {
        let listening = lab.node(NODES[0], &["ss", "-Hltn", &format!("sport = {CHECK}")]).run().out;
        (!listening.trim().is_empty()).then_some(())
    });
    lab.apply(&objects(2));
    tells(&lab, "192.168.10.101", 2, "200");
    lab.apply(&objects(0));
    tells(&lab, "192.168.10.101", 0, "503");
    lab.apply(&objects(1));
    tells(&lab, "192.168.10.101", 1, "200");

    let sentence = format!(
        "Service default/web spec.healthCheckNodePort: port {CHECK} of the node can't be listened at (Address already in use"
    );
    until("status tells of the port", SOON, || {
        lab.agent(NODES[0], &["status"]).run().out.contains(&sentence).then_some(())
    });
    until("so does an event", SOON, || {
        lab.kubectl(&["get", "events"]).run().out.contains("can't be listened at").then_some(())
    });
    let _ = holder.stop();
    tells(&lab, "192.168.10.10", 1, "200");
    until("nothing is wrong any more", SOON, || {
        (!lab.agent(NODES[0], &["status"]).run().out.contains(&sentence)).then_some(())
    });

    // Node ports answer at the addresses of the prefix, as they come and go, and nowhere else.
    assert_eq!(served_at(&lab, NODES[1]), [""; 0], "the node has no such address");
    let address =
        |verb: &str| lab.node(NODES[1], &["ip", "address", verb, "192.168.77.1/32", "dev", "ens5"]).ok();
    address("add");
    until("it answers at the new address", SOON, || {
        (served_at(&lab, NODES[1]) == ["192.168.77.1:30080"]).then_some(())
    });
    let said = lab.agent(NODES[1], &["service", "get", "192.168.77.1:30080"]).ok();
    let squeezed: Vec<String> =
        said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let line = |wanted: &str| squeezed.iter().any(|line| line.contains(wanted));
    for wanted in [
        "service type NodePort",
        "algorithm round-robin",
        "clients inside Cluster: ",
        "clients outside Local: ",
        "172.16.0.200:80 active 1 k8s-s - - inside",
        "172.16.1.200:80 active 1 k8s-w1 (this) - - inside, outside",
    ] {
        assert!(line(wanted), "{wanted}\n{said}");
    }
    // The kernel holds the same, and tells clients apart where that makes a difference.
    let said = lab.agent(NODES[1], &["bpf", "lb", "list", "-o", "json"]).ok();
    let rows: Vec<Value> = serde_json::from_str(&said).expect("rows");
    let rows = rows.iter().filter(|row| row["service_address"] == "192.168.77.1:30080/TCP");
    let clients: Vec<_> = rows
        .map(|row| {
            let backend = row["backend_address"].as_str().unwrap_or_default();
            (backend.split('/').next().unwrap_or_default(), row["clients"].as_str().unwrap_or_default())
        })
        .collect();
    let wanted =
        [("172.16.0.200:80", "inside"), ("172.16.1.200:80", "inside"), ("172.16.1.200:80", "outside")];
    assert_eq!(clients, wanted, "{said}");
    address("delete");
    until("it is gone with the address", SOON, || served_at(&lab, NODES[1]).is_empty().then_some(()));

    lab.kubectl(&["delete", "service", "web"]).ok();
    until("nobody listens any more", SOON, || asked(&lab, "192.168.10.101").is_none().then_some(()));
    lab.agent_ok(NODES[0]);
    lab.down().ok();
}
