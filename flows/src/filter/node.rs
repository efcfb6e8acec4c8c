//! Patterns for node names: `k8s*`, `cluster/node`, `cluster/`, `*/node`.

/// One pattern; `*` stands for any text.
#[derive(Debug)]
pub struct NodePattern {
    /// `None` when the pattern names no cluster: then it is the observer's own.
    cluster: Option<String>,
    node: String,
}

// === impl NodePattern ===

impl NodePattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a name or pattern".to_owned());
        }
        let (cluster, node) = match text.split_once('/') {
            None => (None, text),
            Some((cluster, node)) => (Some(cluster.to_owned()), node),
        };
        if node.contains('/') {
            return Err("expected NODE or CLUSTER/NODE".to_owned());
        }
        let node = if node.is_empty() { "*" } else { node };
        Ok(Self { cluster, node: node.to_owned() })
    }

    /// Whether the node is meant.
    pub fn matches(&self, cluster: &str, node: &str) -> bool {
        self.cluster.as_ref().is_none_or(|pattern| glob(pattern, cluster)) && glob(&self.node, node)
    }
}

/// Whether `text` fits `pattern`, where each `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, node, fits) in [
            ("k8s-s", "k8s-s", true),
            ("k8s-s", "k8s-s2", false),
            ("k8s*", "k8s-w1", true),
            ("*w1", "k8s-w1", true),
            ("k*s*1", "k8s-w1", true),
            ("k*x*1", "k8s-w1", false),
            ("a*a", "a", false),
            ("default/k8s-s", "k8s-s", true),
            ("default/", "k8s-s", true),
            ("other/k8s-s", "k8s-s", false),
            ("*/k8s-s", "k8s-s", true),
        ] {
            assert_eq!(
                NodePattern::parse(pattern).unwrap().matches("default", node),
                fits,
                "{pattern} {node}"
            );
        }
        assert!(NodePattern::parse("").is_err());
        assert!(NodePattern::parse("a/b/c").is_err());
    }
}
