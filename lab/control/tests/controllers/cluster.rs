//! A control plane with nodes that exist only as objects, and one kubelet that runs every pod in no time.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use pleopod_lab_control::{Config, Control};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// A control plane, a client, and a kubelet.
pub struct Cluster {
    control: Control,
    client: Client,
    dir: tempfile::TempDir,
    paused: Arc<AtomicBool>,
    kubelet: tokio::task::JoinHandle<()>,
}

/// An object from its JSON.
pub fn from<T: DeserializeOwned>(v: Value) -> T {
    serde_json::from_value(v).expect("an object of the kind")
}

/// Waits until something holds.
pub async fn eventually(what: &str, check: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never came: {what}");
}

// === impl Cluster ===

impl Cluster {
    /// Starts one with these nodes.
    pub async fn start(nodes: &[&str]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address");
        let control = Control::new(Config { endpoint: Some((at.ip(), at.port())), ..Config::default() })
            .expect("certificates");
        control.serve(listener).expect("serving");
        let yaml = control.kubeconfig(&format!("https://{at}"), "admin");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("config"), &yaml).expect("writing the kubeconfig");
        let parsed = Kubeconfig::from_yaml(&yaml).expect("a kubeconfig");
        let kube = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .expect("a configuration");
        let client = Client::try_from(kube).expect("a client");
        let paused = Arc::new(AtomicBool::new(false));
        let kubelet = tokio::spawn(kubelet(client.clone(), paused.clone()));
        let me = Self { control, client, dir, paused, kubelet };
        for n in nodes {
            me.node(n).await;
        }
        me
    }

    /// Adds a node that is ready.
    pub async fn node(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node: Node = from(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}));
        nodes.create(&PostParams::default(), &node).await.expect("creating a node");
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .expect("the node's status");
    }

    /// A client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The control plane.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Objects of a kind in the namespace `default`.
    pub fn api<T>(&self) -> Api<T>
    where
        T: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        T::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Pods by label.
    pub async fn pods(&self, labels: &str) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default().labels(labels)).await.expect("listing pods").items
    }

    /// Uids of pods, sorted.
    pub async fn uids(&self, labels: &str) -> Vec<String> {
        let mut all: Vec<String> =
            self.pods(labels).await.into_iter().filter_map(|p| p.metadata.uid).collect();
        all.sort();
        all
    }

    /// Slices of a Service.
    pub async fn slices(&self, svc: &str) -> Vec<EndpointSlice> {
        let by = ListParams::default().labels(&format!("kubernetes.io/service-name={svc}"));
        self.api::<EndpointSlice>().list(&by).await.expect("listing slices").items
    }

    /// The kubelet looks away.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// The kubelet works again.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Whether kubectl did it, and what it said.
    pub async fn try_kubectl(&self, args: &[&str]) -> (bool, String) {
        self.run(args, "").await
    }

    /// What kubectl says; it must do it.
    pub async fn kubectl(&self, args: &[&str]) -> String {
        let (ok, say) = self.run(args, "").await;
        assert!(ok, "kubectl {args:?}: {say}");
        say
    }

    /// Applies a manifest.
    pub async fn apply(&self, manifest: &str) {
        let (ok, say) = self.run(&["apply", "-f", "-"], manifest).await;
        assert!(ok, "kubectl apply: {say}");
    }

    async fn run(&self, args: &[&str], stdin: &str) -> (bool, String) {
        let mut child = tokio::process::Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", self.dir.path().join("config"))
            .env("HOME", self.dir.path())
            .env("KUBECACHEDIR", self.dir.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl must be in PATH for this test");
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(stdin.as_bytes()).await.expect("writing to kubectl");
        drop(pipe);
        let out = child.wait_with_output().await.expect("waiting for kubectl");
        let say = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.success(), say)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kubelet.abort();
        self.control.shutdown();
    }
}

async fn kubelet(client: Client, paused: Arc<AtomicBool>) {
    let next = Arc::new(AtomicU32::new(10));
    let all: Api<Pod> = Api::all(client.clone());
    let stream = watcher(all, watcher::Config::default()).default_backoff().applied_objects();
    stream
        .for_each_concurrent(None, |pod| {
            let (client, paused, next) = (client.clone(), paused.clone(), next.clone());
            async move {
                let Ok(pod) = pod else { return };
                while paused.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                obey(&client, &pod, &next).await;
            }
        })
        .await;
}

async fn obey(client: &Client, pod: &Pod, next: &AtomicU32) {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let placed = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    let running = pod.status.as_ref().is_some_and(|s| s.pod_ip.is_some());
    if pod.metadata.deletion_timestamp.is_some() {
        let only = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(only),
            ..DeleteParams::default()
        };
        let _ = api.delete(&name, &now).await;
    } else if placed && !running {
        let ip = std::net::Ipv4Addr::from_bits(0x0af4_0000 + next.fetch_add(1, Ordering::SeqCst)).to_string();
        let now = "2026-01-01T00:00:00Z";
        let yes = |t: &str| -> Value { json!({"type": t, "status": "True", "lastTransitionTime": now}) };
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(yes).to_vec();
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": conditions}});
        let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await;
    }
}
