//! Workloads with a stand-in kubelet: rollouts, scaling, deleting what is owned.

use crate::cluster::{Cluster, until};
use crate::kubelet;

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_from_first_to_last() {
    let c = Cluster::start();
    let client = c.client().await;
    kubelet::nodes(&client, &[("n1", "192.168.10.1"), ("n2", "192.168.10.2")]).await;
    let _kubelets = kubelet::run(client, &["n1", "n2"]);
    c.kubectl("create deployment web --image=nginx:1 --replicas=3").await;
    let said = c.kubectl("rollout status deployment/web --timeout=20s").await;
    assert!(said.contains("deployment \"web\" successfully rolled out"), "{said}");
    let pods = "get pods -l app=web --field-selector=status.phase=Running -o name";
    assert_eq!(c.kubectl(pods).await.lines().count(), 3);
    c.kubectl("set image deployment/web nginx=nginx:2").await;
    c.kubectl("rollout status deployment/web --timeout=20s").await;
    let images = c.kubectl("get pods -l app=web -o jsonpath={.items[*].spec.containers[0].image}").await;
    assert_eq!(images, "nginx:2 nginx:2 nginx:2");
    c.kubectl("scale deployment/web --replicas=5").await;
    until("five pods", async || (c.kubectl(pods).await.lines().count() == 5).then_some(())).await;
    assert!(c.kubectl("rollout history deployment/web").await.contains('2'));
    c.kubectl("rollout undo deployment/web").await;
    c.kubectl("rollout status deployment/web --timeout=20s").await;
    c.kubectl("rollout restart deployment/web").await;
    c.kubectl("rollout status deployment/web --timeout=20s").await;
    c.kubectl("delete deployment web").await;
    until("everything gone", async || c.kubectl("get rs,pods -o name").await.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pods_find_nodes() {
    let c = Cluster::start();
    let client = c.client().await;
    kubelet::nodes(&client, &[("n1", "192.168.10.1"), ("n2", "192.168.10.2")]).await;
    let _kubelets = kubelet::run(client, &["n1", "n2"]);
    c.kubectl("create deployment web --image=nginx:1 --replicas=200").await;
    c.kubectl("rollout status deployment/web --timeout=40s").await;
    let nodes = c.kubectl("get pods -o jsonpath={.items[*].spec.nodeName}").await;
    let on = |n: &str| nodes.split(' ').filter(|x| *x == n).count();
    assert_eq!(on("n1") + on("n2"), 200);
    assert!(on("n1").abs_diff(on("n2")) <= 20, "{} and {}", on("n1"), on("n2"));
}
