//! OpenAPI: enough for kubectl to validate on the server, compute patches and explain fields.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::resource::{Document, Kinds, Registry, Resource};
use crate::schema::{self, ListKind, Schema, Shape};

/// Every document by its path, as `api/v1`.
pub fn documents(reg: &Registry) -> &HashMap<String, Document> {
    reg.documents.get_or_init(|| {
        reg.group_versions()
            .into_iter()
            .filter_map(|(g, v)| {
                let p = if g.is_empty() { format!("api/{v}") } else { format!("apis/{g}/{v}") };
                let text = document(reg, &g, &v)?.to_string();
                let mut h = DefaultHasher::new();
                text.hash(&mut h);
                let hash = format!("{:016X}", h.finish());
                Some((p, Document { text: Bytes::from(text), hash }))
            })
            .collect()
    })
}

/// `/openapi/v3`: where the document of each group version stands. The hash lets clients keep it.
pub fn index(reg: &Registry) -> Value {
    let paths: Map<String, Value> = documents(reg)
        .iter()
        .map(|(p, d)| {
            let url = format!("/openapi/v3/{p}?hash={}", d.hash);
            (p.clone(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths })
}

/// The document of one group version.
fn document(reg: &Registry, group: &str, version: &str) -> Option<Value> {
    let (mut paths, mut schemas, mut todo) = (Map::new(), Map::new(), BTreeSet::new());
    for r in reg.all().iter().filter(|r| r.group == group && r.version(version).is_some()) {
        path(r, version, &mut paths);
        component(r, version, &mut schemas, &mut todo);
    }
    if paths.is_empty() {
        return None;
    }
    while let Some(name) = todo.pop_first() {
        let full = full_name(name);
        if !schemas.contains_key(&full)
            && let Some(s) = schema::named(name)
        {
            schemas.insert(full, show(s, &mut todo));
        }
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// `/openapi/v2`, which nobody needs while v3 is there: a document that says nothing.
pub fn v2() -> Value {
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.32.0"}, "paths": {}, "definitions": {}})
}

fn gvk(r: &Resource, version: &str) -> Value {
    json!({"group": r.group, "version": version, "kind": r.kind})
}

fn path(r: &Resource, version: &str, paths: &mut Map<String, Value>) {
    let root =
        if r.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{version}", r.group) };
    let root = if r.namespaced { format!("{root}/namespaces/{{namespace}}") } else { root };
    let query = |names: &[&str]| -> Vec<Value> {
        names
            .iter()
            .map(|n| json!({"name": n, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
            .collect()
    };
    let body = |kinds: &[&str]| {
        let content: Map<String, Value> =
            kinds.iter().map(|k| ((*k).to_owned(), json!({"schema": {"type": "object"}}))).collect();
        json!({ "content": content })
    };
    let op = |action: &str, params: Value, request: Value| {
        let mut o = json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(r, version),
            "parameters": params, "responses": {"200": {"description": "OK"}}});
        if !request.is_null() {
            o["requestBody"] = request;
        }
        o
    };
    let write = ["dryRun", "fieldManager", "fieldValidation", "pretty"];
    let post = op("post", query(&write).into(), body(&["*/*"]));
    let get = op(
        "list",
        query(&["labelSelector", "fieldSelector", "limit", "continue", "watch"]).into(),
        Value::Null,
    );
    if r.ephemeral {
        paths.insert(format!("{root}/{}", r.plural), json!({ "post": post }));
        return;
    }
    paths.insert(format!("{root}/{}", r.plural), json!({"get": get, "post": post}));
    let mut kinds =
        vec!["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
    if !r.custom {
        kinds.push("application/strategic-merge-patch+json");
    }
    let patch = ["dryRun", "fieldManager", "fieldValidation", "force", "pretty"];
    paths.insert(
        format!("{root}/{}/{{name}}", r.plural),
        json!({
            "get": op("get", query(&["pretty"]).into(), Value::Null),
            "put": op("put", query(&write).into(), body(&["*/*"])),
            "patch": op("patch", query(&patch).into(), body(&kinds)),
            "delete": op("delete", query(&["dryRun", "gracePeriodSeconds", "propagationPolicy"]).into(), Value::Null),
        }),
    );
}

fn component(
    r: &Resource,
    version: &str,
    schemas: &mut Map<String, Value>,
    todo: &mut BTreeSet<&'static str>,
) {
    let Some(v) = r.version(version) else { return };
    match &v.schema {
        Kinds::BuiltIn(name) => {
            if let Some(s) = schema::named(name) {
                let mut doc = show(s, todo);
                doc["x-kubernetes-group-version-kind"] = json!([gvk(r, version)]);
                schemas.insert(full_name(name), doc);
            }
        }
        Kinds::Custom(_) => {
            let mut doc = v.raw.clone().unwrap_or_else(|| json!({"type": "object"}));
            doc["x-kubernetes-group-version-kind"] = json!([gvk(r, version)]);
            let p = crate::meta::map(&mut doc, "properties");
            p.insert("apiVersion".into(), json!({"type": "string"}));
            p.insert("kind".into(), json!({"type": "string"}));
            p.insert("metadata".into(), json!({"allOf": [reference("meta.v1.ObjectMeta")]}));
            todo.insert("meta.v1.ObjectMeta");
            let back: Vec<&str> = r.group.rsplit('.').collect();
            schemas.insert(format!("{}.{version}.{}", back.join("."), r.kind), doc);
        }
    }
}

fn full_name(short: &str) -> String {
    match short.split_once('.') {
        Some(("meta", rest)) => format!("io.k8s.apimachinery.pkg.apis.meta.{rest}"),
        Some(("apiextensions", rest)) => {
            format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{rest}")
        }
        _ => format!("io.k8s.api.{short}"),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", full_name(name))})
}

fn show(s: &Schema, todo: &mut BTreeSet<&'static str>) -> Value {
    let mut out = match &s.shape {
        Shape::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Number => json!({"type": "number", "format": "double"}),
        Shape::Text => json!({"type": "string"}),
        Shape::IntOrText => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Shape::Time => json!({"type": "string", "format": "date-time"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Map(item) => json!({"type": "object", "additionalProperties": show(item, todo)}),
        Shape::Named(n) => {
            todo.insert(n);
            json!({"allOf": [reference(n)]})
        }
        Shape::List(kind, item) => {
            let mut l = json!({"type": "array", "items": show(item, todo)});
            match kind {
                ListKind::Atomic => l["x-kubernetes-list-type"] = "atomic".into(),
                ListKind::Set => {
                    l["x-kubernetes-list-type"] = "set".into();
                    l["x-kubernetes-patch-strategy"] = "merge".into();
                }
                ListKind::Keyed(keys) => {
                    l["x-kubernetes-list-type"] = "map".into();
                    l["x-kubernetes-list-map-keys"] = json!(keys);
                    l["x-kubernetes-patch-strategy"] = "merge".into();
                    l["x-kubernetes-patch-merge-key"] = keys.first().cloned().unwrap_or_default().into();
                }
            }
            l
        }
        Shape::Record(r) => {
            let p: Map<String, Value> = r.fields.iter().map(|(k, v)| (k.clone(), show(v, todo))).collect();
            let mut o = json!({"type": "object", "properties": p});
            if !r.required.is_empty() {
                o["required"] = json!(r.required);
            }
            o
        }
    };
    if s.atomic {
        out["x-kubernetes-map-type"] = "atomic".into();
    }
    out
}
