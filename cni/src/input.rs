//! What a runtime gives: `CNI_*` variables and the network configuration.

use serde::Deserialize;

use crate::error::{Code, Error};

/// Versions we speak, oldest first.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Where the agent listens when the configuration does not say.
const DEFAULT_SOCKET: &str = "/run/pleopod/agent.sock";

/// The `CNI_*` variables as they are; empty and absent are the same.
#[derive(Clone, Debug, Default)]
pub struct Env {
    pub command: String,
    pub container_id: String,
    pub netns: String,
    pub ifname: String,
    pub args: String,
}

/// The network configuration, as far as this plugin reads it.
#[derive(Clone, Debug, Deserialize)]
pub struct NetConf {
    #[serde(rename = "cniVersion", default)]
    pub cni_version: String,
    #[serde(default)]
    pub name: String,
    /// Path of the agent's socket.
    #[serde(default = "default_socket")]
    pub socket: String,
    #[serde(rename = "prevResult")]
    pub prev_result: Option<PrevResult>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Option<Vec<ValidAttachment>>,
}

/// The result of the ADD before, as far as CHECK compares it.
#[derive(Clone, Debug, Deserialize)]
pub struct PrevResult {
    #[serde(default)]
    pub ips: Vec<PrevIp>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PrevIp {
    pub address: String,
}

/// One attachment that GC must keep.
#[derive(Clone, Debug, Deserialize)]
pub struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

/// The pod, from `CNI_ARGS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodArgs {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

fn default_socket() -> String {
    DEFAULT_SOCKET.to_owned()
}

// === impl Env ===

impl Env {
    pub fn from_process() -> Self {
        let get = |name| std::env::var(name).unwrap_or_default();
        Self {
            command: get("CNI_COMMAND"),
            container_id: get("CNI_CONTAINERID"),
            netns: get("CNI_NETNS"),
            ifname: get("CNI_IFNAME"),
            args: get("CNI_ARGS"),
        }
    }

    /// `CNI_CONTAINERID`: must start with an alphanumeric and hold only those, `_`, `.` and `-`.
    pub fn container_id(&self) -> Result<&str, Error> {
        let id = required("CNI_CONTAINERID", &self.container_id)?;
        let ok = id.starts_with(|c: char| c.is_ascii_alphanumeric())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if ok {
            Ok(id)
        } else {
            Err(invalid("CNI_CONTAINERID", id, "letters, digits, '_', '.' and '-' only"))
        }
    }

    /// `CNI_IFNAME`: at most 15 bytes, no `/`, `:` or white space, not `.` or `..`.
    pub fn ifname(&self) -> Result<&str, Error> {
        let name = required("CNI_IFNAME", &self.ifname)?;
        let ok = name.len() <= 15
            && name != "."
            && name != ".."
            && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace());
        if ok { Ok(name) } else { Err(invalid("CNI_IFNAME", name, "an interface name of at most 15 bytes")) }
    }

    /// `CNI_NETNS`: the path of a network namespace.
    pub fn netns(&self) -> Result<&str, Error> {
        required("CNI_NETNS", &self.netns)
    }

    /// The pod named by `CNI_ARGS` (`K8S_POD_NAMESPACE`, `K8S_POD_NAME`, `K8S_POD_UID`); other keys are left alone.
    pub fn pod(&self) -> Result<PodArgs, Error> {
        let mut pod = PodArgs::default();
        for pair in self.args.split(';').filter(|p| !p.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(invalid("CNI_ARGS", pair, "KEY=VALUE pairs separated by ';'"));
            };
            match key {
                "K8S_POD_NAMESPACE" => pod.namespace = value.to_owned(),
                "K8S_POD_NAME" => pod.name = value.to_owned(),
                "K8S_POD_UID" => pod.uid = value.to_owned(),
                _ => {}
            }
        }
        for (key, value) in [("K8S_POD_NAMESPACE", &pod.namespace), ("K8S_POD_NAME", &pod.name)] {
            if value.is_empty() {
                return Err(Error::new(
                    Code::InvalidEnvironment,
                    format!(
                        "CNI_ARGS has no {key}: pleopod connects Kubernetes pods only; the runtime must pass it"
                    ),
                ));
            }
        }
        Ok(pod)
    }
}

fn required<'a>(name: &str, value: &'a str) -> Result<&'a str, Error> {
    if value.is_empty() {
        return Err(Error::new(
            Code::InvalidEnvironment,
            format!("{name} is not set; the runtime must pass it"),
        ));
    }
    Ok(value)
}

fn invalid(name: &str, value: &str, want: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("{name}={value:?} is not valid: {want}"))
}

// === impl NetConf ===

impl NetConf {
    /// Reads and checks the configuration.
    pub fn parse(stdin: &[u8]) -> Result<Self, Error> {
        let conf: Self = serde_json::from_slice(stdin).map_err(|e| {
            Error::new(Code::Decode, format!("the network configuration on standard input is not valid: {e}"))
        })?;
        if !VERSIONS.contains(&conf.cni_version.as_str()) {
            return Err(Error::new(
                Code::IncompatibleVersion,
                format!(
                    "cniVersion {:?} is not supported; set it to one of {} in the conflist",
                    conf.cni_version,
                    VERSIONS.join(", ")
                ),
            ));
        }
        if conf.name.is_empty() {
            return Err(Error::new(Code::InvalidConfig, "the network configuration has no `name`"));
        }
        if !conf.socket.starts_with('/') {
            let msg =
                format!("`socket` is {:?}; it must be the absolute path of the agent's socket", conf.socket);
            return Err(Error::new(Code::InvalidConfig, msg));
        }
        Ok(conf)
    }

    /// Whether the configuration's version is at least `version` (one of [`VERSIONS`]).
    pub fn at_least(&self, version: &str) -> bool {
        let rank = |v: &str| VERSIONS.iter().position(|x| *x == v);
        rank(&self.cni_version) >= rank(version)
    }
}

/// The configuration's version for an error object, if it can be read at all.
pub fn version_of(stdin: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(stdin)
        .ok()
        .and_then(|v| v.get("cniVersion")?.as_str().map(str::to_owned))
        .filter(|v| VERSIONS.contains(&v.as_str()))
        .unwrap_or_else(|| "1.1.0".to_owned())
}
