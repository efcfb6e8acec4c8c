//! Changing objects: the patches of kubectl and server-side apply.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::Cluster;

const WEB: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: 'nginx:1', env: [{name: A, value: '1'}], ports: [{containerPort: 80}]}
      - {name: d, image: 'x:1'}
";

#[tokio::test(flavor = "multi_thread")]
async fn client_side_apply_merges_lists_by_name() {
    let c = Cluster::start();
    c.feed("apply -f -", WEB).await;
    let next = WEB
        .replace("name: A, value: '1'", "name: B, value: '2'")
        .replace("      - {name: d, image: 'x:1'}\n", "");
    c.feed("apply -f -", &next).await;
    let got = c.kubectl("get deploy web -o jsonpath={.spec.template.spec.containers[*].name}/{.spec.template.spec.containers[0].env[*].name}").await;
    assert_eq!(got, "c/B");
    assert!(c.feed("apply -f -", &next).await.contains("unchanged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_kinds_of_patch() {
    let c = Cluster::start();
    c.feed("apply -f -", WEB).await;
    let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"d","$patch":"delete"},{"name":"e","image":"y:1"}]}}}}"#;
    let said = c.run("admin", &["patch", "deploy", "web", "-p", strategic], "").await;
    assert_eq!(said.code, 0, "{}", said.err);
    let names = "get deploy web -o jsonpath={.spec.template.spec.containers[*].name}";
    assert_eq!(c.kubectl(names).await, "c e");
    let json = r#"[{"op":"test","path":"/spec/replicas","value":0},{"op":"remove","path":"/spec/template/spec/containers/1"}]"#;
    c.run("admin", &["patch", "deploy", "web", "--type=json", "-p", json], "").await;
    assert_eq!(c.kubectl(names).await, "c");
    let merge = r#"{"metadata":{"labels":{"x":"y"}},"spec":{"template":{"spec":{"containers":[{"name":"z","image":"z:1"}]}}}}"#;
    c.run("admin", &["patch", "deploy", "web", "--type=merge", "-p", merge], "").await;
    assert_eq!(c.kubectl(names).await, "z");
    let bad = r#"[{"op":"test","path":"/spec/replicas","value":7}]"#;
    let said = c.run("admin", &["patch", "deploy", "web", "--type=json", "-p", bad], "").await;
    assert_ne!(said.code, 0);
    c.kubectl("label deploy web x-").await;
    assert_eq!(c.kubectl("get deploy web -o jsonpath={.metadata.labels}").await, "");
}

fn cm(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: cm}}\ndata: {data}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_takes_back_what_it_gave() {
    let c = Cluster::start();
    let data = "get cm cm -o jsonpath={.data}";
    c.feed("apply --server-side -f -", &cm("{a: '1', b: '2'}")).await;
    c.feed("apply --server-side -f -", &cm("{a: '1'}")).await;
    assert_eq!(c.kubectl(data).await, r#"{"a":"1"}"#);
    // Another manager may add, and may agree, but not change.
    c.feed("apply --server-side --field-manager=other -f -", &cm("{a: '1', z: '9'}")).await;
    let e = c.refused("apply --server-side --field-manager=other -f -", &cm("{a: '2', z: '9'}")).await;
    assert!(e.contains("Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.a"), "{e}");
    c.feed("apply --server-side --force-conflicts --field-manager=other -f -", &cm("{a: '2', z: '9'}")).await;
    assert_eq!(c.kubectl(data).await, r#"{"a":"2","z":"9"}"#);
    // The first one lost `a`, so leaving it out removes nothing.
    c.feed("apply --server-side -f -", &cm("{c: '3'}")).await;
    assert_eq!(c.kubectl(data).await, r#"{"a":"2","c":"3","z":"9"}"#);
    // What both own goes only when both let go.
    c.feed("apply --server-side --field-manager=other -f -", &cm("{c: '3'}")).await;
    c.feed("apply --server-side -f -", &cm("{}")).await;
    assert_eq!(c.kubectl(data).await, r#"{"c":"3"}"#);
    let before = c.kubectl("get cm cm -o jsonpath={.metadata.resourceVersion}").await;
    c.feed("apply --server-side -f -", &cm("{}")).await;
    assert_eq!(
        c.kubectl("get cm cm -o jsonpath={.metadata.resourceVersion}").await,
        before,
        "nothing changed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_client_side_to_server_side() {
    let c = Cluster::start();
    c.feed("apply -f -", WEB).await;
    c.feed("apply --server-side -f -", &WEB.replace("nginx:1", "nginx:2")).await;
    assert_eq!(
        c.kubectl("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}").await,
        "nginx:2"
    );
    c.kubectl("scale deploy web --replicas=1").await;
    let e = c.refused("apply --server-side -f -", WEB).await;
    assert!(e.contains("\"kubectl\"") && e.contains(".spec.replicas"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn applies_of_kube_rs() {
    let c = Cluster::start();
    let api: Api<ConfigMap> = Api::default_namespaced(c.client().await);
    let p = |m: &str| PatchParams::apply(m);
    let body = |v: &str| {
        Patch::Apply(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k"}, "data": {"x": v}}),
        )
    };
    let made = api.patch("k", &p("one"), &body("1")).await.expect("apply creates");
    assert_eq!(made.metadata.managed_fields.as_ref().map(Vec::len), Some(1));
    match api.patch("k", &p("two"), &body("2")).await {
        Err(kube::Error::Api(e)) => assert_eq!((e.code, e.reason.as_str()), (409, "Conflict")),
        other => panic!("{other:?}"),
    }
    let forced = api.patch("k", &p("two").force(), &body("2")).await.expect("by force");
    let owners = forced.metadata.managed_fields.expect("owners");
    assert_eq!(owners.len(), 1, "the first owns nothing any more");
    assert_eq!(owners[0].manager.as_deref(), Some("two"));
}
