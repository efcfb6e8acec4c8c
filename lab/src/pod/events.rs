//! Events about pods, as a kubelet reports them. Reporting never holds up a pod: a queue and one task do it.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Reports that may wait; more are dropped, as they are only told.
const QUEUE: usize = 1024;
/// Different events remembered for counting.
const REMEMBERED: usize = 4096;

/// Where to report.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Report>,
}

#[derive(Debug)]
struct Report {
    namespace: String,
    about: Value,
    kind: &'static str,
    reason: String,
    message: String,
}

// === impl Recorder ===

impl Recorder {
    /// Starts the task that reports in the name of `node`.
    #[must_use]
    pub fn start(client: Client, node: &str) -> Self {
        let (queue, reports) = mpsc::channel(QUEUE);
        tokio::spawn(deliver(client, node.to_owned(), reports));
        Self { queue }
    }

    /// Something went as it should.
    pub fn normal(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.report(pod, "Normal", reason, message.into());
    }

    /// Something went wrong.
    pub fn warning(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.report(pod, "Warning", reason, message.into());
    }

    fn report(&self, pod: &Pod, kind: &'static str, reason: &str, message: String) {
        let about = json!({
            "apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "namespace": pod.namespace(),
            "uid": pod.uid(), "resourceVersion": pod.resource_version(),
        });
        let namespace = pod.namespace().unwrap_or_default();
        let _ = self.queue.try_send(Report { namespace, about, kind, reason: reason.to_owned(), message });
    }
}

async fn deliver(client: Client, node: String, mut reports: mpsc::Receiver<Report>) {
    let mut known: HashMap<String, (String, u32)> = HashMap::new();
    while let Some(report) = reports.recv().await {
        let events = Api::<Event>::namespaced(client.clone(), &report.namespace);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let key = format!("{} {} {}", report.about["uid"], report.reason, report.message);
        if let Some((name, count)) = known.get_mut(&key) {
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": now});
            if events.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                continue;
            }
        }
        let stamp = Timestamp::now().as_nanosecond();
        let name = format!("{}.{stamp:x}", report.about["name"].as_str().unwrap_or("pod"));
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": report.namespace},
            "involvedObject": report.about,
            "type": report.kind, "reason": report.reason, "message": report.message,
            "source": {"component": "kubelet", "host": node},
            "reportingComponent": "kubelet", "reportingInstance": node,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        let Ok(event) = serde_json::from_value::<Event>(event) else { continue };
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(key, (name, 1));
            }
            Err(error) => tracing::debug!(%error, "an event was not taken"),
        }
    }
}
