//! A cluster whose programs are attached as on kernels without tcx: by filters of tc.

use std::path::PathBuf;
use std::time::Duration;

use pleopod_tests::{Lab, until};
use rustix::process::Signal;
use serde_json::Value;

const NODES: [&str; 2] = ["k8s-s", "k8s-w1"];

fn pod(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{nodeName: {node}, \
         terminationGracePeriodSeconds: 0, containers: [{{name: c, image: traefik/whoami}}]}}\n---\n"
    )
}

/// Hooks of interfaces with their programs, and the process that says so; `None` while there is no agent.
fn hooks(lab: &Lab, node: &str) -> Option<(u64, Vec<(String, String)>)> {
    let said = lab.agent(node, &["status", "--verbose", "-o", "json"]).run();
    let status: Value = serde_json::from_str(&said.out).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = status["attached"].as_array()?;
    let rows = rows.iter().map(|row| (text(&row["hook"]), text(&row["program"])));
    let ready = status["ready"] == true;
    ready.then(|| {
        (status["pid"].as_u64().unwrap_or_default(), rows.filter(|r| !r.0.starts_with("cgroup")).collect())
    })
}

/// A file of the test's own.
struct Config(PathBuf);

impl Drop for Config {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[test]
fn a_cluster_lives_on_filters_of_tc() {
    let config = Config(std::env::temp_dir().join(format!("pleo-t-{}-attach.yaml", std::process::id())));
    std::fs::write(&config.0, "attach: tc\n").expect("written");
    let lab = Lab::unmade();
    lab.bring_up(&["--nodes", "2", "--without-dns", "--config", &config.0.display().to_string()]).ok();
    lab.apply(&(pod("one", NODES[0]) + &pod("two", NODES[0]) + &pod("far", NODES[1])));
    lab.apply("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: far}, ports: [{port: 80}]}\n");
    lab.ready("default");

    for node in NODES {
        let (_, hooks) = hooks(&lab, node).expect("an agent");
        assert!(hooks.iter().all(|(hook, _)| hook.contains(" tc/")), "{hooks:#?}");
        for (hook, program) in [("ens5 tc/ingress", "from_uplink"), ("ens5 tc/egress", "to_uplink")] {
            assert!(hooks.contains(&(hook.to_owned(), program.to_owned())), "{hooks:#?}");
        }
    }
    // On the node, across nodes, to a Service, and never over the stack where a program could do it.
    let works = |lab: &Lab| {
        for (to, ttl) in [("two", "ttl=63"), ("far", "ttl=62")] {
            let address = lab.pod_ip(to);
            let said = lab.exec("one", &["ping", "-n", "-c", "2", "-W", "2", &address]).ok();
            assert!(said.contains(ttl) && said.contains(" 0% packet loss"), "{to}: {said}");
        }
        let service = lab.field("service/web", ".spec.clusterIP");
        let url = format!("http://{service}/");
        until("the Service answers", Duration::from_secs(10), || {
            lab.exec("one", &["curl", "-s", "-m", "2", &url]).run().success().then_some(())
        });
    };
    works(&lab);
    let seen = lab.agent(NODES[0], &["observe", "--pod", "one", "--last", "50"]).ok();
    assert!(seen.contains("to-endpoint") && seen.contains("to-network"), "{seen}");

    // Another agent takes the filters over.
    let (pid, before) = hooks(&lab, NODES[0]).expect("an agent");
    assert!(lab.agent_process(NODES[0]).signal(Signal::KILL));
    let after = until("another agent", Duration::from_secs(20), || {
        hooks(&lab, NODES[0]).filter(|(other, _)| *other != pid)
    });
    assert_eq!(after.1, before);
    works(&lab);

    // A pod that goes takes its filters along.
    lab.kubectl(&["delete", "pod/two", "--wait"]).ok();
    until("its hooks are gone", Duration::from_secs(10), || {
        (hooks(&lab, NODES[0])?.1.len() == before.len() - 2).then_some(())
    });
    lab.down().ok();
}
