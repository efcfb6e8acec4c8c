//! Creating, changing and deleting objects: the one way in, for clients and for controllers.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::admission;
use crate::core::Core;
use crate::error::{ApiError, FieldError, Result};
use crate::form;
use crate::meta::{self, dig, map, text};
use crate::patch::managed;
use crate::random;
use crate::resource::Resource;
use crate::store::{Stored, Tx};

mod decode;
mod delete;
pub use decode::decode;
pub use delete::{DeleteOptions, Deleted, Propagation};

/// How strictly unknown fields are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// Dropped without a word.
    Ignore,
    /// Dropped with a warning.
    #[default]
    Warn,
    /// Refused.
    Strict,
}

/// Who writes, and how.
#[derive(Debug, Clone, Default)]
pub struct Write {
    /// The field manager.
    pub manager: String,
    /// Do everything but keep it.
    pub dry_run: bool,
    /// Unknown fields.
    pub strictness: Strictness,
    /// `Apply` instead of `Update` in the managed fields; `true` inside: take over conflicting fields.
    pub apply: Option<bool>,
}

/// Which object of which resource, and which part of it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The resource.
    pub resource: &'a Resource,
    /// The version spoken.
    pub version: &'a str,
    /// Empty for cluster-scoped.
    pub namespace: &'a str,
    /// The object; empty with `generateName`.
    pub name: &'a str,
    /// As `status`; empty for the object itself.
    pub sub: &'a str,
}

/// The result of a write and what there is to warn of.
pub struct Written {
    /// The object as it now is.
    pub object: Arc<Stored>,
    /// It was not there before.
    pub created: bool,
    /// Sentences for the `Warning` header.
    pub warnings: Vec<String>,
}

// === impl Write ===

impl Write {
    /// A write of one of the controllers.
    pub fn by(manager: &str) -> Self {
        Self { manager: manager.into(), ..Self::default() }
    }
}

// === impl Place ===

impl Place<'_> {
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.group, &self.resource.plural, self.name)
    }

    fn stale(&self) -> ApiError {
        ApiError::stale(&self.resource.group, &self.resource.plural, self.name)
    }
}

impl Core {
    /// Follows up a write: definitions change what is served.
    fn after(&self, r: &Resource) {
        if &*r.shelf == crate::crd::SHELF {
            self.set_custom(crate::crd::resources(self));
        }
    }

    /// Creates an object that `decode` has seen.
    pub fn create(&self, p: &Place<'_>, v: Value, w: &Write) -> Result<Written> {
        let made = self.insert(p, v, w)?;
        self.after(p.resource);
        Ok(made)
    }

    fn insert(&self, p: &Place<'_>, mut v: Value, w: &Write) -> Result<Written> {
        let r = p.resource;
        if !meta::rv(&v).is_empty() && meta::rv(&v) != "0" {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let base = text(&v, "/metadata/generateName").to_owned();
        if meta::name(&v).is_empty() && base.is_empty() {
            let e = FieldError::required("metadata.name", "name or generateName is required");
            return Err(ApiError::invalid(&r.group, &r.kind, "", &[e]));
        }
        let m = map(&mut v, "metadata");
        if w.apply.is_none() {
            m.shift_remove("managedFields");
        }
        for gone in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
            m.shift_remove(gone);
        }
        m.insert("uid".into(), random::uuid().into());
        m.insert("creationTimestamp".into(), meta::now().into());
        if r.generation || r.custom {
            m.insert("generation".into(), 1.into());
        }
        if r.status(p.version)
            && r.plural != "nodes"
            && let Value::Object(o) = &mut v
        {
            o.shift_remove("status");
        }
        self.store.write(|tx| {
            if r.namespaced {
                self.check_namespace(tx, p)?;
            }
            if meta::name(&v).is_empty() {
                let name = (0..8)
                    .map(|_| format!("{}{}", base.get(..58).unwrap_or(&base), random::suffix(5)))
                    .find(|n| tx.get(&r.shelf, p.namespace, n).is_none());
                map(&mut v, "metadata").insert("name".into(), name.unwrap_or_default().into());
            } else if tx.get(&r.shelf, p.namespace, meta::name(&v)).is_some() {
                return Err(ApiError::already_exists(&r.group, &r.plural, meta::name(&v)));
            }
            let warnings = admission::admit(self, tx, p, None, &mut v, w.dry_run)?;
            managed::track(&mut v, None, p, w);
            let object = if w.dry_run { Stored::new(0, v) } else { tx.put(&r.shelf, v) };
            Ok(Written { object, created: true, warnings })
        })
    }

    fn check_namespace(&self, tx: &Tx<'_>, p: &Place<'_>) -> Result<()> {
        match tx.get("namespaces", "", p.namespace) {
            None => Err(ApiError::not_found("", "namespaces", p.namespace)),
            Some(ns) if meta::is_deleting(&ns.value) && &*p.resource.shelf != "events" => {
                let why = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    p.namespace
                );
                Err(ApiError::forbidden(&p.resource.group, &p.resource.plural, p.name, &why))
            }
            Some(_) => Ok(()),
        }
    }

    /// Changes an object: `f` makes the new one from the old one (or from nothing, if it may be created).
    pub fn mutate(
        &self,
        p: &Place<'_>,
        w: &Write,
        f: impl FnOnce(Option<&Value>, &mut Vec<String>) -> Result<Value>,
    ) -> Result<Written> {
        let r = p.resource;
        let mut warnings = Vec::new();
        let outcome = self.store.write(|tx| {
            let Some(old) = tx.get(&r.shelf, p.namespace, p.name) else {
                return f(None, &mut warnings).map(Err);
            };
            let shown = form::outgoing(&old.value, r, p.version);
            let sent = f(Some(&shown), &mut warnings)?;
            self.replace(tx, p, &old, sent, w, &mut warnings).map(|object| Ok((object, false)))
        })?;
        match outcome {
            Ok((object, created)) => {
                self.after(r);
                Ok(Written { object, created, warnings })
            }
            Err(new) => {
                let mut made = self.create(p, new, w)?;
                made.warnings.extend(warnings);
                Ok(made)
            }
        }
    }

    fn replace(
        &self,
        tx: &mut Tx<'_>,
        p: &Place<'_>,
        old: &Arc<Stored>,
        mut new: Value,
        w: &Write,
        warnings: &mut Vec<String>,
    ) -> Result<Arc<Stored>> {
        let r = p.resource;
        let sent = meta::rv(&new);
        if !sent.is_empty() && sent != "0" && sent != old.rv.to_string() {
            return Err(p.stale());
        }
        let uid = meta::uid(&new);
        if !uid.is_empty() && uid != meta::uid(&old.value) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta::uid(&old.value)
            );
            return Err(ApiError::conflict(&r.group, &r.plural, p.name, &why));
        }
        if meta::name(&new) != p.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                meta::name(&new),
                p.name
            )));
        }
        keep_parts(p, &old.value, &mut new);
        let admitted = admission::admit(self, tx, p, Some(&old.value), &mut new, w.dry_run)?;
        warnings.extend(admitted);
        if (r.generation || r.custom) && p.sub.is_empty() {
            let g = meta::int(&old.value, "/metadata/generation").unwrap_or(1);
            let same = same_but_meta(&old.value, &new, r.status(p.version));
            map(&mut new, "metadata").insert("generation".into(), (if same { g } else { g + 1 }).into());
        }
        managed::track(&mut new, Some(&old.value), p, w);
        meta::set_rv(&mut new, old.rv);
        if managed::same(&old.value, &new) {
            return Ok(old.clone());
        }
        if w.dry_run {
            return Ok(Stored::new(old.rv, new));
        }
        if meta::is_deleting(&new) && meta::finalizers(&new).is_empty() && ends(r, &new) {
            let mut last = new;
            meta::set_rv(&mut last, old.rv);
            tx.put(&r.shelf, last);
            let gone = tx.remove(&r.shelf, p.namespace, p.name).ok_or_else(|| p.not_found())?;
            self.allocations().release(r, &gone.value);
            return Ok(gone);
        }
        Ok(tx.put(&r.shelf, new))
    }

    /// Changes an object that a controller looks after. `f` says whether there is anything to write.
    pub fn adjust(
        &self,
        p: &Place<'_>,
        manager: &str,
        f: impl FnOnce(&mut Value) -> bool,
    ) -> Result<Option<Arc<Stored>>> {
        let r = p.resource;
        self.store.write(|tx| {
            let old = tx.get(&r.shelf, p.namespace, p.name).ok_or_else(|| p.not_found())?;
            let mut new = old.value.clone();
            if !f(&mut new) {
                return Ok(None);
            }
            self.replace(tx, p, &old, new, &Write::by(manager), &mut Vec::new()).map(Some)
        })
    }
}

/// What a write to this place may not touch comes from the old object.
fn keep_parts(p: &Place<'_>, old: &Value, new: &mut Value) {
    let status = p.resource.status(p.version);
    match p.sub {
        "status" => {
            let mut kept = old.clone();
            match new.get("status") {
                Some(s) => kept["status"] = s.clone(),
                None => {
                    if let Value::Object(o) = &mut kept {
                        o.shift_remove("status");
                    }
                }
            }
            if !p.resource.custom {
                for part in ["labels", "annotations"] {
                    let m = map(&mut kept, "metadata");
                    match new.pointer(&format!("/metadata/{part}")) {
                        Some(x) => m.insert(part.into(), x.clone()),
                        None => m.shift_remove(part),
                    };
                }
            }
            if let Some(m) = new.pointer("/metadata/managedFields") {
                map(&mut kept, "metadata").insert("managedFields".into(), m.clone());
            }
            *new = kept;
        }
        // A binding writes the node and the condition that says so.
        "binding" => {}
        _ if status => match old.get("status") {
            Some(s) => new["status"] = s.clone(),
            None => {
                if let Value::Object(o) = new {
                    o.shift_remove("status");
                }
            }
        },
        _ => {}
    }
    let m = map(new, "metadata");
    let fixed = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "namespace",
    ];
    for key in fixed {
        match old.pointer(&format!("/metadata/{key}")) {
            Some(x) => m.insert(key.into(), x.clone()),
            None => m.shift_remove(key),
        };
    }
    if !m.contains_key("managedFields")
        && let Some(x) = old.pointer("/metadata/managedFields")
    {
        m.insert("managedFields".into(), x.clone());
    }
}

fn same_but_meta(a: &Value, b: &Value, status_apart: bool) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    let skip = |k: &str| k == "metadata" || (status_apart && k == "status");
    a.iter().filter(|(k, _)| !skip(k)).all(|(k, x)| b.get(k) == Some(x))
        && b.keys().filter(|k| !skip(k)).all(|k| a.contains_key(k))
}

/// Whether an object that is being deleted and has no finalizers left really goes.
fn ends(r: &Resource, new: &Value) -> bool {
    match (r.group.as_str(), r.plural.as_str()) {
        // A pod goes when its kubelet deletes it with grace 0; a namespace when its own finalizers are gone.
        ("", "pods") => meta::int(new, "/metadata/deletionGracePeriodSeconds") == Some(0),
        ("", "namespaces") => meta::list(new, "/spec/finalizers").is_empty(),
        _ => true,
    }
}

/// Writes a condition; the transition time moves only when the status does. Gives whether anything changed.
pub fn set_condition(v: &mut Value, kind: &str, status: &str, reason: &str, message: &str) -> bool {
    let now = meta::now();
    let st = dig(v, &["status"]);
    if !st.get("conditions").is_some_and(Value::is_array) {
        st.insert("conditions".into(), json!([]));
    }
    let Some(all) = st.get_mut("conditions").and_then(Value::as_array_mut) else { return false };
    let mut new = json!({"type": kind, "status": status});
    if !reason.is_empty() {
        new["reason"] = reason.into();
    }
    if !message.is_empty() {
        new["message"] = message.into();
    }
    match all.iter_mut().find(|c| text(c, "/type") == kind) {
        Some(c) => {
            if text(c, "/status") == status && text(c, "/reason") == reason && text(c, "/message") == message
            {
                return false;
            }
            let since =
                if text(c, "/status") == status { c["lastTransitionTime"].clone() } else { now.into() };
            new["lastTransitionTime"] = since;
            *c = new;
        }
        None => {
            new["lastTransitionTime"] = now.into();
            all.push(new);
        }
    }
    true
}
