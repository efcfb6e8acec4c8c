//! Calls the CNI plugin as a container runtime does: `CNI_*` variables, the network configuration on standard input.
//!
//! Spec 1.1.0. The plugin runs in the node's network namespace.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::inside::Inside;

/// How long one call may take, as containerd's default.
const LIMIT: Duration = Duration::from_secs(220);

/// The plugin of one node.
#[derive(Clone)]
pub struct Plugin {
    /// The binary.
    pub program: PathBuf,
    /// The conflist, as it lies in the CNI configuration directory.
    pub conflist: Value,
    /// The node's namespace.
    pub inside: Arc<Inside>,
}

/// One attachment of a pod to the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Id of the sandbox.
    pub container_id: String,
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// Namespace, name and uid of the pod.
    pub pod: (String, String, String),
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// The plugin can't be run at all.
    #[error("{}: {why}", program.display())]
    Run {
        /// The binary.
        program: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The plugin took too long.
    #[error("the plugin did not finish {0} within {LIMIT:?}")]
    Slow(&'static str),
    /// The plugin's own error (spec section "Error").
    #[error("{message}{}", details.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Plugin {
        /// The code.
        code: i64,
        /// The short text.
        message: String,
        /// The long text.
        details: Option<String>,
    },
    /// The plugin failed or answered otherwise than the spec says.
    #[error("the plugin answered {verb} with {what}")]
    Answer {
        /// The operation.
        verb: &'static str,
        /// What was wrong with the answer.
        what: String,
    },
}

/// Interface of the pod that every runtime asks for.
const IFNAME: &str = "eth0";

// === impl Plugin ===

impl Plugin {
    /// Attaches a pod; the result is the plugin's, as the spec has it.
    ///
    /// # Errors
    /// See [`CniError`].
    pub async fn add(&self, attachment: &Attachment) -> Result<Value, CniError> {
        let out = self.call("ADD", Some(attachment), self.config(&[])?).await?;
        serde_json::from_slice(&out)
            .map_err(|error| CniError::Answer { verb: "ADD", what: format!("no JSON result: {error}") })
    }

    /// Detaches a pod; nothing to detach is fine.
    ///
    /// # Errors
    /// See [`CniError`].
    pub async fn del(&self, attachment: &Attachment, result: Option<&Value>) -> Result<(), CniError> {
        let previous = result.map(|result| ("prevResult", result.clone()));
        self.call("DEL", Some(attachment), self.config(previous.as_slice())?).await.map(drop)
    }

    /// Whether an attachment is as ADD left it.
    ///
    /// # Errors
    /// See [`CniError`].
    pub async fn check(&self, attachment: &Attachment, result: &Value) -> Result<(), CniError> {
        let config = self.config(&[("prevResult", result.clone())])?;
        self.call("CHECK", Some(attachment), config).await.map(drop)
    }

    /// Whether the plugin could serve ADD now.
    ///
    /// # Errors
    /// See [`CniError`].
    pub async fn status(&self) -> Result<(), CniError> {
        self.call("STATUS", None, self.config(&[])?).await.map(drop)
    }

    /// Removes everything but these attachments.
    ///
    /// # Errors
    /// See [`CniError`].
    pub async fn gc(&self, valid: &[Attachment]) -> Result<(), CniError> {
        let valid: Vec<Value> =
            valid.iter().map(|one| json!({"containerID": one.container_id, "ifname": IFNAME})).collect();
        let config = self.config(&[("cni.dev/valid-attachments", json!(valid))])?;
        self.call("GC", None, config).await.map(drop)
    }

    /// Configuration of the list's first plugin, with the list's name and version, as libcni hands it on.
    fn config(&self, more: &[(&str, Value)]) -> Result<Value, CniError> {
        let mut config = self.conflist["plugins"][0].clone();
        let Some(fields) = config.as_object_mut() else {
            return Err(CniError::Answer {
                verb: "configuration",
                what: "a conflist without plugins".into(),
            });
        };
        fields.insert("name".into(), self.conflist["name"].clone());
        fields.insert("cniVersion".into(), self.conflist["cniVersion"].clone());
        for (name, value) in more {
            fields.insert((*name).to_owned(), value.clone());
        }
        Ok(config)
    }

    async fn call(
        &self,
        verb: &'static str,
        attachment: Option<&Attachment>,
        config: Value,
    ) -> Result<Vec<u8>, CniError> {
        let mut command = tokio::process::Command::new(&self.program);
        command.env_clear().env("CNI_COMMAND", verb);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(directory) = self.program.parent() {
            command.env("CNI_PATH", directory);
        }
        if let Some(Attachment { container_id, netns, pod: (namespace, name, uid) }) = attachment {
            command.env("CNI_CONTAINERID", container_id).env("CNI_NETNS", netns).env("CNI_IFNAME", IFNAME);
            command.env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};\
                     K8S_POD_INFRA_CONTAINER_ID={container_id};K8S_POD_UID={uid}"
                ),
            );
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let program = self.program.clone();
        let failed = move |why| CniError::Run { program: program.clone(), why };
        // Spawned by the thread that is inside the node's namespace, so the plugin is too.
        let run = async move {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A plugin that fails before reading closes the pipe; its answer says why.
                let _ = stdin.write_all(config.to_string().as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let run = async move { tokio::time::timeout(LIMIT, run).await };
        let Some(finished) = self.inside.run(run).await else {
            return Err(CniError::Answer { verb, what: "the node is being taken down".into() });
        };
        let out = finished.map_err(|_| CniError::Slow(verb))?.map_err(failed)?;
        if out.status.success() {
            return Ok(out.stdout);
        }
        Err(error_of(verb, &out))
    }
}

/// The addresses of an ADD result, first v4 or v6 as the plugin ordered them.
#[must_use]
pub fn addresses(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().map(Vec::as_slice).unwrap_or_default();
    ips.iter()
        .filter_map(|ip| ip["address"].as_str())
        .map(|address| address.split('/').next().unwrap_or(address).to_owned())
        .collect()
}

fn error_of(verb: &'static str, out: &std::process::Output) -> CniError {
    #[derive(Deserialize)]
    struct Answer {
        code: i64,
        #[serde(alias = "message")]
        msg: String,
        details: Option<String>,
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(&out.stdout) {
        let details = answer.details.filter(|text| !text.is_empty());
        return CniError::Plugin { code: answer.code, message: answer.msg, details };
    }
    let said = [&out.stderr[..], &out.stdout[..]].concat();
    let said = String::from_utf8_lossy(&said);
    CniError::Answer { verb, what: format!("{}: {}", out.status, said.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A plugin that notes what it was given, and answers with the text in `answer` and the code in `code`.
    fn plugin(dir: &std::path::Path, answer: &str, code: i32) -> (Plugin, pleopod_sys_netns::Guard) {
        let program = dir.join("plugin");
        let script = format!(
            "#!/bin/sh\nenv | grep ^CNI_ | sort > {0}/env\nreadlink /proc/self/ns/net >> {0}/env\ncat > {0}/stdin\n\
             printf '%s' '{answer}'\nexit {code}\n",
            dir.display()
        );
        std::fs::write(&program, script).expect("script");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
        let guard = pleopod_sys_netns::Guard::new("cni").expect("netns");
        let inside = Arc::new(Inside::enter(guard.path()).expect("inside"));
        let conflist = json!({"cniVersion": "1.1.0", "name": "pleopod", "plugins": [{"type": "pleopod-cni", "socket": "/s"}]});
        (Plugin { program, conflist, inside }, guard)
    }

    fn attachment() -> Attachment {
        Attachment {
            container_id: "c0ffee".into(),
            netns: "/run/netns/cni-1".into(),
            pod: ("default".into(), "netpod".into(), "uid-1".into()),
        }
    }

    #[tokio::test]
    async fn add_gives_what_a_runtime_gives() {
        let dir = tempfile::tempdir().expect("dir");
        let (plugin, guard) = plugin(dir.path(), r#"{"ips":[{"address":"172.16.0.5/32"}]}"#, 0);
        let result = plugin.add(&attachment()).await.expect("added");
        assert_eq!(addresses(&result), ["172.16.0.5"]);
        let env = std::fs::read_to_string(dir.path().join("env")).expect("env");
        let inode = guard.id().expect("id").inode;
        assert_eq!(
            env,
            format!(
                "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=netpod;\
                 K8S_POD_INFRA_CONTAINER_ID=c0ffee;K8S_POD_UID=uid-1\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c0ffee\n\
                 CNI_IFNAME=eth0\nCNI_NETNS=/run/netns/cni-1\nCNI_PATH={}\nnet:[{inode}]\n",
                dir.path().display()
            )
        );
        let stdin: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("stdin")).expect("in")).expect("json");
        assert_eq!(
            stdin,
            json!({"type": "pleopod-cni", "socket": "/s", "name": "pleopod", "cniVersion": "1.1.0"})
        );
        plugin.del(&attachment(), Some(&result)).await.expect("deleted");
        let stdin: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("stdin")).expect("in")).expect("json");
        assert_eq!(stdin["prevResult"], result);
    }

    #[tokio::test]
    async fn the_plugins_error_is_passed_on() {
        let dir = tempfile::tempdir().expect("dir");
        let (mut plugin, _guard) =
            plugin(dir.path(), r#"{"code":11,"msg":"agent away","details":"try later"}"#, 1);
        let error = plugin.add(&attachment()).await.expect_err("failed");
        assert!(matches!(error, CniError::Plugin { code: 11, .. }));
        assert_eq!(error.to_string(), "agent away: try later");
        plugin.program = dir.path().join("none");
        let error = plugin.status().await.expect_err("no such program").to_string();
        assert!(error.contains("none: No such file"), "{error}");
    }
}
