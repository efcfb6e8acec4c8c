//! As much of a Corefile as the lab's DNS acts on: the port, the cluster domain and where to forward.

/// What is read out of a Corefile; every other plugin is skipped.
#[derive(Debug, PartialEq, Eq)]
pub struct Corefile {
    /// Port of the first server block.
    pub port: u16,
    /// First zone of the `kubernetes` plugin.
    pub domain: String,
    /// Targets of `forward .`: addresses or paths of resolver files.
    pub forward: Vec<String>,
}

// === impl Corefile ===

impl Corefile {
    /// Reads the text; what isn't there keeps CoreDNS's usual value.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut found = Self { port: 53, domain: "cluster.local".to_owned(), forward: Vec::new() };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or("");
            let mut words = line.split_whitespace().filter(|word| *word != "{" && *word != "}");
            match words.next() {
                Some("kubernetes") => {
                    if let Some(domain) = words.next() {
                        found.domain = domain.trim_end_matches('.').to_owned();
                    }
                }
                Some("forward") => found.forward.extend(words.skip(1).map(str::to_owned)),
                Some(first) if first.starts_with('.') => {
                    if let Some(port) = first.strip_prefix(".:").and_then(|port| port.parse().ok()) {
                        found.port = port;
                    }
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Corefile;

    #[test]
    fn the_usual_file_is_understood() {
        let text = ".:53 {\n  errors\n  kubernetes lab.local in-addr.arpa ip6.arpa {\n    pods insecure\n    ttl 30\n  }\n  \
                    # forward . 9.9.9.9\n  forward . /etc/resolv.conf 192.168.10.1 {\n    max_concurrent 1000\n  }\n}\n";
        let found = Corefile::parse(text);
        assert_eq!(found.domain, "lab.local");
        assert_eq!(found.forward, ["/etc/resolv.conf", "192.168.10.1"]);
        assert_eq!(found.port, 53);
    }
}
