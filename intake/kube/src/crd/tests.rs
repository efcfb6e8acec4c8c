use serde_json::Value;

use super::*;

/// The manifests are kept by hand; what they install must be what this agent reads and writes.
#[test]
fn the_manifests_are_the_definitions() {
    let files = [
        include_str!("../../../../deploy/crds/pleopodendpoints.yaml"),
        include_str!("../../../../deploy/crds/pleopodidentities.yaml"),
    ];
    for (text, crd) in files.iter().zip(definitions()) {
        let manifest: Value = serde_saphyr::from_str(text).expect("YAML");
        let expected = serde_json::to_value(&crd).expect("JSON");
        assert_eq!(
            serde_json::to_string_pretty(&manifest).expect("text"),
            serde_json::to_string_pretty(&expected).expect("text"),
            "deploy/crds differs from {}; write it from `cargo run -p pleopod-intake-kube --example crds`",
            crd.name_any()
        );
    }
}

#[test]
fn an_endpoint_without_status_can_be_read() {
    let text =
        r#"{"apiVersion":"pleopod.io/v1alpha1","kind":"PleopodEndpoint","metadata":{"name":"a"},"spec":{}}"#;
    let endpoint: PleopodEndpoint = serde_json::from_str(text).expect("reads");
    assert_eq!(endpoint.spec.fields.node, "");
    assert!(endpoint.status.is_none());
}
