//! Kubernetes Events: what is wrong with an object, where its owner looks (`kubectl describe`, `kubectl get events`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use pleopod_model::Problem;
use serde_json::json;
use tokio::sync::Mutex;

use crate::Error;
use crate::error::answer;

/// The same event is written again no sooner.
const QUIET: Duration = Duration::from_secs(300);
const COMPONENT: &str = "pleopod-agent";

/// Writes Events for one node's agent.
pub struct Reporter {
    client: Client,
    node: String,
    written: Mutex<HashMap<String, Written>>,
}

#[derive(Debug)]
struct Written {
    count: i32,
    at: Instant,
}

// === impl Reporter ===

impl Reporter {
    /// Reports as the agent of `node`.
    pub fn new(client: Client, node: impl Into<String>) -> Self {
        Self { client, node: node.into(), written: Mutex::default() }
    }

    /// Reports a problem at its object. The same problem is reported once in five minutes at most.
    pub async fn problem(&self, problem: &Problem, reason: &str) -> Result<(), Error> {
        let mut message = problem.field.clone();
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&problem.message);
        if !problem.hint.is_empty() {
            message.push_str("; ");
            message.push_str(&problem.hint);
        }
        self.report(&problem.object.kind, &problem.object.name, reason, &message).await
    }

    /// Reports `message` at the object of `kind` and `name`.
    pub async fn report(
        &self,
        kind: &str,
        name: &pleopod_model::ObjectName,
        reason: &str,
        message: &str,
    ) -> Result<(), Error> {
        let namespace = if name.namespace.is_empty() { "default" } else { &name.namespace };
        let event = format!("{}.{:016x}", name.name, fingerprint(&[kind, reason, message]));
        let key = format!("{namespace}/{event}");
        let count = {
            let mut written = self.written.lock().await;
            written.retain(|_, w| w.at.elapsed() < QUIET * 12);
            match written.get(&key) {
                Some(w) if w.at.elapsed() < QUIET => return Ok(()),
                Some(w) => w.count + 1,
                None => 1,
            }
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let now = Time(k8s_openapi::jiff::Timestamp::now());
        let object = Event {
            metadata: ObjectMeta {
                name: Some(event.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: self.reference(kind, name).await,
            reason: Some(reason.to_owned()),
            message: Some(message.chars().take(1024).collect()),
            type_: Some("Warning".into()),
            source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(self.node.clone()) }),
            reporting_component: Some(COMPONENT.into()),
            reporting_instance: Some(self.node.clone()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now.clone()),
            count: Some(count),
            ..Event::default()
        };
        let doing = || format!("writing an Event for {kind} {name}");
        match answer(doing, api.create(&PostParams::default(), &object)).await {
            Ok(_) => {}
            Err(Error::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(s) if s.is_already_exists()) =>
            {
                let patch = json!({ "count": count.max(2), "lastTimestamp": now });
                let params = PatchParams::default();
                answer(doing, api.patch(&event, &params, &Patch::Merge(&patch))).await?;
            }
            Err(error) => return Err(error),
        }
        // Only now: one that failed may be tried again at once.
        self.written.lock().await.insert(key, Written { count, at: Instant::now() });
        Ok(())
    }

    /// The object with its UID, by which `kubectl describe` finds the event; without it when it can't be read.
    async fn reference(&self, kind: &str, name: &pleopod_model::ObjectName) -> ObjectReference {
        let (group, version) = match kind {
            "EndpointSlice" => ("discovery.k8s.io", "v1"),
            "PleopodEndpoint" | "PleopodIdentity" => ("pleopod.io", "v1alpha1"),
            _ => ("", "v1"),
        };
        let plural = match kind {
            "PleopodIdentity" => "pleopodidentities".to_owned(),
            other => format!("{}s", other.to_ascii_lowercase()),
        };
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: if group.is_empty() { version.into() } else { format!("{group}/{version}") },
            kind: kind.into(),
            plural,
        };
        let api: Api<DynamicObject> = if name.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &name.namespace, &resource)
        };
        let uid = match kind {
            // By the kubelet's convention.
            "Node" => Some(name.name.clone()),
            _ => answer(|| format!("reading {kind} {name}"), api.get_opt(&name.name))
                .await
                .ok()
                .flatten()
                .and_then(|o| o.uid()),
        };
        ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(kind.into()),
            name: Some(name.name.clone()),
            namespace: (!name.namespace.is_empty()).then(|| name.namespace.clone()),
            uid,
            ..ObjectReference::default()
        }
    }
}

/// FNV-1a, 64 bits, so that the same report has the same name after a restart of the agent and from every node.
fn fingerprint(parts: &[&str]) -> u64 {
    parts
        .iter()
        .flat_map(|p| p.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
