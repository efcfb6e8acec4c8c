//! The own Node object as it was last seen, so that an agent that starts while the API server is away takes the node's pods
//! over all the same: it answers questions, disconnects pods, and sees to connections.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pleopod_model::intent::Node;
use serde::{Deserialize, Serialize};

/// Name of the file in the state directory.
pub const FILE: &str = "node.json";

#[derive(Serialize, Deserialize)]
struct Remembered {
    /// Name of the Node object.
    name: String,
    node: Node,
}

/// Notes the node: temporary file, then rename.
pub fn note(state_dir: &Path, name: &str, node: &Node) -> anyhow::Result<()> {
    let path = state_dir.join(FILE);
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("tmp");
        let text = serde_json::to_vec(&Remembered { name: name.into(), node: node.clone() })?;
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        std::io::Write::write_all(&mut file, &text)?;
        fs::rename(&temporary, &path)
    };
    write().with_context(|| format!("state: writing {}", path.display()))
}

/// The node of that name as it was last seen; `None` when none was, or the file can't be used.
pub fn recall(state_dir: &Path, name: &str) -> Option<Node> {
    let path: PathBuf = state_dir.join(FILE);
    let remembered: Remembered = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (remembered.name == name).then_some(remembered.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_recalled_by_its_name_and_damage_is_no_node() {
        let dir = tempfile::tempdir().expect("a directory");
        let node = Node {
            addresses: vec!["192.168.10.10".parse().expect("an address")],
            pod_cidrs: vec!["172.16.0.0/24".parse().expect("a CIDR")],
            ..Node::default()
        };
        assert_eq!(recall(dir.path(), "k8s-s"), None);
        note(dir.path(), "k8s-s", &node).expect("noted");
        assert_eq!(recall(dir.path(), "k8s-s"), Some(node));
        assert_eq!(recall(dir.path(), "k8s-w1"), None, "the directory of another node");
        fs::write(dir.path().join(FILE), b"{\"name\":\"k8s-s\"").expect("write");
        assert_eq!(recall(dir.path(), "k8s-s"), None);
    }
}
