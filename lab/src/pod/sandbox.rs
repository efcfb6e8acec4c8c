//! What all containers of a pod share: its network namespace and its attachment to the network.

use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cni::{self, Attachment, CniError, Plugin};

/// A pod's sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    /// Path of the network namespace: the pod's own or the node's.
    pub netns: PathBuf,
    /// Its addresses, as text.
    pub addresses: Vec<String>,
    /// The attachment and the plugin's result; none for a pod in the node's network.
    pub attached: Option<(Attachment, Value)>,
}

/// File in the pod's directory that holds the sandbox.
pub const RECORD: &str = "sandbox.json";

// === impl Sandbox ===

impl Sandbox {
    /// The sandbox of a pod in the node's own network.
    #[must_use]
    pub fn host(netns: PathBuf, address: String) -> Self {
        Self { netns, addresses: vec![address], attached: None }
    }

    /// Makes a namespace and has the plugin attach it. A failed ADD is followed by a DEL, as the spec asks.
    ///
    /// # Errors
    /// The plugin's error, or the system's.
    pub async fn make(pod: &Pod, plugin: &Plugin, dir: &Path) -> anyhow::Result<Self> {
        let id = random_id();
        let name = format!("cni-{}", uuid(&id));
        let made = name.clone();
        let netns = tokio::task::spawn_blocking(move || -> anyhow::Result<PathBuf> {
            let netns = pleopod_sys_netns::create(&made)?;
            let loopback = crate::wire::loopback_up(&netns);
            if let Err(error) = loopback {
                let _ = pleopod_sys_netns::delete(&made);
                return Err(error.context("bringing up the pod's loopback"));
            }
            Ok(netns.path().to_owned())
        })
        .await??;
        let attachment = Attachment {
            container_id: id,
            netns: netns.clone(),
            pod: (pod.namespace().unwrap_or_default(), pod.name_any(), pod.uid().unwrap_or_default()),
        };
        // Recorded before the call: whatever ADD leaves half done is found again.
        let mut sandbox =
            Self { netns, addresses: Vec::new(), attached: Some((attachment.clone(), Value::Null)) };
        sandbox.record(dir)?;
        match plugin.add(&attachment).await {
            Ok(result) => {
                sandbox.addresses = cni::addresses(&result);
                sandbox.attached = Some((attachment, result));
                sandbox.record(dir)?;
                Ok(sandbox)
            }
            Err(error) => {
                let _ = plugin.del(&attachment, None).await;
                sandbox.forget(dir);
                Err(error).context("plugin type=\"pleopod-cni\" failed (add)")
            }
        }
    }

    /// Detaches and removes the namespace. Until the plugin said yes, the namespace stays.
    ///
    /// # Errors
    /// The plugin's error; asking again is right.
    pub async fn remove(&self, plugin: &Plugin, dir: &Path) -> Result<(), CniError> {
        if let Some((attachment, result)) = &self.attached {
            plugin.del(attachment, (!result.is_null()).then_some(result)).await?;
            self.forget(dir);
        }
        Ok(())
    }

    fn forget(&self, dir: &Path) {
        if let Some(name) = self.netns.file_name().and_then(|name| name.to_str())
            && self.attached.is_some()
            && let Err(error) = pleopod_sys_netns::delete(name)
        {
            tracing::warn!(%error, "a pod's namespace stays");
        }
        let _ = std::fs::remove_file(dir.join(RECORD));
    }

    fn record(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::write(dir.join(RECORD), serde_json::to_vec(self)?).context("recording the sandbox")
    }
}

/// 64 hexadecimal digits, as container ids have.
#[must_use]
pub fn random_id() -> String {
    let mut bytes = [0_u8; 32];
    // The kernel's generator doesn't fail for so few bytes once it is seeded.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first digits of an id, grouped like a UUID.
fn uuid(id: &str) -> String {
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32])
}
