//! The Node object: made by its kubelet, kept ready as long as the network plugin can serve, with a Lease as heartbeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Node;

/// How often the plugin is asked while it can't serve, and while it can.
const ASK: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How often the Lease is renewed; it is good for four times that.
const BEAT: Duration = Duration::from_secs(10);

/// What the Node object says that the daemon doesn't find out by itself.
#[derive(Clone, Debug)]
pub struct Card {
    /// Pod CIDR, when the topology gives one.
    pub pod_cidr: Option<String>,
    /// Carries the API server.
    pub control_plane: bool,
    /// More labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// Makes the Node object, or brings it up to date.
///
/// # Errors
/// What the API server says.
pub async fn register(node: &Node, card: &Card) -> Result<(), kube::Error> {
    let nodes = Api::<NodeObject>::all(node.client.clone());
    let mut labels = json!({
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch(),
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": arch(),
    });
    if card.control_plane {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = json!("");
    }
    for (key, value) in &card.labels {
        labels[key] = json!(value);
    }
    let mut object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}, "spec": {}});
    if let Some(cidr) = &card.pod_cidr {
        object["spec"] = json!({"podCIDR": cidr, "podCIDRs": [cidr]});
    }
    let parsed: NodeObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    match nodes.create(&PostParams::default(), &parsed).await {
        Ok(_) => {}
        Err(kube::Error::Api(error)) if error.code == 409 => {
            let patch = json!({"metadata": {"labels": labels}});
            nodes.patch(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Err(error) => return Err(error),
    }
    tell(node, &Err("the network plugin was not asked yet".to_owned()), Timestamp::now()).await
}

/// Keeps the Node's condition and Lease current until `stop`.
pub async fn keep(node: Arc<Node>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = watch_network(&node) => {}
        () = beat(&node) => {}
    }
}

async fn watch_network(node: &Node) {
    let mut since = Timestamp::now();
    let mut told: Option<Result<(), String>> = None;
    let mut read = Instant::now();
    loop {
        if read.elapsed() >= BEAT {
            read = Instant::now();
            // While the API server was away, the node controller may have given the node up.
            if let Some(told_now) = &told
                && let Ok(object) = Api::<NodeObject>::all(node.client.clone()).get_status(&node.name).await
                && !says(&object, told_now.is_ok())
            {
                told = None;
            }
        }
        let now = node.plugin.status().await.map_err(|error| error.to_string());
        let turned = told.as_ref().is_none_or(|told| told.is_ok() != now.is_ok());
        if turned {
            since = Timestamp::now();
        }
        if told.as_ref() != Some(&now) {
            let _ = node.network.send_replace(now.clone());
            match tell(node, &now, since).await {
                Ok(()) => told = Some(now.clone()),
                Err(error) => tracing::warn!(node = node.name, %error, "node status not taken"),
            }
        }
        tokio::time::sleep(if now.is_ok() { ASK.1 } else { ASK.0 }).await;
    }
}

/// Whether the Node object says that the node is ready, or that it is not, and does not merely suppose it.
fn says(object: &NodeObject, ready: bool) -> bool {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_ref());
    let stands = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    stands.is_some_and(|condition| condition.status == if ready { "True" } else { "False" })
}

async fn tell(node: &Node, network: &Result<(), String>, since: Timestamp) -> Result<(), kube::Error> {
    let nodes = Api::<NodeObject>::all(node.client.clone());
    let now = Timestamp::now();
    let condition = |kind: &str, holds: bool, reason: &str, message: &str, since: Timestamp| {
        json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
            "lastHeartbeatTime": second(now), "lastTransitionTime": second(since),
        })
    };
    let (ready, reason, message) = match network {
        Ok(()) => (true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        Err(error) => (
            false,
            "KubeletNotReady",
            format!(
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                 message:Network plugin returns error: {error}"
            ),
        ),
    };
    let status = json!({
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.name},
        ],
        "capacity": capacity(),
        "allocatable": capacity(),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": info(),
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available", since),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure", since),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available", since),
            condition("Ready", ready, reason, &message, since),
        ],
    });
    let patch = Patch::Strategic(json!({"status": status}));
    nodes.patch_status(&node.name, &PatchParams::default(), &patch).await.map(drop)
}

async fn beat(node: &Node) {
    let leases = Api::<Lease>::namespaced(node.client.clone(), "kube-node-lease");
    loop {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let seconds = BEAT.as_secs() * 4;
        let spec = json!({"holderIdentity": node.name, "leaseDurationSeconds": seconds, "renewTime": now});
        let patch =
            leases.patch(&node.name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await;
        if matches!(&patch, Err(kube::Error::Api(error)) if error.code == 404) {
            let lease =
                json!({"metadata": {"name": node.name, "namespace": "kube-node-lease"}, "spec": spec});
            if let Ok(lease) = serde_json::from_value::<Lease>(lease) {
                let _ = leases.create(&PostParams::default(), &lease).await;
            }
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// What the machine has, given to each node: nothing is limited in a lab.
fn capacity() -> Value {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = table.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("0 kB");
    let memory = memory.trim().trim_end_matches(" kB");
    json!({"cpu": processors.to_string(), "memory": format!("{memory}Ki"), "pods": "500", "ephemeral-storage": "1Gi"})
}

fn info() -> Value {
    let uname = rustix::system::uname();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let release = read("/etc/os-release");
    let os = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    json!({
        "architecture": arch(),
        "operatingSystem": "linux",
        "kernelVersion": uname.release().to_string_lossy(),
        "osImage": os.trim_matches('"'),
        "containerRuntimeVersion": format!("pleopod-lab://{}", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": "v1.32.0",
        "kubeProxyVersion": "",
        "machineID": read("/etc/machine-id"),
        "systemUUID": "",
        "bootID": read("/proc/sys/kernel/random/boot_id"),
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_given_up_does_not_say_what_its_kubelet_told() {
        let node = |status: &str| -> NodeObject {
            let conditions = json!([
                {"type": "NetworkUnavailable", "status": "False"}, {"type": "Ready", "status": status}
            ]);
            serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
        };
        assert!(says(&node("True"), true) && says(&node("False"), false));
        for ready in [true, false] {
            assert!(!says(&node("Unknown"), ready));
            assert!(!says(&NodeObject::default(), ready));
        }
    }
}
