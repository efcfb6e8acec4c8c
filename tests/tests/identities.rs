//! Identities come with the first pod that needs them and go when nobody has needed them for a while.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use pleopod_tests::{Lab, until};

const NODES: [&str; 2] = ["k8s-s", "k8s-w1"];
const SOON: Duration = Duration::from_secs(30);

fn pod(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{nodeName: {node}, \
         terminationGracePeriodSeconds: 0, containers: [{{name: c, image: registry.k8s.io/pause}}]}}\n"
    )
}

fn identities(lab: &Lab) -> BTreeSet<String> {
    let names = lab.kubectl(&["get", "pid", "-o", "jsonpath={.items[*].metadata.name}"]).ok();
    names.split_whitespace().map(str::to_owned).collect()
}

fn identity(lab: &Lab, pod: &str) -> String {
    until("the endpoint has a number", SOON, || {
        let number = lab.kubectl(&["get", "pep", pod, "-o", "jsonpath={.status.identity.id}"]).run().out;
        let number = number.trim().to_owned();
        (number.parse::<u32>().is_ok_and(|n| n >= 256)).then_some(number)
    })
}

fn mark(lab: &Lab, number: &str) -> String {
    lab.field(&format!("pid/{number}"), ".metadata.annotations.pleopod\\.io/unused-since")
}

#[test]
fn identities_go_when_nobody_has_used_them_for_a_while_and_only_then() {
    let lab = Lab::up_with(&["--nodes", "2", "--without-dns"]);
    for node in NODES {
        let path = lab.layout().node(node).agent_config();
        let mut config = std::fs::OpenOptions::new().append(true).open(path).expect("the configuration");
        config.write_all(b"\nidentity-collect-after: 2\n").expect("written");
        lab.pleopod(&["lab", "fault", "agent", node, "restart"]).ok();
        lab.agent_ok(node);
    }
    lab.apply(&(pod("stays", NODES[0]) + "---\n" + &pod("goes", NODES[1])));
    lab.ready("default");
    let (stays, goes) = (identity(&lab, "stays"), identity(&lab, "goes"));
    assert_ne!(stays, goes);

    // Said to be unused, by mistake: who uses it says no.
    lab.kubectl(&["annotate", "pid", &stays, "pleopod.io/unused-since=mistake"]).ok();
    until("the mark is taken away", SOON, || mark(&lab, &stays).is_empty().then_some(()));

    lab.kubectl(&["delete", "pod", "goes"]).ok();
    until("it is marked", SOON, || {
        (!identities(&lab).contains(&goes) || !mark(&lab, &goes).is_empty()).then_some(())
    });
    until("the unused one is gone", SOON, || (!identities(&lab).contains(&goes)).then_some(()));
    assert!(identities(&lab).contains(&stays), "the used one is not");
    assert_eq!(mark(&lab, &stays), "");

    // Its labels come back: the object too, and everything works.
    lab.apply(&pod("goes", NODES[1]));
    lab.ready("default");
    assert_eq!(identity(&lab, "goes"), goes, "the number comes from the labels");
    assert!(identities(&lab).contains(&goes));
    let address = lab.pod_ip("goes");
    lab.exec("stays", &["ping", "-q", "-c", "1", "-W", "2", &address]).ok();
    until("both nodes know it", SOON, || {
        let knows =
            |node: &&str| lab.agent(node, &["identity", "get", &goes]).run().out.contains("k8s:app=goes");
        NODES.iter().all(knows).then_some(())
    });
    lab.down().ok();
}
