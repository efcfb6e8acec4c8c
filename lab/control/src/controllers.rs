//! What keeps a cluster going without anyone asking.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::Core;
use crate::ops::{Place, Write};

/// Makes what every cluster has from the first moment.
pub fn bootstrap(core: &Arc<Core>) {
    for ns in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        make(core, "", "namespaces", "", json!({"metadata": {"name": ns}}));
    }
}

/// Starts the controllers.
pub fn start(_core: &Arc<Core>) {}

/// Creates an object; one that is already there is left alone.
pub fn make(core: &Core, group: &str, plural: &str, ns: &str, mut v: Value) {
    let Some(r) = core.resource(group, plural) else { return };
    let version = r.preferred().to_owned();
    v["apiVersion"] = r.api_version(&version).into();
    v["kind"] = r.kind.clone().into();
    if !ns.is_empty() {
        crate::meta::map(&mut v, "metadata").insert("namespace".into(), ns.into());
    }
    let name = crate::meta::name(&v).to_owned();
    let p = Place { resource: &r, version: &version, namespace: ns, name: &name, sub: "" };
    if let Err(e) = core.create(&p, v, &Write::by("kube-controller-manager"))
        && e.reason != "AlreadyExists"
    {
        tracing::warn!(error = %e, plural, ns, name, "creating what the cluster needs");
    }
}
