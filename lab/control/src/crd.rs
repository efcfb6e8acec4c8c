//! Custom resources: from a definition to a served resource, and the rules its objects must keep.

use serde_json::{Value, json};

use crate::core::Core;
use crate::error::FieldError;
use crate::meta::{self, default, flag, list, map, text};
use crate::ops::Place;
use crate::resource::{Kinds, Resource, Scale, Version, shelf};
use crate::schema::Schema;

mod validate;

/// The store's name of the definitions.
pub const SHELF: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// The resources that the definitions in the store make.
pub fn resources(core: &Core) -> Vec<Resource> {
    core.store.list(SHELF, None).0.iter().map(|d| resource(&d.value)).collect()
}

fn resource(d: &Value) -> Resource {
    let at = |p: &str| text(d, p).to_owned();
    let texts = |p: &str| list(d, p).iter().filter_map(|x| x.as_str().map(str::to_owned)).collect::<Vec<_>>();
    let (group, plural) = (at("/spec/group"), at("/spec/names/plural"));
    let mut versions: Vec<Version> =
        list(d, "/spec/versions").iter().filter(|v| flag(v, "/served")).map(version).collect();
    versions.sort_by_key(|v| std::cmp::Reverse(priority(&v.name)));
    Resource {
        kind: at("/spec/names/kind"),
        list_kind: at("/spec/names/listKind"),
        singular: at("/spec/names/singular"),
        short: texts("/spec/names/shortNames"),
        categories: texts("/spec/names/categories"),
        namespaced: text(d, "/spec/scope") == "Namespaced",
        generation: true,
        ephemeral: false,
        custom: true,
        subresources: Vec::new(),
        fields: Vec::new(),
        shelf: shelf(&group, &plural),
        versions,
        group,
        plural,
    }
}

fn version(v: &Value) -> Version {
    let raw = v.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_else(|| json!({"type": "object"}));
    let scale = v.pointer("/subresources/scale").map(|s| {
        let pointer = |p: &str| text(s, p).replace('.', "/");
        let selector = pointer("/labelSelectorPath");
        Scale {
            spec: pointer("/specReplicasPath"),
            status: pointer("/statusReplicasPath"),
            selector: (!selector.is_empty()).then_some(selector),
        }
    });
    Version {
        name: text(v, "/name").into(),
        schema: Kinds::Custom(Box::new(Schema::of_custom(&raw))),
        raw: Some(raw),
        columns: list(v, "/additionalPrinterColumns").to_vec(),
        status: v.pointer("/subresources/status").is_some(),
        scale,
        selectable: list(v, "/selectableFields")
            .iter()
            .map(|f| text(f, "/jsonPath").trim_start_matches('.').to_owned())
            .collect(),
    }
}

/// `v2` before `v1` before `v1beta2` before `v1alpha1` before anything else.
fn priority(name: &str) -> (u8, u32, u32) {
    let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>();
    let Some(rest) = name.strip_prefix('v') else { return (0, 0, 0) };
    let major = digits(rest);
    let tail = &rest[major.len()..];
    let n = |s: &str| s.parse::<u32>().unwrap_or(0);
    match (major.as_str(), tail) {
        ("", _) => (0, 0, 0),
        (m, "") => (3, n(m), 0),
        (m, t) => match (t.strip_prefix("beta"), t.strip_prefix("alpha")) {
            (Some(b), _) => (2, n(m), n(b)),
            (_, Some(a)) => (1, n(m), n(a)),
            _ => (0, 0, 0),
        },
    }
}

/// Defaults and checks a definition, and says it is established.
pub fn admit(old: Option<&Value>, v: &mut Value, errors: &mut Vec<FieldError>) {
    let (group, kind, plural) = (
        text(v, "/spec/group").to_owned(),
        text(v, "/spec/names/kind").to_owned(),
        text(v, "/spec/names/plural").to_owned(),
    );
    for (field, value) in [("spec.group", &group), ("spec.names.kind", &kind), ("spec.names.plural", &plural)]
    {
        if value.is_empty() {
            errors.push(FieldError::required(field, ""));
        }
    }
    let want = format!("{plural}.{group}");
    if meta::name(v) != want {
        let why = format!("must be spec.names.plural+\".\"+spec.group, expected {want:?}");
        errors.push(FieldError::invalid("metadata.name", &meta::name(v).into(), &why));
    }
    let scope = text(v, "/spec/scope");
    if scope.is_empty() {
        errors.push(FieldError::required("spec.scope", ""));
    } else if !matches!(scope, "Cluster" | "Namespaced") {
        errors.push(FieldError::unsupported("spec.scope", &scope.into(), &["Cluster", "Namespaced"]));
    }
    let versions = list(v, "/spec/versions");
    if versions.is_empty() {
        errors.push(FieldError::required("spec.versions", ""));
    } else if versions.iter().filter(|x| flag(x, "/storage")).count() != 1 {
        let shown = json!(versions.iter().map(|x| text(x, "/name")).collect::<Vec<_>>());
        errors.push(FieldError::invalid(
            "spec.versions",
            &shown,
            "must have exactly one version marked as storage version",
        ));
    }
    for (i, x) in versions.iter().enumerate() {
        let at = format!("spec.versions[{i}].schema.openAPIV3Schema");
        match x.pointer("/schema/openAPIV3Schema") {
            None => errors.push(FieldError::required(at, "schemas are required")),
            Some(s) => structural(&at, s, true, errors),
        }
        for (k, c) in list(x, "/additionalPrinterColumns").iter().enumerate() {
            let may = ["boolean", "date", "integer", "number", "string"];
            if !may.contains(&text(c, "/type")) {
                let field = format!("spec.versions[{i}].additionalPrinterColumns[{k}].type");
                errors.push(FieldError::unsupported(field, &text(c, "/type").into(), &may));
            }
        }
    }
    if let Some(old) = old
        && old.pointer("/spec/scope") != v.pointer("/spec/scope")
    {
        errors.push(FieldError::invalid("spec.scope", &v["spec"]["scope"].clone(), "field is immutable"));
    }
    let stored: Vec<String> = list(v, "/spec/versions")
        .iter()
        .filter(|x| flag(x, "/storage"))
        .map(|x| text(x, "/name").to_owned())
        .collect();
    let names = meta::dig(v, &["spec", "names"]);
    default(names, "singular", kind.to_lowercase());
    default(names, "listKind", format!("{kind}List"));
    let names = Value::Object(names.clone());
    default(map(v, "spec"), "conversion", json!({"strategy": "None"}));
    let status = map(v, "status");
    status.insert("acceptedNames".into(), names);
    default(status, "storedVersions", json!(stored));
    crate::ops::set_condition(v, "NamesAccepted", "True", "NoConflicts", "no conflicts found");
    crate::ops::set_condition(
        v,
        "Established",
        "True",
        "InitialNamesAccepted",
        "the initial names have been accepted",
    );
}

/// A schema must say the type of everything it describes.
fn structural(at: &str, s: &Value, root: bool, errors: &mut Vec<FieldError>) {
    let kind = text(s, "/type");
    let free = flag(s, "/x-kubernetes-int-or-string") || flag(s, "/x-kubernetes-preserve-unknown-fields");
    if kind.is_empty() && !free {
        errors.push(FieldError::required(
            format!("{at}.type"),
            "must not be empty for specified object fields",
        ));
    }
    if root && kind != "object" && !kind.is_empty() {
        errors.push(FieldError::invalid(format!("{at}.type"), &kind.into(), "must be object at the root"));
    }
    for (k, x) in s.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if !(root && matches!(k.as_str(), "apiVersion" | "kind" | "metadata")) {
            structural(&format!("{at}.properties[{k}]"), x, false, errors);
        }
    }
    if let Some(x) = s.get("items") {
        structural(&format!("{at}.items"), x, false, errors);
    }
    if let Some(x) = s.get("additionalProperties").filter(|x| x.is_object()) {
        structural(&format!("{at}.additionalProperties"), x, false, errors);
    }
}

/// Defaults and checks a custom object.
pub fn admit_object(p: &Place<'_>, _old: Option<&Value>, v: &mut Value, errors: &mut Vec<FieldError>) {
    let Some(raw) = p.resource.version(p.version).and_then(|x| x.raw.as_ref()) else { return };
    validate::defaults(v, raw);
    let mut shown = v.clone();
    if let Some(m) = shown.as_object_mut() {
        for k in ["metadata", "apiVersion", "kind"] {
            m.shift_remove(k);
        }
    }
    let mut raw = raw.clone();
    if let Some(r) = raw.get_mut("required").and_then(Value::as_array_mut) {
        r.retain(|f| !matches!(f.as_str(), Some("metadata" | "apiVersion" | "kind")));
    }
    validate::check("", &shown, &raw, errors);
}
