//! Which resources the server serves: the built-in table, and those that definitions add.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

use crate::schema::{self, Schema};
use crate::store::Shelf;

mod builtin;

/// One version of a resource.
#[derive(Debug)]
pub struct Version {
    /// As `v1`.
    pub name: String,
    /// The field types.
    pub schema: Kinds,
    /// For custom resources: the `openAPIV3Schema`, as written.
    pub raw: Option<Value>,
    /// For custom resources: `additionalPrinterColumns`.
    pub columns: Vec<Value>,
    /// Has `/status`.
    pub status: bool,
    /// Has `/scale`.
    pub scale: Option<Scale>,
    /// For custom resources: fields it can be selected by.
    pub selectable: Vec<String>,
}

/// Where the field types of a version come from.
#[derive(Debug)]
pub enum Kinds {
    /// The table of built-in types, under this name.
    BuiltIn(&'static str),
    /// A definition.
    Custom(Box<Schema>),
}

/// JSON pointers of the fields that `/scale` speaks of.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Wanted replicas.
    pub spec: String,
    /// Replicas there are.
    pub status: String,
    /// Label selector, as text or as `LabelSelector`.
    pub selector: Option<String>,
}

/// A kind of object the server keeps.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// Served versions, preferred first.
    pub versions: Vec<Version>,
    /// As `Pod`.
    pub kind: String,
    /// As `PodList`.
    pub list_kind: String,
    /// As `pods`.
    pub plural: String,
    /// As `pod`.
    pub singular: String,
    /// As `po`.
    pub short: Vec<String>,
    /// As `all`.
    pub categories: Vec<String>,
    /// Lives in namespaces.
    pub namespaced: bool,
    /// `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Only `create`, and nothing is kept: reviews.
    pub ephemeral: bool,
    /// Comes from a definition.
    pub custom: bool,
    /// Further subresources, by name, with the kind they take.
    pub subresources: Vec<(&'static str, &'static str)>,
    /// Fields it can be selected by, beside name and namespace.
    pub fields: Vec<String>,
    /// Where its objects stand in the store.
    pub shelf: Shelf,
}

/// Every resource now served.
#[derive(Debug, Default)]
pub struct Registry {
    all: Vec<Arc<Resource>>,
    by_plural: HashMap<(String, String), usize>,
    /// OpenAPI documents by path, made on first use.
    pub(crate) documents: OnceLock<HashMap<String, Document>>,
}

/// An OpenAPI document and a hash of its text.
#[derive(Debug)]
pub struct Document {
    /// The text.
    pub text: Bytes,
    /// Changes when the text does.
    pub hash: String,
}

// === impl Version ===

impl Version {
    /// The field types of the kind.
    pub fn schema(&self) -> &Schema {
        match &self.schema {
            Kinds::BuiltIn(name) => schema::named(name).unwrap_or(&schema::ANY),
            Kinds::Custom(s) => s,
        }
    }
}

// === impl Resource ===

impl Resource {
    /// A served version by name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|v| v.name == name)
    }

    /// The preferred version.
    pub fn preferred(&self) -> &str {
        self.versions.first().map_or("v1", |v| v.name.as_str())
    }

    /// `apiVersion` of an object of this resource.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The verbs discovery tells of.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.ephemeral {
            &["create"]
        } else {
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        }
    }

    /// Whether a created object loses its `status`.
    pub fn status(&self, version: &str) -> bool {
        self.version(version).is_some_and(|v| v.status)
    }
}

/// The store's name of a resource.
pub fn shelf(group: &str, plural: &str) -> Shelf {
    if group.is_empty() { plural.into() } else { format!("{plural}.{group}").into() }
}

// === impl Registry ===

impl Registry {
    /// The built-in resources.
    pub fn built_in() -> Self {
        let mut r = Self::default();
        for res in builtin::all() {
            r.add(res);
        }
        r
    }

    /// The built-in resources and these.
    pub fn with(custom: Vec<Resource>) -> Self {
        let mut r = Self::built_in();
        for res in custom {
            if !r.by_plural.contains_key(&(res.group.clone(), res.plural.clone())) {
                r.add(res);
            }
        }
        r
    }

    fn add(&mut self, res: Resource) {
        self.by_plural.insert((res.group.clone(), res.plural.clone()), self.all.len());
        self.all.push(Arc::new(res));
    }

    /// Every resource.
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.all
    }

    /// By group and plural.
    pub fn get(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        self.by_plural.get(&(group.to_owned(), plural.to_owned())).map(|i| self.all[*i].clone())
    }

    /// By group and kind.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<Resource>> {
        self.all.iter().find(|r| r.group == group && r.kind == kind).cloned()
    }

    /// Group versions, each once, in the order they were added.
    pub fn group_versions(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = Vec::new();
        for r in &self.all {
            for v in &r.versions {
                let gv = (r.group.clone(), v.name.clone());
                if !out.contains(&gv) {
                    out.push(gv);
                }
            }
        }
        out
    }
}
