//! What cannot be is refused with the sentence users know.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use crate::cluster::Cluster;

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s}}\nspec: {spec}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn things_that_are_not_there() {
    let c = Cluster::start();
    assert_eq!(c.refused("get pod x", "").await, "Error from server (NotFound): pods \"x\" not found\n");
    assert_eq!(
        c.refused("get deploy x", "").await,
        "Error from server (NotFound): deployments.apps \"x\" not found\n"
    );
    let e = c.refused("create configmap a -n nowhere", "").await;
    assert!(e.contains("namespaces \"nowhere\" not found"), "{e}");
    c.kubectl("create configmap a").await;
    let e = c.refused("create configmap a", "").await;
    assert!(e.contains("configmaps \"a\" already exists"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pods() {
    let c = Cluster::start();
    let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {spec}\n");
    for (spec, want) in [
        ("{}", "spec.containers: Required value"),
        ("{containers: [{name: a}]}", "spec.containers[0].image: Required value"),
        (
            "{containers: [{name: a, image: i}, {name: a, image: i}]}",
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
        ("{containers: [{name: A_, image: i}]}", "spec.containers[0].name: Invalid value: \"A_\""),
        (
            "{containers: [{name: a, image: i, ports: [{containerPort: 70000}]}]}",
            "must be between 1 and 65535, inclusive",
        ),
        (
            "{containers: [{name: a, image: i}], restartPolicy: Often}",
            "spec.restartPolicy: Unsupported value: \"Often\"",
        ),
        ("{containers: [{name: a, image: i}], nodename: x}", "unknown field \"spec.nodename\""),
        ("{containers: [{name: a, image: 5}]}", "cannot unmarshal number"),
    ] {
        let e = c.refused("create -f -", &pod(spec)).await;
        assert!(e.contains(want), "{spec}\n{e}");
    }
    c.feed("create -f -", &pod("{containers: [{name: a, image: i}]}")).await;
    let e = c.refused("patch pod p -p {\"spec\":{\"hostNetwork\":true}}", "").await;
    assert!(e.contains("pod updates may not change fields other than"), "{e}");
    let e = c.refused("create serviceaccount -bad", "").await;
    assert!(!e.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_services() {
    let c = Cluster::start();
    for (spec, want) in [
        ("{}", "spec.ports: Required value"),
        (
            "{ports: [{port: 0}]}",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        ("{ports: [{port: 80}, {port: 81}]}", "spec.ports[0].name: Required value"),
        ("{ports: [{port: 80, name: a}, {port: 80, name: b}]}", "Duplicate value"),
        ("{ports: [{port: 80, protocol: ICMP}]}", "Unsupported value: \"ICMP\""),
        ("{ports: [{port: 80}], clusterIP: 10.96.0.1}", "provided IP is already allocated"),
        ("{ports: [{port: 80}], clusterIP: 1.2.3.4}", "the provided IP is not in the valid range"),
        ("{ports: [{port: 80, nodePort: 80}], type: NodePort}", "The range of valid ports is 30000-32767"),
        ("{ports: [{port: 80}], type: Magic}", "spec.type: Unsupported value: \"Magic\""),
    ] {
        let e = c.refused("create -f -", &service(spec)).await;
        assert!(e.contains(want), "{spec}\n{e}");
    }
    c.feed("create -f -", &service("{ports: [{port: 80}], clusterIP: 10.97.1.148, type: NodePort}")).await;
    let e = c.refused("patch svc s -p {\"spec\":{\"clusterIP\":\"10.97.1.149\"}}", "").await;
    assert!(e.contains("may not change once set"), "{e}");
    let node_port = c.kubectl("get svc s -o jsonpath={.spec.ports[0].nodePort}").await;
    c.kubectl("patch svc s -p {\"spec\":{\"type\":\"ClusterIP\"}}").await;
    assert_eq!(c.kubectl("get svc s -o jsonpath={.spec.ports[0].nodePort}").await, "");
    c.kubectl("delete svc s").await;
    // Both are free again.
    let again =
        format!("{{ports: [{{port: 80, nodePort: {node_port}}}], clusterIP: 10.97.1.148, type: NodePort}}");
    c.feed("create -f -", &service(&again)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_writes_and_unknown_selectors() {
    let c = Cluster::start();
    let api: Api<ConfigMap> = Api::default_namespaced(c.client().await);
    let first: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"a": "1"}})).expect("a map");
    let first = api.create(&PostParams::default(), &first).await.expect("create");
    let mut second = first.clone();
    second.data = Some([("a".to_owned(), "2".to_owned())].into());
    api.replace("m", &PostParams::default(), &second).await.expect("replace");
    match api.replace("m", &PostParams::default(), &first).await {
        Err(kube::Error::Api(e)) => {
            assert_eq!((e.code, e.reason.as_str()), (409, "Conflict"));
            assert!(e.message.contains("the object has been modified"), "{e:?}");
        }
        other => panic!("{other:?}"),
    }
    match api.list(&ListParams::default().fields("spec.nodeName=x")).await {
        Err(kube::Error::Api(e)) => {
            assert_eq!(e.code, 400);
            assert_eq!(e.message, "field label not supported: spec.nodeName");
        }
        other => panic!("{other:?}"),
    }
    for (sel, n) in [("a=1", 0), ("!a", 2), ("a notin (1,2)", 2), ("a in (1)", 0)] {
        let found = api.list(&ListParams::default().labels(sel)).await.expect(sel).items.len();
        assert_eq!(found, n, "{sel}: m and the root certificate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away() {
    let c = Cluster::start();
    c.control.set_away(true);
    assert!(c.refused("get pods", "").await.contains("ServiceUnavailable"));
    c.control.set_away(false);
    c.kubectl("get pods").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_the_same_in_both_groups() {
    let c = Cluster::start();
    let client = c.client().await;
    let new: Api<k8s_openapi::api::events::v1::Event> = Api::default_namespaced(client.clone());
    let e = serde_json::from_value(json!({
        "metadata": {"name": "e1", "namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000001Z",
        "reportingController": "t", "reportingInstance": "i", "action": "Act", "reason": "Because", "type": "Normal",
        "note": "hello", "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    }))
    .expect("an event");
    new.create(&PostParams::default(), &e).await.expect("create");
    let old: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client);
    let found = old.list(&ListParams::default().fields("involvedObject.name=p")).await.expect("list").items;
    assert_eq!(found[0].message.as_deref(), Some("hello"));
    let found = new.list(&ListParams::default().fields("regarding.name=p")).await.expect("list").items;
    assert_eq!(found[0].note.as_deref(), Some("hello"));
    assert!(c.kubectl("get events").await.contains("pod/p"));
}
