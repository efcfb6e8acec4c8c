//! `lab apply`: objects from YAML, given to the API server by server-side apply.

use anyhow::{Context, bail};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde_json::Value;

/// Owner of the fields that are applied from here.
const MANAGER: &str = "pleopod-lab";

/// Splits a YAML stream into its documents, lists into their items; empty documents vanish.
///
/// # Errors
/// When the text is not YAML.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("not YAML")?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .flat_map(|document| match document["items"].as_array() {
            Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                items.clone()
            }
            _ => vec![document],
        })
        .collect())
}

/// Applies one object; `namespace` is for objects that name none. Gives the line to print.
///
/// # Errors
/// When the object has no kind or name, the server doesn't know its kind, or refuses it.
pub async fn apply(client: &Client, object: &Value, namespace: Option<&str>) -> anyhow::Result<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let Some(kind) = text("/kind") else { bail!("an object has no kind") };
    let Some(name) = text("/metadata/name") else { bail!("{kind}: metadata.name is missing") };
    let version = text("/apiVersion").with_context(|| format!("{kind} {name}: apiVersion is missing"))?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let found = pinned_kind(client, &GroupVersionKind::gvk(group, version, kind)).await;
    let (resource, capabilities) = found
        .with_context(|| format!("{kind} {name}: the server has no kind {kind} in {group}/{version}"))?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = text("/metadata/namespace").or(namespace).unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    let shown = if group.is_empty() {
        format!("{}/{name}", kind.to_lowercase())
    } else {
        format!("{}.{group}/{name}", kind.to_lowercase())
    };
    let before = api.get_opt(name).await.with_context(|| shown.clone())?;
    let after = api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await;
    let after = after.with_context(|| shown.clone())?;
    let verdict = match before {
        None => "created",
        Some(before) if before.metadata.resource_version == after.metadata.resource_version => "unchanged",
        Some(_) => "configured",
    };
    Ok(format!("{shown} {verdict}"))
}

#[cfg(test)]
mod tests {
    use super::documents;

    #[test]
    fn a_stream_becomes_objects() {
        let found =
            documents("---\nkind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n").expect("yaml");
        let kinds: Vec<_> = found.iter().map(|one| one["kind"].as_str().unwrap_or("").to_owned()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert!(documents("a: [").is_err());
    }
}
