//! Every manifest is taken by an API server that checks fields, and asks for one pod on every node.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use pleopod_lab_control::{Config, Control};
use pleopod_tests::{Run, Said, until};

/// An API server without nodes, and kubectl for it.
pub struct Server {
    control: Control,
    url: String,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address");
        let _inside = runtime.enter();
        let config = Config { endpoint: Some((at.ip(), at.port())), ..Config::default() };
        let control = Control::new(config).expect("certificates");
        control.serve(listener).expect("serving");
        drop(_inside);
        let dir = tempfile::tempdir().expect("a directory");
        Self { control, url: format!("https://{at}"), dir, runtime }
    }

    /// kubectl as a user.
    pub fn kubectl(&self, user: &str, words: &[&str]) -> Run {
        let path = self.dir.path().join(user.replace(':', "_"));
        std::fs::write(&path, self.control.kubeconfig(&self.url, user)).expect("a kubeconfig");
        Run::new("kubectl").env("KUBECONFIG", &path).env("HOME", self.dir.path()).words(words)
    }

    /// kubectl as the administrator; it must succeed.
    pub fn admin(&self, words: &[&str]) -> String {
        self.kubectl("admin", words).ok()
    }

    /// `kubectl apply` of a file of `deploy/`, every field checked.
    pub fn apply(&self, file: &str) -> Said {
        self.kubectl("admin", &["apply", "--validate=strict", "-f", &deploy(file)]).run()
    }

    fn node(&self, name: &str, taint: Option<&str>) {
        let taints = taint
            .map_or(String::new(), |key| format!("spec: {{taints: [{{key: {key}, effect: NoExecute}}]}}\n"));
        let node = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n{taints}");
        self.kubectl("admin", &["create", "-f", "-"]).input(&node).ok();
    }

    /// `node` of every pod of a DaemonSet, once there are so many.
    fn pods(&self, app: &str, count: usize) -> BTreeSet<String> {
        let selector = format!("app.kubernetes.io/name={app}");
        let path = "jsonpath={.items[*].spec.nodeName}";
        // A DaemonSet's pods are bound by the scheduler: the node is in their affinity until then.
        until("a pod on every node", Duration::from_secs(20), || {
            let text = self.admin(&["get", "pods", "-n", "kube-system", "-l", &selector, "-o", path]);
            let nodes: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            (nodes.len() == count).then(|| nodes.into_iter().collect())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control.shutdown();
        let _ = self.runtime.handle();
    }
}

/// A path in `deploy/`.
pub fn deploy(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the repository");
    root.join("deploy").join(file).display().to_string()
}

/// A file of `deploy/`.
pub fn text(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).expect("a file of deploy/")
}

#[test]
fn every_manifest_is_taken_and_taken_again() {
    let server = Server::start();
    let all = [
        "crds/pleopodendpoints.yaml",
        "crds/pleopodidentities.yaml",
        "rbac.yaml",
        "config.yaml",
        "daemonset.yaml",
        "uninstall.yaml",
    ];
    for file in all {
        assert!(server.apply(file).ok().lines().all(|line| line.ends_with(" created")), "{file}");
    }
    for file in all {
        let again = server.apply(file).ok();
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{file}: {again}");
    }
    // Fields are really checked.
    let wrong = text("config.yaml").replace("\ndata:", "\ndat:");
    let said = server.kubectl("admin", &["apply", "--validate=strict", "-f", "-"]).input(&wrong).run();
    assert!(!said.success() && said.err.contains("dat"), "{said}");
}

#[test]
fn one_command_applies_what_a_cluster_needs_and_not_the_removal() {
    let server = Server::start();
    let said = server.admin(&["apply", "--validate=strict", "-k", &deploy("")]);
    let mut made: Vec<&str> = said.lines().filter_map(|line| line.strip_suffix(" created")).collect();
    made.sort_unstable();
    assert_eq!(
        made,
        [
            "clusterrole.rbac.authorization.k8s.io/pleopod-agent",
            "clusterrolebinding.rbac.authorization.k8s.io/pleopod-agent",
            "configmap/pleopod-config",
            "customresourcedefinition.apiextensions.k8s.io/pleopodendpoints.pleopod.io",
            "customresourcedefinition.apiextensions.k8s.io/pleopodidentities.pleopod.io",
            "daemonset.apps/pleopod",
            "serviceaccount/pleopod-agent",
        ]
    );
}

#[test]
fn every_node_gets_one_pod_whatever_its_taints() {
    let server = Server::start();
    server.node("plain", None);
    server.node("control", Some("node-role.kubernetes.io/control-plane"));
    server.node("fresh", Some("node.kubernetes.io/not-ready"));
    server.admin(&["apply", "-k", &deploy("")]);
    let expected = BTreeSet::from(["plain", "control", "fresh"].map(str::to_owned));
    assert_eq!(server.pods("pleopod-agent", 3), expected);
    server.node("late", Some("example.com/gpu"));
    assert!(server.pods("pleopod-agent", 4).contains("late"));
    server.admin(&["delete", "daemonset", "pleopod", "-n", "kube-system", "--wait=false"]);
    server.apply("uninstall.yaml").ok();
    assert_eq!(server.pods("pleopod-uninstall", 4).len(), 4);
}
