//! A stand-in for the kubelets: pods bound to a node come up at once, and go when told.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

/// Registers ready nodes.
pub async fn nodes(client: &Client, names: &[(&str, &str)]) {
    let api: Api<Node> = Api::all(client.clone());
    for (name, ip) in names {
        let n = serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {
                "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
                "capacity": {"cpu": "2", "memory": "4Gi", "pods": "500"},
                "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "500"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
                "nodeInfo": {"kubeletVersion": "v1.32.0", "osImage": "Debian", "kernelVersion": "6.18",
                    "containerRuntimeVersion": "lab://1", "architecture": "amd64", "bootID": "b", "kubeProxyVersion": "",
                    "machineID": "m", "operatingSystem": "linux", "systemUUID": "s"},
            },
        }))
        .expect("a node");
        api.create(&PostParams::default(), &n).await.expect("registering a node");
    }
}

/// Runs pods until the task is aborted. The n-th pod of a node gets the n-th address of `172.16.K.0`, K being the
/// place of the node in `names`.
pub fn run(client: Client, names: &[&str]) -> tokio::task::JoinHandle<()> {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    tokio::spawn(async move {
        let all: Api<Pod> = Api::all(client.clone());
        let next = AtomicU32::new(1);
        let mut pods = watcher(all, watcher::Config::default()).applied_objects().boxed();
        while let Ok(Some(pod)) = pods.try_next().await {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            let name = pod.name_any();
            let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.clone()) else { continue };
            if pod.metadata.deletion_timestamp.is_some() {
                let _ = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
                continue;
            }
            if pod.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Pending") {
                continue;
            }
            let k = names.iter().position(|n| *n == node).unwrap_or(99);
            let ip = format!("172.16.{k}.{}", next.fetch_add(1, Ordering::Relaxed));
            let containers: Vec<_> = pod
                .spec
                .iter()
                .flat_map(|s| &s.containers)
                .map(|c| {
                    json!({"name": c.name, "image": c.image, "imageID": "x", "ready": true, "started": true,
                        "restartCount": 0, "state": {"running": {"startedAt": null}}})
                })
                .collect();
            let now = k8s_openapi::jiff::Timestamp::now().to_string();
            let status = json!({"status": {
                "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "192.168.10.1", "startTime": now,
                "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": now},
                    {"type": "ContainersReady", "status": "True", "lastTransitionTime": now},
                ],
                "containerStatuses": containers,
            }});
            let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await;
        }
    })
}
