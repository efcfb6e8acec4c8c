//! How a pod resolves names: `/etc/resolv.conf` by its DNS policy, and `/etc/hosts`.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::Cluster;

/// `/etc/resolv.conf` and `/etc/hosts` of a pod.
#[must_use]
pub fn files(pod: &Pod, cluster: &Cluster, hostname: &str, address: &str) -> Vec<(PathBuf, String)> {
    vec![
        ("/etc/resolv.conf".into(), resolver(pod, cluster)),
        ("/etc/hosts".into(), hosts(pod, hostname, address)),
    ]
}

fn resolver(pod: &Pod, cluster: &Cluster) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let on_host = spec.is_some_and(|spec| spec.host_network == Some(true));
    let (mut servers, mut searches, mut options) = match policy {
        "None" => (Vec::new(), Vec::new(), Vec::new()),
        "Default" => (cluster.resolvers.clone(), Vec::new(), Vec::new()),
        "ClusterFirst" if on_host => (cluster.resolvers.clone(), Vec::new(), Vec::new()),
        _ => {
            let (namespace, domain) = (pod.namespace().unwrap_or_default(), &cluster.domain);
            let searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            (vec![cluster.dns.clone()], searches, vec!["ndots:5".to_owned()])
        }
    };
    if let Some(own) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        servers.extend(own.nameservers.iter().flatten().cloned());
        searches.extend(own.searches.iter().flatten().cloned());
        options.extend(own.options.iter().flatten().filter_map(|option| {
            let name = option.name.clone()?;
            Some(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")))
        }));
    }
    let mut text = String::new();
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

fn hosts(pod: &Pod, hostname: &str, address: &str) -> String {
    let mut text =
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
            .to_owned();
    text.push_str(&format!("{address}\t{hostname}\n"));
    let spec = pod.spec.as_ref();
    for alias in spec.and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default() {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides_who_is_asked() {
        let cluster = Cluster {
            domain: "cluster.local".into(),
            dns: "10.96.0.10".into(),
            resolvers: vec!["192.168.10.1".into()],
            kubernetes: ("10.96.0.1".into(), 443),
            ca: None,
        };
        let text = |spec: serde_json::Value| {
            let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
            resolver(&serde_json::from_value(pod).expect("pod"), &cluster)
        };
        let none = serde_json::json!([]);
        assert_eq!(
            text(serde_json::json!({"containers": none})),
            "search n.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
        assert_eq!(
            text(serde_json::json!({"containers": none, "dnsPolicy": "Default"})),
            "nameserver 192.168.10.1\n"
        );
        assert_eq!(
            text(serde_json::json!({"containers": none, "dnsPolicy": "ClusterFirst", "hostNetwork": true})),
            "nameserver 192.168.10.1\n"
        );
        assert_eq!(
            text(serde_json::json!({"containers": none, "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "2"}]}})),
            "nameserver 9.9.9.9\noptions ndots:2\n"
        );
    }
}
