//! The agent's rights in the cluster. That they are enough is held by every lab: its agents have no others.

use std::path::Path;

use serde::Deserialize;

use super::manifests::{Server, text};

/// Who the DaemonSet's pods are.
const AGENT: &str = "system:serviceaccount:kube-system:pleopod-agent";

#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

fn rules() -> Vec<Rule> {
    let file = text("rbac.yaml");
    let documents = file.split("\n---\n").map(|one| serde_saphyr::from_str::<Role>(one).expect("YAML"));
    let role = documents.into_iter().find(|one| one.kind == "ClusterRole").expect("a ClusterRole");
    assert!(!role.rules.is_empty());
    role.rules
}

fn may(server: &Server, verb: &str, resource: &str) -> bool {
    let said = server.kubectl(AGENT, &["auth", "can-i", verb, resource, "-A"]).run();
    match said.out.trim() {
        "yes" => true,
        "no" => false,
        _ => panic!("{said}"),
    }
}

#[test]
fn the_agent_may_do_its_work_and_nothing_else() {
    let server = Server::start();
    server.apply("crds/pleopodendpoints.yaml").ok();
    server.apply("crds/pleopodidentities.yaml").ok();
    assert!(!may(&server, "list", "pods"), "before it has rights");
    server.apply("rbac.yaml").ok();
    for (verb, resource) in [
        ("watch", "pods"),
        ("list", "services"),
        ("watch", "endpointslices.discovery.k8s.io"),
        ("patch", "nodes/status"),
        ("create", "events"),
        ("create", "pleopodidentities.pleopod.io"),
        ("delete", "pleopodidentities.pleopod.io"),
        ("delete", "pleopodendpoints.pleopod.io"),
    ] {
        assert!(may(&server, verb, resource), "{verb} {resource}");
    }
    for (verb, resource) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "configmaps"),
        ("create", "pods"),
        ("delete", "pods"),
        ("patch", "pods"),
        ("patch", "pods/status"),
        ("create", "pods/exec"),
        ("update", "nodes"),
        ("delete", "nodes"),
        ("patch", "services"),
        ("patch", "endpointslices.discovery.k8s.io"),
        ("delete", "events"),
        ("update", "pleopodidentities.pleopod.io"),
        ("list", "clusterroles.rbac.authorization.k8s.io"),
        ("create", "serviceaccounts/token"),
        ("create", "customresourcedefinitions.apiextensions.k8s.io"),
    ] {
        assert!(!may(&server, verb, resource), "{verb} {resource}");
    }
    let said = server.kubectl(AGENT, &["get", "secrets", "-A"]).run();
    assert!(!said.success() && said.err.contains("is forbidden"), "{said}");
}

#[test]
fn no_rule_is_wider_than_it_looks() {
    for rule in rules() {
        for word in rule.api_groups.iter().chain(&rule.resources).chain(&rule.verbs) {
            assert_ne!(word, "*");
        }
    }
}

/// `docs/guide/privileges.md` names every resource, and no other.
#[test]
fn the_page_on_privileges_has_every_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let page = std::fs::read_to_string(root.join("docs/guide/privileges.md")).expect("the page");
    let (_, table) = page.split_once("## In the cluster").expect("its section");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    let mut told: Vec<(String, String)> = rows
        .flat_map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let verbs = cells[1].replace(' ', "");
            cells[0].split(", ").map(|r| (r.to_owned(), verbs.clone())).collect::<Vec<_>>()
        })
        .collect();
    let mut given: Vec<(String, String)> = rules()
        .into_iter()
        .flat_map(|rule| {
            let verbs = rule.verbs.join(",");
            rule.resources.into_iter().map(move |resource| (resource, verbs.clone()))
        })
        .collect();
    told.sort();
    given.sort();
    given.dedup();
    assert_eq!(told, given);
}
