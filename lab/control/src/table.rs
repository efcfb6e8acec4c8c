//! What `kubectl get` prints: the columns of each kind and the cells of each object.
//!
//! The server makes the cells, as a real one does, so that stock kubectl shows what its users know.

use serde_json::{Value, json};

use crate::meta;
use crate::resource::Resource;

mod age;
mod cluster;
mod custom;
mod network;
mod pod;
mod work;

pub use age::age;
pub use work::selector;

#[cfg(test)]
mod tests;

/// A column: its heading, its JSON type, and whether only `-o wide` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Heading, as `Cluster-IP`.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// 0 always shown, more: only wide.
    pub priority: i64,
    /// What the column says.
    pub description: String,
}

/// How much of the object goes along with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    /// Nothing.
    Nothing,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

// === impl Column ===

impl Column {
    fn new(name: &str, kind: &str, priority: i64) -> Self {
        Self { name: name.into(), kind: kind.into(), priority, description: String::new() }
    }

    fn to_json(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        json!({"name": self.name, "type": self.kind, "format": format, "description": self.description,
            "priority": self.priority})
    }
}

/// Headings written as `Name Ready:s Age`; `:i` integer, a leading `+` only wide, `_` a space.
fn headings(text: &str) -> Vec<Column> {
    text.split_whitespace()
        .map(|h| {
            let (h, wide) = h.strip_prefix('+').map_or((h, 0), |h| (h, 1));
            let (h, kind) = h.strip_suffix(":i").map_or((h, "string"), |h| (h, "integer"));
            Column::new(&h.replace('_', " "), kind, wide)
        })
        .collect()
}

/// The columns of a resource.
pub fn columns(r: &Resource, version: &str) -> Vec<Column> {
    if r.custom {
        return custom::columns(r, version);
    }
    headings(match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") => pod::COLUMNS,
        ("", "nodes") => cluster::NODE,
        ("", "namespaces") => "Name Status Age",
        ("", "services") => network::SERVICE,
        ("", "endpoints") => "Name Endpoints Age",
        ("", "configmaps") => "Name Data:i Age",
        ("", "secrets") => "Name Type Data:i Age",
        ("", "serviceaccounts") => "Name Secrets:i Age",
        (_, "events") => cluster::EVENT,
        ("discovery.k8s.io", "endpointslices") => "Name AddressType Ports Endpoints Age",
        ("apps", "deployments") => work::DEPLOYMENT,
        ("apps", "replicasets") | ("", "replicationcontrollers") => work::REPLICA_SET,
        ("apps", "daemonsets") => work::DAEMON_SET,
        ("apps", "statefulsets") => work::STATEFUL_SET,
        ("apps", "controllerrevisions") => "Name Controller Revision:i Age",
        ("coordination.k8s.io", "leases") => "Name Holder Age",
        ("apiextensions.k8s.io", _) => "Name Created_At",
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => "Name Created_At",
        ("rbac.authorization.k8s.io", _) => "Name Role Age +Users +Groups +ServiceAccounts",
        ("networking.k8s.io", "networkpolicies") => "Name Pod-Selector Age",
        ("networking.k8s.io", "ingresses") => "Name Class Hosts Address Ports Age",
        ("networking.k8s.io", "ingressclasses") => "Name Controller Parameters Age",
        ("policy", "poddisruptionbudgets") => "Name Min_Available Max_Unavailable Allowed_Disruptions:i Age",
        _ => "Name Age",
    })
}

/// The cells of one object, one for each column.
pub fn cells(r: &Resource, version: &str, v: &Value) -> Vec<Value> {
    let name = || Value::from(meta::name(v));
    let old = || Value::from(age(meta::text(v, "/metadata/creationTimestamp")));
    let size = |p: &str| v.pointer(p).and_then(Value::as_object).map_or(0, serde_json::Map::len);
    if r.custom {
        return custom::cells(r, version, v);
    }
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "pods") => pod::cells(v),
        ("", "nodes") => cluster::node(v),
        ("", "namespaces") => vec![name(), meta::text(v, "/status/phase").into(), old()],
        ("", "services") => network::service(v),
        ("", "endpoints") => vec![name(), network::endpoints(v).into(), old()],
        ("", "configmaps") => vec![name(), (size("/data") + size("/binaryData")).into(), old()],
        ("", "secrets") => vec![name(), meta::text(v, "/type").into(), size("/data").into(), old()],
        ("", "serviceaccounts") => vec![name(), meta::list(v, "/secrets").len().into(), old()],
        (_, "events") => cluster::event(v),
        ("discovery.k8s.io", "endpointslices") => network::slice(v),
        ("apps", "deployments") => work::deployment(v),
        ("apps", "replicasets") | ("", "replicationcontrollers") => work::replica_set(v),
        ("apps", "daemonsets") => work::daemon_set(v),
        ("apps", "statefulsets") => work::stateful_set(v),
        ("apps", "controllerrevisions") => {
            let owner = meta::controller(v).map_or_else(
                || "<none>".to_owned(),
                |o| format!("{}.apps/{}", meta::text(o, "/kind").to_lowercase(), meta::text(o, "/name")),
            );
            vec![name(), owner.into(), meta::int(v, "/revision").unwrap_or(0).into(), old()]
        }
        ("coordination.k8s.io", "leases") => {
            vec![name(), meta::text(v, "/spec/holderIdentity").into(), old()]
        }
        ("apiextensions.k8s.io", _) => vec![name(), meta::text(v, "/metadata/creationTimestamp").into()],
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => {
            vec![name(), meta::text(v, "/metadata/creationTimestamp").into()]
        }
        ("rbac.authorization.k8s.io", _) => cluster::binding(v),
        ("networking.k8s.io", "networkpolicies") => {
            vec![name(), work::selector(v.pointer("/spec/podSelector")).into(), old()]
        }
        ("networking.k8s.io", "ingresses") => network::ingress(v),
        ("networking.k8s.io", "ingressclasses") => {
            let parameters = match v.pointer("/spec/parameters") {
                Some(p) => format!("{}/{}", meta::text(p, "/kind"), meta::text(p, "/name")),
                None => "<none>".into(),
            };
            vec![name(), meta::text(v, "/spec/controller").into(), parameters.into(), old()]
        }
        ("policy", "poddisruptionbudgets") => {
            let or = |p: &str| {
                v.pointer(p).map_or_else(
                    || "N/A".to_owned(),
                    |x| x.as_str().map_or_else(|| x.to_string(), str::to_owned),
                )
            };
            let free = meta::int(v, "/status/disruptionsAllowed").unwrap_or(0);
            vec![
                name(),
                or("/spec/minAvailable").into(),
                or("/spec/maxUnavailable").into(),
                free.into(),
                old(),
            ]
        }
        _ => vec![name(), old()],
    }
}

/// The whole table for some objects; `header` asks for the column definitions.
pub fn table<'a>(
    r: &Resource,
    version: &str,
    objects: impl Iterator<Item = &'a Value>,
    include: Include,
    header: bool,
    list_meta: Value,
) -> Value {
    let definitions: Vec<Value> =
        if header { columns(r, version).iter().map(Column::to_json).collect() } else { Vec::new() };
    let rows: Vec<Value> = objects
        .map(|o| {
            let mut row = json!({"cells": cells(r, version, o)});
            match include {
                Include::Nothing => {}
                Include::Metadata => row["object"] = partial(o),
                Include::Object => row["object"] = o.clone(),
            }
            row
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": definitions, "rows": rows})
}

/// Only the metadata of an object.
pub fn partial(v: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": v["metadata"]})
}
