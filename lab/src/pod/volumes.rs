//! A pod's volumes, as directories of the pod's own on the host, shown in its containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, ServiceAccount,
    Volume as PodVolume,
};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::env;
use crate::enter::root::Volume;

/// Where a container finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long the tokens given to pods are good for, in seconds. Labs don't live longer.
const TOKEN_LIFE: i64 = 7 * 24 * 3600;

/// Everything that makes the volumes of one pod.
pub struct Volumes<'a> {
    /// The client of the cluster.
    pub client: &'a Client,
    /// The pod.
    pub pod: &'a Pod,
    /// The pod's directory on the host.
    pub dir: &'a Path,
    /// Address of the node, for the downward API.
    pub host: &'a str,
    /// Certificate of the API server, when the cluster doesn't publish one.
    pub ca: Option<&'a str>,
}

// === impl Volumes ===

impl Volumes<'_> {
    /// Makes the directories of all volumes and of the service account; gives each volume's directory by name.
    ///
    /// # Errors
    /// When something a volume refers to isn't there, or the kind of volume isn't supported.
    pub async fn make(&self) -> anyhow::Result<BTreeMap<String, PathBuf>> {
        let mut made = BTreeMap::new();
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        for volume in volumes {
            let source = self.make_one(volume).await;
            let source =
                source.with_context(|| format!("MountVolume.SetUp failed for volume \"{}\"", volume.name))?;
            made.insert(volume.name.clone(), source);
        }
        if self.wants_account().await? {
            let dir = self.dir.join("account");
            let account = serde_json::json!({"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_LIFE}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]});
            self.project(&dir, &serde_json::from_value(account)?).await.context("service account")?;
            made.insert(String::new(), dir);
        }
        Ok(made)
    }

    /// What of the made volumes `container` mounts, and where.
    ///
    /// # Errors
    /// When it mounts a volume the pod doesn't have.
    pub fn of_container(
        container: &Container,
        made: &BTreeMap<String, PathBuf>,
    ) -> anyhow::Result<Vec<Volume>> {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        let mut volumes = Vec::new();
        for mount in mounts {
            let Some(source) = made.get(&mount.name) else {
                bail!("container {}: volumeMounts: volume \"{}\" not found", container.name, mount.name);
            };
            volumes.push(Volume {
                source: mount.sub_path.as_ref().map_or_else(|| source.clone(), |sub| source.join(sub)),
                target: PathBuf::from(&mount.mount_path),
                read_only: mount.read_only == Some(true),
            });
        }
        let mounted = mounts.iter().any(|mount| mount.mount_path.trim_end_matches('/') == ACCOUNT);
        if let (Some(source), false) = (made.get(""), mounted) {
            volumes.push(Volume { source: source.clone(), target: ACCOUNT.into(), read_only: true });
        }
        Ok(volumes)
    }

    async fn make_one(&self, volume: &PodVolume) -> anyhow::Result<PathBuf> {
        let dir = self.dir.join("volumes").join(&volume.name);
        let namespace = self.pod.namespace().unwrap_or_default();
        if let Some(host) = &volume.host_path {
            let path = PathBuf::from(&host.path);
            match host.type_.as_deref().unwrap_or("") {
                "DirectoryOrCreate" => fs::create_dir_all(&path)?,
                _ if path.exists() => {}
                _ => bail!("hostPath {} does not exist", host.path),
            }
            return Ok(path);
        }
        fs::create_dir_all(&dir)?;
        if volume.empty_dir.is_some() {
            return Ok(dir);
        }
        if let Some(map) = &volume.config_map {
            let data =
                env::config_map(self.client, &namespace, &map.name, map.optional == Some(true)).await?;
            write_items(&dir, &data, map.items.as_deref())?;
        } else if let Some(secret) = &volume.secret {
            let name = secret.secret_name.as_deref().unwrap_or_default();
            let data = env::secret_data(self.client, &namespace, name, secret.optional == Some(true)).await?;
            write_items(&dir, &data, secret.items.as_deref())?;
        } else if let Some(downward) = &volume.downward_api {
            self.write_fields(&dir, downward.items.as_deref().unwrap_or_default())?;
        } else if let Some(projected) = &volume.projected {
            self.project(&dir, projected).await?;
        } else {
            bail!(
                "the lab has emptyDir, hostPath, configMap, secret, downwardAPI and projected volumes; this is none of them"
            );
        }
        Ok(dir)
    }

    async fn project(&self, dir: &Path, projected: &ProjectedVolumeSource) -> anyhow::Result<()> {
        let namespace = self.pod.namespace().unwrap_or_default();
        fs::create_dir_all(dir)?;
        for source in projected.sources.iter().flatten() {
            if let Some(token) = &source.service_account_token {
                write(dir, &token.path, &self.token(token.audience.clone()).await?)?;
            }
            if let Some(map) = &source.config_map {
                let optional = map.optional == Some(true);
                let mut data = env::config_map(self.client, &namespace, &map.name, true).await?;
                if let (true, "kube-root-ca.crt", Some(ca)) = (data.is_empty(), map.name.as_str(), self.ca) {
                    data.insert("ca.crt".to_owned(), ca.to_owned());
                }
                if data.is_empty() && !optional {
                    bail!("configmap \"{}\" not found", map.name);
                }
                write_items(dir, &data, map.items.as_deref())?;
            }
            if let Some(secret) = &source.secret {
                let optional = secret.optional == Some(true);
                let data = env::secret_data(self.client, &namespace, &secret.name, optional).await?;
                write_items(dir, &data, secret.items.as_deref())?;
            }
            if let Some(downward) = &source.downward_api {
                self.write_fields(dir, downward.items.as_deref().unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn write_fields(&self, dir: &Path, items: &[DownwardAPIVolumeFile]) -> anyhow::Result<()> {
        for item in items {
            let value = match &item.field_ref {
                Some(field) => env::field_value(self.pod, field, &[], self.host)?,
                None => "0".to_owned(),
            };
            write(dir, &item.path, &value)?;
        }
        Ok(())
    }

    fn account(&self) -> &str {
        self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default")
    }

    /// Whether the service account is to be mounted: the pod's word, else the account's, else yes. A pod that has the
    /// projected volume already (an API server's admission added it) needs nothing more.
    async fn wants_account(&self) -> anyhow::Result<bool> {
        let Some(spec) = &self.pod.spec else { return Ok(false) };
        if let Some(own) = spec.automount_service_account_token {
            return Ok(own);
        }
        let accounts =
            Api::<ServiceAccount>::namespaced(self.client.clone(), &self.pod.namespace().unwrap_or_default());
        let account = accounts.get_opt(self.account()).await.context("service account")?;
        Ok(account.is_some_and(|account| account.automount_service_account_token != Some(false)))
    }

    async fn token(&self, audience: Option<String>) -> anyhow::Result<String> {
        let accounts =
            Api::<ServiceAccount>::namespaced(self.client.clone(), &self.pod.namespace().unwrap_or_default());
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: audience.into_iter().collect(),
                expiration_seconds: Some(TOKEN_LIFE),
                bound_object_ref: None,
            },
            ..TokenRequest::default()
        };
        let name = self.account();
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let answer = answer.with_context(|| format!("token of service account \"{name}\""))?;
        answer.status.map(|status| status.token).context("the API server gave no token")
    }
}

fn write_items(
    dir: &Path,
    data: &BTreeMap<String, String>,
    items: Option<&[KeyToPath]>,
) -> anyhow::Result<()> {
    match items {
        None => data.iter().try_for_each(|(key, value)| write(dir, key, value)),
        Some(items) => items.iter().try_for_each(|item| {
            let value = data.get(&item.key).with_context(|| format!("key \"{}\" is not there", item.key))?;
            write(dir, &item.path, value)
        }),
    }
}

/// Writes one file of a volume; its path may not lead out of it.
fn write(dir: &Path, path: &str, text: &str) -> anyhow::Result<()> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        bail!("path {path:?} leads out of the volume");
    }
    let file = dir.join(path);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&file, text).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_leaves_its_volume() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(write(dir.path(), "a/b", "x").is_ok());
        for bad in ["../x", "/x", "a/../../x"] {
            assert!(write(dir.path(), bad, "x").is_err(), "{bad}");
        }
    }
}
