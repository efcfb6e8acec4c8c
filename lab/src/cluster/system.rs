//! What every cluster has in `kube-system`: its DNS, as kubeadm installs it.

use kube::Client;
use serde_json::{Value, json};

use crate::manifest;
use crate::pod::Cluster;

/// Name of the DNS Deployment.
pub const DNS: &str = "coredns";
/// Its pods.
pub const DNS_REPLICAS: i32 = 2;

/// What a real cluster is given before its agents: definitions of our kinds, and the agents' rights.
const DEPLOYED: [&str; 3] = [
    include_str!("../../../deploy/crds/pleopodendpoints.yaml"),
    include_str!("../../../deploy/crds/pleopodidentities.yaml"),
    include_str!("../../../deploy/rbac.yaml"),
];
/// The user that `deploy/rbac.yaml` gives rights to.
pub const AGENT_USER: &str = "system:serviceaccount:kube-system:pleopod-agent";

/// Prepares the cluster for agents, with the objects a real one gets.
///
/// # Errors
/// What the API server says to an object, with the object's name.
pub async fn prepare(client: &Client) -> anyhow::Result<()> {
    for text in DEPLOYED {
        for object in manifest::documents(text)? {
            manifest::apply(client, &object, None).await?;
        }
    }
    Ok(())
}

/// Installs the cluster's DNS.
///
/// # Errors
/// What the API server says to an object, with the object's name.
pub async fn install(client: &Client, cluster: &Cluster) -> anyhow::Result<()> {
    for object in objects(cluster) {
        manifest::apply(client, &object, None).await?;
    }
    Ok(())
}

fn objects(cluster: &Cluster) -> Vec<Value> {
    let meta =
        |name: &str| json!({"name": name, "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}});
    let corefile = format!(
        ".:53 {{\n    errors\n    health\n    ready\n    kubernetes {} in-addr.arpa ip6.arpa {{\n       pods insecure\n       \
         ttl 30\n    }}\n    forward . /etc/resolv.conf\n    loadbalance\n}}\n",
        cluster.domain
    );
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DNS, "namespace": "kube-system"}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": DNS, "namespace": "kube-system"}],
        }),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": DNS, "namespace": "kube-system"}, "data": {"Corefile": corefile},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta("kube-dns"),
            "spec": {
                "clusterIP": cluster.dns,
                "selector": {"k8s-app": "kube-dns"},
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                ],
            },
        }),
        deployment(&meta(DNS)),
    ]
}

fn deployment(meta: &Value) -> Value {
    let probe = |path: &str, port: u16| json!({"httpGet": {"path": path, "port": port}, "periodSeconds": 10});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
        "spec": {
            "replicas": DNS_REPLICAS,
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "serviceAccountName": DNS,
                    "dnsPolicy": "Default",
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                    }],
                    "tolerations": [
                        {"key": "CriticalAddonsOnly", "operator": "Exists"},
                        {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
                    ],
                    "containers": [{
                        "name": DNS,
                        "image": "registry.k8s.io/coredns/coredns:v1.12.0",
                        "args": ["-conf", "/etc/coredns/Corefile"],
                        "ports": [
                            {"containerPort": 53, "name": "dns", "protocol": "UDP"},
                            {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
                        ],
                        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": true}],
                        "livenessProbe": probe("/health", 8080),
                        "readinessProbe": probe("/ready", 8181),
                    }],
                    "volumes": [{"name": "config-volume", "configMap": {"name": DNS}}],
                },
            },
        },
    })
}
