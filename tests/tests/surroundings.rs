//! What others do to a node, or say about one, while its agent runs: each costs as little as it must and is put right.

use std::time::Duration;

use pleopod_tests::{Lab, until};

const NODE: &str = "k8s-s";
const SOON: Duration = Duration::from_secs(5);

/// A node with an address on no network that anyone here is on.
const FAR: &str = r"
apiVersion: v1
kind: Node
metadata: {name: far}
spec: {podCIDR: 172.16.77.0/24, podCIDRs: [172.16.77.0/24]}
status: {addresses: [{type: InternalIP, address: 203.0.113.7}]}
";

fn pod(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{nodeName: {node}, \
         terminationGracePeriodSeconds: 0, containers: [{{name: c, image: traefik/whoami}}]}}\n"
    )
}

/// Waits for a line of `pleopod status` that says all of `words`.
fn told(lab: &Lab, words: &[&str]) {
    until(&format!("status says {words:?}"), SOON, || {
        let said = lab.agent(NODE, &["status"]).run();
        said.out.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    });
}

fn routes(lab: &Lab) -> String {
    lab.node(NODE, &["ip", "route", "show", "proto", "137"]).ok()
}

#[test]
fn a_node_goes_on_whatever_happens_around_it() {
    let lab = Lab::up_with(&["--nodes", "2", "--without-dns"]);
    lab.apply(&(pod("near", NODE) + "---\n" + &pod("other", "k8s-w1")));
    lab.ready("default");
    let other = lab.pod_ip("other");
    let answers = |from: &str| lab.node(from, &["curl", "-s", "-m", "2", &other]).run().success();
    let before = routes(&lab);

    // A Node that can't be reached is no reason to refuse pods.
    lab.apply(FAR);
    told(&lab, &["Tables:", "Error", "172.16.77.0/24", "not on a network this node is on"]);
    told(&lab, &["Agent:", "Ok"]);
    lab.apply(&pod("late", NODE));
    lab.ready("default");
    lab.kubectl(&["delete", "node/far", "pod/late"]).ok();
    told(&lab, &["Tables:", "Ok"]);

    // What is wrong with a Service is told when it is applied, not with the next full pass, half a minute later.
    for name in ["sticky1", "sticky2", "sticky3"] {
        lab.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, annotations: {{pleopod.io/removed-backend: reset}}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        ));
        let field = "metadata.annotations[pleopod.io/removed-backend]";
        told(&lab, &[&format!("Service default/{name} {field}: is not supported yet")]);
    }

    // Routes go with the link they leave by and come back with it, not with the next full pass.
    for _ in 0..3 {
        lab.node(NODE, &["sh", "-c", "ip link set ens5 down && ip link set ens5 up"]).ok();
        until("the routes are back", SOON, || (routes(&lab) == before).then_some(()));
        until("the other node's pod answers", SOON, || answers(NODE).then_some(()));
    }

    // Other nodes know this one by its annotations.
    lab.kubectl(&["annotate", "node", NODE, "network.pleopod.io/ipv4-router-"]).ok();
    until("the router's address is told again", SOON, || {
        let path = ".metadata.annotations.network\\.pleopod\\.io/ipv4-router";
        (lab.field(&format!("node/{NODE}"), path) == "172.16.0.1").then_some(())
    });

    // Somebody tidies up.
    let agent = lab.agent_process(NODE);
    lab.node(NODE, &["ip", "address", "flush", "dev", "pleo_host"]).ok();
    until("the router's address is back", SOON * 2, || {
        let addresses = lab.node(NODE, &["ip", "-o", "-4", "address", "show", "dev", "pleo_host"]).ok();
        addresses.contains("172.16.0.1/32").then_some(())
    });
    lab.node(NODE, &["ip", "link", "del", "pleo_host"]).ok();
    until("a new agent has put everything back", Duration::from_secs(20), || {
        let well = lab.agent(NODE, &["status"]).run().success();
        (well && lab.agent_process(NODE) != agent && routes(&lab) == before).then_some(())
    });
    assert!(answers(NODE) && answers("k8s-w1"));
    lab.exec("near", &["wget", "-q", "-O-", "-T", "2", &format!("http://{other}/")]).ok();
    lab.down().ok();
}

#[test]
fn an_agent_that_starts_while_the_api_server_is_away_has_its_pods() {
    let lab = Lab::up_with(&["--nodes", "1", "--without-dns"]);
    lab.apply(&pod("near", NODE));
    lab.ready("default");
    let address = lab.pod_ip("near");
    let answers = || lab.node(NODE, &["curl", "-s", "-m", "2", &address]).run().success();
    let agent = lab.agent_process(NODE);
    lab.pleopod(&["lab", "fault", "api", "away"]).ok();
    lab.pleopod(&["lab", "fault", "agent", NODE, "kill"]).ok();
    // One question is asked for ten seconds before it counts as not answered.
    until("the next agent has taken the pod over", Duration::from_secs(30), || {
        let said = lab.agent(NODE, &["status", "--verbose"]).run();
        (lab.agent_process(NODE) != agent && said.out.contains("default/near [restored]")).then_some(())
    });
    assert!(answers());
    told(&lab, &["Kubernetes:", "Error", "waiting for the first list of"]);
    lab.pleopod(&["lab", "fault", "api", "back"]).ok();
    lab.agent_ok(NODE);
    assert!(answers());
    lab.down().ok();
}

#[test]
fn a_node_with_another_pod_cidr_says_what_to_do_and_moves_when_it_can() {
    let lab = Lab::up_with(&["--nodes", "2", "--without-dns"]);
    lab.apply(&(pod("near", NODE) + "---\n" + &pod("other", "k8s-w1")));
    lab.ready("default");
    let near = lab.pod_ip("near");
    let answers = |address: &str| {
        let asked = lab.exec("other", &["curl", "-s", "-m", "2", address]);
        asked.run().success().then_some(())
    };
    lab.kubectl(&[
        "patch",
        "node",
        NODE,
        "--type=merge",
        "-p",
        r#"{"spec": {"podCIDR": "172.16.50.0/24", "podCIDRs": ["172.16.50.0/24"]}}"#,
    ])
    .ok();
    told(&lab, &["Pod CIDR:", "Error", "172.16.50.0/24", "172.16.0.1 is not in it", "Drain the node"]);
    let here = || lab.node(NODE, &["curl", "-s", "-m", "2", &near]).run().success().then_some(());
    until("the pod that is there answers its node", SOON, here);
    lab.apply(&pod("late", NODE));
    lab.ready("default");
    let late = lab.pod_ip("late");
    assert!(late.starts_with("172.16.50."), "{late}");
    until("a pod of the new CIDR answers", SOON, || answers(&late));

    let agent = lab.agent_process(NODE);
    lab.kubectl(&["delete", "pod", "near", "late"]).ok();
    until("the agent starts anew", Duration::from_secs(20), || {
        (lab.agent_process(NODE) != agent).then_some(())
    });
    lab.agent_ok(NODE);
    until("the router moved", SOON, || {
        lab.node(NODE, &["ip", "-o", "addr", "show", "pleo_host"]).ok().contains("172.16.50.").then_some(())
    });
    told(&lab, &["Agent:", "Ok"]);
    lab.apply(&pod("new", NODE));
    lab.ready("default");
    until("a new pod answers", SOON, || answers(&lab.pod_ip("new")));
    lab.down().ok();
}
