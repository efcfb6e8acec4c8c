//! Custom resources: from the definition to rows, rules and watches.

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, CustomResource, CustomResourceExt as _, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cluster::Cluster;

const DEFINITION: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crabs.sea.example}
spec:
  group: sea.example
  scope: Namespaced
  names: {kind: Crab, plural: crabs, shortNames: [cr]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Security Identity, type: integer, jsonPath: .status.identity.id}
    - {name: Endpoint State, type: string, jsonPath: .status.state}
    - {name: IPv4, type: string, jsonPath: '.status.addressing[0].ipv4'}
    - {name: IPv6, type: string, jsonPath: '.status.addressing[0].ipv6'}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [mode]
            properties:
              mode: {type: string, enum: [swim, walk]}
              legs: {type: integer, minimum: 1, default: 10}
              tag: {type: string, pattern: '^x+$'}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

fn crab(spec: &str) -> String {
    format!("apiVersion: sea.example/v1\nkind: Crab\nmetadata: {{name: e}}\nspec: {spec}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_served_at_once() {
    let c = Cluster::start();
    c.feed("apply -f -", DEFINITION).await;
    c.kubectl("wait --for=condition=established crd/crabs.sea.example --timeout=5s").await;
    c.feed("apply -f -", &crab("{mode: swim}")).await;
    assert_eq!(c.kubectl("get crab e -o jsonpath={.spec.legs}").await, "10", "the default");
    assert!(c.feed("apply -f -", &crab("{mode: walk}")).await.contains("configured"));
    let status =
        r#"{"status":{"identity":{"id":39126},"state":"ready","addressing":[{"ipv4":"172.16.0.230"}]}}"#;
    c.run("admin", &["patch", "cr", "e", "--subresource=status", "--type=merge", "-p", status], "").await;
    let table = c.kubectl("get cr").await;
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("NAME   SECURITY IDENTITY   ENDPOINT STATE   IPV4           IPV6"));
    assert_eq!(
        lines.next().map(str::trim_end),
        Some("e      39126               ready            172.16.0.230")
    );
    // The status is not written with the object, nor the object with the status.
    c.run("admin", &["patch", "cr", "e", "--type=merge", "-p", r#"{"status":{"state":"gone"}}"#], "").await;
    assert_eq!(c.kubectl("get cr e -o jsonpath={.status.state}").await, "ready");
    assert_eq!(c.kubectl("get cr e -o jsonpath={.metadata.generation}").await, "2");
    assert!(c.kubectl("api-resources --api-group=sea.example").await.contains("crabs   cr"));
    assert!(c.kubectl("explain crab.spec").await.contains("mode"));
    c.kubectl("delete crd crabs.sea.example").await;
    let e = c.refused("get crabs", "").await;
    assert!(
        e.contains("could not find the requested resource") || e.contains("doesn't have a resource type"),
        "{e}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_kept() {
    let c = Cluster::start();
    c.feed("apply -f -", DEFINITION).await;
    let e = c.refused("create -f -", &crab("{mode: fly, legs: 0, tag: abc}")).await;
    assert!(e.contains(r#"spec.mode: Unsupported value: "fly": supported values: "swim", "walk""#), "{e}");
    assert!(
        e.contains("spec.legs: Invalid value: 0: spec.legs in body should be greater than or equal to 1"),
        "{e}"
    );
    assert!(e.contains(r#"spec.tag: Invalid value: "abc": spec.tag in body should match '^x+$'"#), "{e}");
    let e = c.refused("create -f -", &crab("{legs: many}")).await;
    assert!(e.contains("spec.mode: Required value"), "{e}");
    assert!(e.contains(r#"spec.legs in body must be of type integer: "string""#), "{e}");
    let e = c.refused("create -f -", &crab("{mode: swim, colour: red}")).await;
    assert!(e.contains(r#"unknown field "spec.colour""#), "{e}");
    c.feed("create --validate=false -f -", &crab("{mode: swim, colour: red}")).await;
    assert_eq!(c.kubectl("get cr e -o jsonpath={.spec.colour}").await, "", "pruned");
    let e = c.refused("apply -f -", &DEFINITION.replace("name: crabs.sea", "name: crab.sea")).await;
    assert!(e.contains("must be spec.names.plural+\".\"+spec.group"), "{e}");
}

#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[kube(
    group = "sea.example",
    version = "v1alpha1",
    kind = "Shrimp",
    status = "ShrimpStatus",
    plural = "shrimps"
)]
struct ShrimpSpec {
    size: u32,
    #[serde(default)]
    colour: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
struct ShrimpStatus {
    seen: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_kube_derive_writes() {
    let c = Cluster::start();
    let client = c.client().await;
    let crds: Api<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    > = Api::all(client.clone());
    crds.patch("shrimps.sea.example", &PatchParams::apply("t"), &Patch::Apply(Shrimp::crd()))
        .await
        .expect("the definition");
    let api: Api<Shrimp> = Api::all(client);
    let s = api
        .create(&PostParams::default(), &Shrimp::new("s", ShrimpSpec { size: 3, colour: None }))
        .await
        .expect("create");
    assert_eq!(s.spec.size, 3);
    let status = json!({"apiVersion": "sea.example/v1alpha1", "kind": "Shrimp", "status": {"seen": true}});
    let s = api
        .patch_status("s", &PatchParams::apply("t").force(), &Patch::Apply(&status))
        .await
        .expect("status");
    assert!(s.status.is_some_and(|s| s.seen));
    let again = api
        .patch_status("s", &PatchParams::apply("t").force(), &Patch::Apply(&status))
        .await
        .expect("status");
    assert_eq!(again.resource_version(), api.get("s").await.expect("get").resource_version());
    let mut blind = api.get("s").await.expect("get");
    blind.metadata.resource_version = None;
    assert!(
        matches!(api.replace("s", &PostParams::default(), &blind).await, Err(kube::Error::Api(e)) if e.code == 422)
    );
}
