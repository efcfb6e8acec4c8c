//! The manifests of the walks, unchanged, and what `kubectl get` then shows.

use crate::cluster::{Cluster, squeeze, until};
use crate::kubelet;

const NODES: [(&str, &str); 3] =
    [("k8s-s", "192.168.10.10"), ("k8s-w1", "192.168.10.101"), ("k8s-w2", "192.168.10.102")];

/// `kubectl get ARGS`, squeezed, once it contains `text` so many times.
async fn table_with(c: &Cluster, args: &str, text: &str, times: usize) -> String {
    until(args, async || {
        let t = squeeze(&c.kubectl(args).await);
        (t.matches(text).count() == times).then_some(t)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_pods_on_three_nodes() {
    let c = Cluster::start();
    let client = c.client().await;
    kubelet::nodes(&client, &NODES).await;
    let _kubelets = kubelet::run(client, &["k8s-s", "k8s-w1", "k8s-w2"]);
    let said = c.feed("create -f -", include_str!("manifests/003.yaml")).await;
    assert_eq!(said, "pod/netpod created\npod/webpod1 created\npod/webpod2 created\n");
    let t = table_with(&c, "get pod -o wide", "1/1 Running", 3).await;
    let mut lines = t.lines();
    assert_eq!(lines.next(), Some("NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"));
    for (name, node, k) in [("netpod", "k8s-s", 0), ("webpod1", "k8s-w1", 1), ("webpod2", "k8s-w2", 2)] {
        let line = lines.next().expect("a line for each pod");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..5], [name, "1/1", "Running", "0", "0s"], "{line}");
        assert!(words[5].starts_with(&format!("172.16.{k}.")), "{line}");
        assert_eq!(words[6..], [node, "<none>", "<none>"], "{line}");
    }
    let ip = c.kubectl("get pods netpod -o jsonpath={.status.podIP}").await;
    assert!(ip.starts_with("172.16.0."), "{ip}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_and_its_two_pods() {
    let c = Cluster::start();
    let client = c.client().await;
    kubelet::nodes(&client, &[("acme-control", "192.168.10.10")]).await;
    let _kubelets = kubelet::run(client, &["acme-control"]);
    c.feed("apply -f -", include_str!("manifests/000.yaml")).await;
    let again = c.feed("apply -f -", include_str!("manifests/000.yaml")).await;
    assert_eq!(again.matches("unchanged").count(), 4, "{again}");
    table_with(&c, "get pods", "1/1 Running", 3).await;
    let t = table_with(&c, "get svc,endpointslices -o wide", "172.16.0.", 2).await;
    let svc = t.lines().find(|l| l.starts_with("service/svc ")).expect("the Service");
    let words: Vec<&str> = svc.split(' ').collect();
    assert_eq!(words[1], "ClusterIP");
    assert!(words[2].starts_with("10."), "{svc}");
    assert_eq!(words[3..], ["<none>", "80/TCP", "0s", "app=webpod"]);
    assert!(t.contains("service/kubernetes ClusterIP 10.96.0.1 <none> 443/TCP"), "{t}");
    let ready = c.kubectl("get endpointslices -l kubernetes.io/service-name=svc -o jsonpath={.items[*].endpoints[*].conditions.ready}").await;
    assert_eq!(ready, "true true");
    assert_eq!(c.kubectl("delete pod webpod1").await, "pod \"webpod1\" deleted\n");
    table_with(&c, "get endpointslices -l kubernetes.io/service-name=svc", "172.16.0.", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_as_users_know_them() {
    let c = Cluster::start();
    kubelet::nodes(&c.client().await, &NODES).await;
    let t = table_with(&c, "get nodes -o wide", " Ready ", 3).await;
    assert_eq!(
        t.lines().nth(1),
        Some("k8s-s Ready <none> 0s v1.32.0 192.168.10.10 <none> Debian 6.18 lab://1"),
        "{t}"
    );
    let cidrs = until("a block for each node", async || {
        let t = c.kubectl("get nodes -o jsonpath={.items[*].spec.podCIDR}").await;
        (t.split(' ').count() == 3).then_some(t)
    })
    .await;
    let mut blocks: Vec<&str> = cidrs.split(' ').collect();
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), 3, "{cidrs}");
    assert!(blocks.iter().all(|b| b.starts_with("10.244.") && b.ends_with(".0/24")), "{cidrs}");
    c.kubectl("cordon k8s-w1").await;
    assert!(c.kubectl("get node k8s-w1").await.contains("Ready,SchedulingDisabled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_typed_commands_send_is_read() {
    // These send protobuf.
    let c = Cluster::start();
    c.kubectl("create namespace shop").await;
    c.kubectl("create serviceaccount seller -n shop").await;
    c.kubectl("create configmap prices -n shop --from-literal=apple=1").await;
    c.kubectl("create secret generic till -n shop --from-literal=key=open").await;
    c.kubectl("create deployment stall -n shop --image=nginx --replicas=0 --port=80").await;
    c.kubectl("create role reader -n shop --verb=get,list --resource=pods").await;
    c.kubectl("create poddisruptionbudget calm -n shop --selector=app=stall --min-available=1").await;
    assert_eq!(c.kubectl("get cm prices -n shop -o jsonpath={.data.apple}").await, "1");
    assert_eq!(c.kubectl("get secret till -n shop -o jsonpath={.data.key}").await, "b3Blbg==");
    assert_eq!(c.kubectl("get deploy stall -n shop -o jsonpath={.spec.replicas}").await, "0");
    let port = c
        .kubectl(
            "get deploy stall -n shop -o jsonpath={.spec.template.spec.containers[0].ports[0].containerPort}",
        )
        .await;
    assert_eq!(port, "80");
    assert_eq!(c.kubectl("get pdb calm -n shop -o jsonpath={.spec.minAvailable}").await, "1");
    assert_eq!(c.kubectl("get role reader -n shop -o jsonpath={.rules[0].verbs}").await, r#"["get","list"]"#);
    assert!(c.kubectl("create token seller -n shop").await.starts_with("eyJ"));
    assert_eq!(c.kubectl("delete namespace shop").await, "namespace \"shop\" deleted\n");
    assert_eq!(c.kubectl("get deploy,cm -n shop -o name").await, "");
}
