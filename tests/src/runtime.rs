//! A container runtime of a test's own: calls the CNI plugin with containers that no kubelet knows.

use std::path::{Path, PathBuf};

use pleopod_sys_netns::Guard;
use serde_json::{Value, json};

use crate::{Lab, Said};

/// Calls the plugin on one node.
#[derive(Debug)]
pub struct Runtime<'a> {
    lab: &'a Lab,
    node: String,
    /// `cniVersion` of the network configuration.
    pub version: String,
    /// The agent's socket.
    pub socket: PathBuf,
    /// The pod, in the namespace `default`.
    pub pod: String,
    /// Name of the network.
    pub network: String,
}

/// A container: an id and a network namespace that goes with it.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its namespace.
    pub netns: Guard,
}

/// What the plugin said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// All of it.
    pub said: Said,
    /// Its standard output, when that is JSON.
    pub json: Value,
}

/// A pod in the node's own network: it is on the node, and its kubelet never calls the plugin for it.
const OURS: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: byhand, labels: {app: byhand}}
spec: {nodeName: NODE, hostNetwork: true, containers: [{name: c, image: registry.k8s.io/pause}]}
";

// === impl Runtime ===

impl<'a> Runtime<'a> {
    /// A runtime on `node` for a pod that is made for it.
    #[must_use]
    pub fn new(lab: &'a Lab, node: &str) -> Self {
        lab.apply(&OURS.replace("NODE", node));
        let socket = lab.layout().node(node).run.join("agent.sock");
        let (version, pod, network) = ("1.1.0".to_owned(), "byhand".to_owned(), "pleopod".to_owned());
        Self { lab, node: node.to_owned(), version, socket, pod, network }
    }

    /// Calls the plugin; `more` are further keys of the network configuration.
    #[must_use]
    pub fn call(&self, verb: &str, id: &str, netns: &Path, more: &Value) -> Answer {
        let mut conf = json!({
            "cniVersion": self.version, "name": self.network, "type": "pleopod-cni", "socket": self.socket,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        let pod = &self.pod;
        let said = self
            .lab
            .node(
                &self.node,
                &[
                    "env",
                    &format!("CNI_COMMAND={verb}"),
                    &format!("CNI_CONTAINERID={id}"),
                    &format!("CNI_NETNS={}", netns.display()),
                    "CNI_IFNAME=eth0",
                    "CNI_PATH=/opt/cni/bin",
                    &format!("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}"),
                    &self.lab.program("pleopod-cni"),
                ],
            )
            .input(&conf.to_string())
            .run();
        Answer { json: serde_json::from_str(&said.out).unwrap_or_default(), said }
    }

    /// ADD.
    #[must_use]
    pub fn add(&self, container: &Container) -> Answer {
        self.call("ADD", &container.id, container.netns.path(), &Value::Null)
    }

    /// DEL.
    #[must_use]
    pub fn del(&self, container: &Container) -> Answer {
        self.call("DEL", &container.id, container.netns.path(), &Value::Null)
    }

    /// CHECK of what `added` gave.
    #[must_use]
    pub fn check(&self, container: &Container, added: &Answer) -> Answer {
        self.call("CHECK", &container.id, container.netns.path(), &json!({"prevResult": added.json}))
    }

    /// STATUS.
    #[must_use]
    pub fn status(&self) -> Answer {
        self.call("STATUS", "", Path::new(""), &Value::Null)
    }

    /// GC with these as the attachments that are valid.
    #[must_use]
    pub fn gc(&self, valid: &[&Container]) -> Answer {
        let valid: Vec<Value> =
            valid.iter().map(|one| json!({"containerID": one.id, "ifname": "eth0"})).collect();
        self.call("GC", "", Path::new(""), &json!({"cni.dev/valid-attachments": valid}))
    }
}

// === impl Container ===

impl Container {
    /// A container with a namespace of its own, named after `label`.
    #[must_use]
    pub fn new(label: &str) -> Self {
        let netns = Guard::new(label).expect("a namespace");
        Self { id: netns.name().to_owned(), netns }
    }

    /// Runs `ip WORDS` inside.
    pub fn ip(&self, words: &[&str]) -> String {
        crate::Run::new("ip").words(&["-n", self.netns.name()]).words(words).ok()
    }
}

// === impl Answer ===

impl Answer {
    /// The call must have succeeded.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert!(self.said.success(), "{}", self.said);
        self
    }

    /// The call must have failed with this code; gives the message.
    #[track_caller]
    #[must_use]
    pub fn refused(&self, code: u64) -> String {
        assert!(
            !self.said.success() && self.json["code"] == code,
            "no refusal with code {code}: {}",
            self.said
        );
        self.json["msg"].as_str().unwrap_or_default().to_owned()
    }

    /// The first address of an ADD's result, without its length.
    #[track_caller]
    #[must_use]
    pub fn address(&self) -> String {
        let address = self.json["ips"][0]["address"].as_str();
        let address = address.and_then(|a| a.split('/').next());
        address.unwrap_or_else(|| panic!("no address: {}", self.said)).to_owned()
    }
}
