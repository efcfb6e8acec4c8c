//! The controllers, seen from outside: stock kubectl, kube-rs, and a kubelet that obeys.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

mod cluster;

use cluster::{Cluster, eventually, from};

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: "nginx:1", ports: [{name: http, containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_rolled_out_scaled_restarted_and_undone_with_kubectl() {
    let c = Cluster::start(&["n1", "n2", "n3"]).await;
    c.apply(WEB).await;
    let say = c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    assert!(say.contains("deployment \"web\" successfully rolled out"), "{say}");
    let nodes: std::collections::BTreeSet<String> =
        c.pods("app=web").await.into_iter().filter_map(|p| p.spec?.node_name).collect();
    assert_eq!(nodes.len(), 3, "one on each node");
    c.kubectl(&["set", "image", "deploy/web", "c=nginx:2"]).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    c.kubectl(&["scale", "deploy/web", "--replicas=5"]).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    c.kubectl(&["rollout", "restart", "deploy/web"]).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    let images = |pods: Vec<Pod>| -> Vec<String> {
        let running = pods.into_iter().filter(|p| p.metadata.deletion_timestamp.is_none());
        running.filter_map(|p| p.spec?.containers.first()?.image.clone()).collect()
    };
    assert_eq!(images(c.pods("app=web").await), ["nginx:2"; 5]);
    c.kubectl(&["rollout", "undo", "deploy/web", "--to-revision=1"]).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    assert_eq!(images(c.pods("app=web").await), ["nginx:1"; 5]);
    let d: Deployment = c.api::<Deployment>().get("web").await.expect("the deployment");
    let s = d.status.unwrap_or_default();
    assert_eq!((s.replicas, s.updated_replicas, s.available_replicas), (Some(5), Some(5), Some(5)));
    assert_eq!(s.observed_generation, d.metadata.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_follows_its_pods_from_ready_to_gone() {
    let c = Cluster::start(&["n1"]).await;
    c.apply(WEB).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    let ready = |slices: &[EndpointSlice], ready: bool| -> Vec<String> {
        slices
            .iter()
            .flat_map(|s| &s.endpoints)
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(ready))
            .filter_map(|e| e.target_ref.as_ref()?.name.clone())
            .collect()
    };
    eventually("three are ready", async || ready(&c.slices("web").await, true).len() == 3).await;
    let before = c.slices("web").await;
    let port = before[0].ports.as_ref().and_then(|p| p.first()?.port);
    assert_eq!((before.len(), port), (1, Some(8080)));
    // The kubelet looks away, so that the pod stays on its way out.
    c.pause();
    let victim = ready(&before, true)[0].clone();
    c.api::<Pod>().delete(&victim, &DeleteParams::default()).await.expect("deleting a pod");
    eventually("the pod is not ready while it ends", async || {
        ready(&c.slices("web").await, false).contains(&victim)
    })
    .await;
    let e = c.slices("web").await[0]
        .endpoints
        .iter()
        .find(|e| e.target_ref.as_ref().and_then(|t| t.name.as_ref()) == Some(&victim))
        .cloned();
    let conditions = e.and_then(|e| e.conditions).unwrap_or_default();
    assert_eq!((conditions.serving, conditions.terminating), (Some(true), Some(true)));
    c.resume();
    eventually("another takes its place", async || {
        let s = c.slices("web").await;
        ready(&s, true).len() == 3 && ready(&s, false).is_empty() && !ready(&s, true).contains(&victim)
    })
    .await;
    let after = c.slices("web").await;
    assert_eq!(after[0].metadata.name, before[0].metadata.name, "the slice keeps its name");
    let ep = c
        .kubectl(&["get", "endpoints", "web", "-o", "jsonpath={.subsets[*].addresses[*].targetRef.kind}"])
        .await;
    assert_eq!(ep.trim(), "Pod Pod Pod");
    c.kubectl(&["delete", "service", "web"]).await;
    eventually("slices and Endpoints go with the Service", async || {
        c.slices("web").await.is_empty() && !c.try_kubectl(&["get", "endpoints", "web"]).await.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_pods_are_placed_and_become_endpoints() {
    let c = Cluster::start(&["n1", "n2", "n3"]).await;
    c.apply(&WEB.replace("replicas: 3", "replicas: 200")).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=100s"]).await;
    let mut on = std::collections::BTreeMap::<String, usize>::new();
    for p in c.pods("app=web").await {
        *on.entry(p.spec.and_then(|s| s.node_name).unwrap_or_default()).or_default() += 1;
    }
    let mut n: Vec<usize> = on.into_values().collect();
    n.sort_unstable();
    assert_eq!(n, [66, 67, 67]);
    eventually("two full slices", async || {
        let mut sizes: Vec<usize> = c.slices("web").await.iter().map(|s| s.endpoints.len()).collect();
        sizes.sort_unstable();
        sizes.iter().sum::<usize>() == 200 && sizes.iter().all(|n| *n <= 100)
    })
    .await;
    c.kubectl(&["delete", "deploy/web", "--cascade=foreground", "--timeout=60s"]).await;
    eventually("children are gone", async || c.pods("app=web").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_furnished_and_goes_with_all_it_holds() {
    let c = Cluster::start(&["n1"]).await;
    c.kubectl(&["create", "namespace", "t1"]).await;
    eventually("furnished", async || {
        c.try_kubectl(&["-n", "t1", "get", "serviceaccount/default", "configmap/kube-root-ca.crt"]).await.0
    })
    .await;
    let label = c.kubectl(&["get", "ns", "t1", "-o", "jsonpath={.metadata.labels}"]).await;
    assert_eq!(label, r#"{"kubernetes.io/metadata.name":"t1"}"#);
    c.apply(&WEB.replace("{name: web}", "{name: web, namespace: t1}")).await;
    c.kubectl(&["-n", "t1", "rollout", "status", "deploy/web", "--timeout=30s"]).await;
    c.kubectl(&["delete", "ns", "t1", "--timeout=30s"]).await;
    let all: Api<Namespace> = Api::all(c.client());
    assert!(all.get_opt("t1").await.expect("asking for the namespace").is_none());
    let left = Api::<Pod>::all(c.client()).list(&ListParams::default()).await.expect("listing").items;
    assert!(left.is_empty(), "{} pods left", left.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn children_stay_when_orphaned_and_go_when_not() {
    let c = Cluster::start(&["n1"]).await;
    c.apply(WEB).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    c.kubectl(&["delete", "deploy/web", "--cascade=orphan"]).await;
    eventually("the set is nobody's", async || {
        let s = c.kubectl(&["get", "rs", "-o", "jsonpath={.items[*].metadata.ownerReferences}"]).await;
        s.trim().is_empty() || s.trim() == "[]"
    })
    .await;
    assert_eq!(c.pods("app=web").await.len(), 3);
    // The same manifest finds them again: no pod is made anew.
    let before = c.uids("app=web").await;
    c.apply(WEB).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    assert_eq!(c.uids("app=web").await, before);
    c.kubectl(&["delete", "deploy/web"]).await;
    eventually("children are gone", async || c.pods("app=web").await.is_empty()).await;
    // An object whose owner never was is collected.
    let orphan: Service = from(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "orphan", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]},
        "spec": {"ports": [{"port": 1}]}}));
    c.api::<Service>().create(&PostParams::default(), &orphan).await.expect("creating");
    eventually("collected", async || matches!(c.api::<Service>().get_opt("orphan").await, Ok(None))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_is_unknown_and_its_pods_leave_the_service() {
    let c = Cluster::start(&["n1", "n2"]).await;
    c.apply(WEB).await;
    c.kubectl(&["rollout", "status", "deploy/web", "--timeout=30s"]).await;
    let lease = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: n1, namespace: kube-node-lease}\n\
                 spec: {holderIdentity: n1, leaseDurationSeconds: 40, renewTime: \"2020-01-01T00:00:00.000000Z\"}\n";
    let nodes: Api<Node> = Api::all(c.client());
    let stale = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
        "message": "", "lastHeartbeatTime": "2020-01-01T00:00:00Z", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}});
    nodes
        .patch_status("n1", &PatchParams::default(), &Patch::Merge(&stale))
        .await
        .expect("patching the node");
    c.apply(lease).await;
    eventually("unknown", async || c.kubectl(&["get", "node", "n1"]).await.contains("NotReady")).await;
    let taints = async || c.kubectl(&["get", "node", "n1", "-o", "jsonpath={.spec.taints[*].key}"]).await;
    eventually("tainted", async || taints().await.contains("node.kubernetes.io/unreachable")).await;
    eventually("its pods are not ready", async || {
        let slices = c.slices("web").await;
        slices.iter().flat_map(|s| &s.endpoints).all(|e| {
            (e.node_name.as_deref() == Some("n1"))
                != (e.conditions.as_ref().and_then(|c| c.ready) == Some(true))
        })
    })
    .await;
    // New pods go elsewhere.
    c.kubectl(&["scale", "deploy/web", "--replicas=6"]).await;
    eventually("all new ones are on n2", async || {
        let p = c.pods("app=web").await;
        let on = |n: &str| {
            p.iter().filter(|p| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(n)).count()
        };
        p.len() == 6 && on("n2") >= 4 && on("") == 0 && on("n1") <= 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_fits() {
    let c = Cluster::start(&["n1"]).await;
    c.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeSelector: {disk: ssd}, containers: [{name: c, image: x}]}\n").await;
    eventually("told", async || {
        let say = c.kubectl(&["describe", "pod", "p"]).await;
        say.contains("FailedScheduling")
            && say.contains("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
    })
    .await;
    c.kubectl(&["label", "node", "n1", "disk=ssd"]).await;
    c.kubectl(&["wait", "--for=condition=Ready", "pod/p", "--timeout=20s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn daemon_sets_and_stateful_sets_roll_out() {
    let c = Cluster::start(&["n1", "n2"]).await;
    let ds = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: ds}\nspec:\n  selector: {matchLabels: {app: ds}}\n  \
              template:\n    metadata: {labels: {app: ds}}\n    spec: {containers: [{name: c, image: x}]}\n";
    let sts = ds
        .replace("DaemonSet", "StatefulSet")
        .replace("ds", "db")
        .replace("spec:\n  sel", "spec:\n  serviceName: db\n  replicas: 2\n  sel");
    c.apply(ds).await;
    c.apply(&sts).await;
    c.kubectl(&["rollout", "status", "ds/ds", "--timeout=30s"]).await;
    c.kubectl(&["rollout", "status", "sts/db", "--timeout=30s"]).await;
    c.kubectl(&["set", "image", "ds/ds", "c=y"]).await;
    c.kubectl(&["rollout", "status", "ds/ds", "--timeout=30s"]).await;
    c.kubectl(&["set", "image", "sts/db", "c=y"]).await;
    c.kubectl(&["rollout", "status", "sts/db", "--timeout=30s"]).await;
    let mut names: Vec<String> = c.pods("app=db").await.into_iter().filter_map(|p| p.metadata.name).collect();
    names.sort();
    assert_eq!(names, ["db-0", "db-1"]);
    c.node("n3").await;
    eventually("the new node has one", async || c.pods("app=ds").await.len() == 3).await;
    c.kubectl(&["rollout", "undo", "ds/ds"]).await;
    c.kubectl(&["rollout", "status", "ds/ds", "--timeout=30s"]).await;
    let images: Vec<_> = c
        .pods("app=ds")
        .await
        .into_iter()
        .filter_map(|p| p.spec?.containers.first()?.image.clone())
        .collect();
    assert_eq!(images, ["x"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_history_is_made_up_for() {
    let c = Cluster::start(&["n1", "n2"]).await;
    c.control().set_window(2);
    let control = c.control().clone();
    let forget = tokio::spawn(async move {
        loop {
            control.compact();
            tokio::time::sleep(std::time::Duration::from_millis(7)).await;
        }
    });
    c.apply(&WEB.replace("replicas: 3", "replicas: 40")).await;
    eventually("forty endpoints", async || {
        c.slices("web").await.iter().map(|s| s.endpoints.len()).sum::<usize>() == 40
            && c.pods("app=web").await.len() == 40
    })
    .await;
    forget.abort();
    c.kubectl(&["delete", "deploy/web"]).await;
    eventually("children are gone", async || c.pods("app=web").await.is_empty()).await;
}
