//! `metadata.managedFields`: who last set which field.

use serde_json::{Value, json};

use super::fields::{Set, Step, compare};
use crate::meta::{self, map, text};
use crate::ops::{Place, Write};
use crate::schema::{ANY, Schema};

/// One owner of fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The field manager.
    pub manager: String,
    /// By `Apply`, or else by `Update`.
    pub apply: bool,
    /// Version its fields are named in.
    pub version: String,
    /// As `status`; empty for the object itself.
    pub sub: String,
    /// When it last changed.
    pub time: String,
    /// What it owns.
    pub set: Set,
}

// === impl Owner ===

impl Owner {
    /// The owner a write acts as, with nothing owned yet.
    pub fn of(p: &Place<'_>, w: &Write) -> Self {
        Self {
            manager: w.manager.clone(),
            apply: w.apply.is_some(),
            version: p.resource.api_version(p.version),
            sub: if p.sub == "status" { "status".into() } else { String::new() },
            time: meta::now(),
            set: Set::default(),
        }
    }

    /// Whether two owners are the same one.
    pub fn is(&self, o: &Self) -> bool {
        self.manager == o.manager && self.apply == o.apply && self.sub == o.sub
            // A version change is a new owner only for updates; an applier keeps its set.
            && (self.apply || self.version == o.version)
    }

    /// As a conflict names it.
    pub fn shown(&self) -> String {
        let sub =
            if self.sub.is_empty() { String::new() } else { format!(" with subresource {:?}", self.sub) };
        format!("{:?}{sub} using {}", self.manager, self.version)
    }

    fn to_json(&self) -> Value {
        let mut v = json!({
            "manager": self.manager,
            "operation": if self.apply { "Apply" } else { "Update" },
            "apiVersion": self.version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.to_json(),
        });
        if !self.sub.is_empty() {
            v["subresource"] = self.sub.clone().into();
        }
        v
    }
}

/// The owners an object names.
pub fn read(v: &Value) -> Vec<Owner> {
    meta::list(v, "/metadata/managedFields")
        .iter()
        .filter(|e| !text(e, "/manager").is_empty() || e.get("fieldsV1").is_some())
        .map(|e| Owner {
            manager: text(e, "/manager").into(),
            apply: text(e, "/operation") == "Apply",
            version: text(e, "/apiVersion").into(),
            sub: text(e, "/subresource").into(),
            time: text(e, "/time").into(),
            set: e.get("fieldsV1").map(Set::from_json).unwrap_or_default(),
        })
        .collect()
}

/// Writes the owners into an object; owners of nothing are left out.
pub fn write(v: &mut Value, owners: &[Owner]) {
    let all: Vec<Value> = owners.iter().filter(|o| !o.set.is_empty()).map(Owner::to_json).collect();
    let m = map(v, "metadata");
    if all.is_empty() {
        m.shift_remove("managedFields");
    } else {
        m.insert("managedFields".into(), all.into());
    }
}

/// The field types of a place.
pub fn schema<'a>(p: &Place<'a>) -> &'a Schema {
    p.resource.version(p.version).map_or(&ANY, |v| v.schema())
}

/// Takes away fields nobody owns, and those the other half of the object (status or not) owns.
pub fn strip(mut s: Set, p: &Place<'_>) -> Set {
    let field = |f: &str| Step::Field(f.into());
    for f in ["apiVersion", "kind"] {
        s.below.remove(&field(f));
    }
    if p.sub == "status" {
        s.below.retain(|k, _| *k == field("status"));
        return s;
    }
    if p.resource.status(p.version) {
        s.below.remove(&field("status"));
    }
    if let Some(m) = s.below.get_mut(&field("metadata")) {
        for f in [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            m.below.remove(&field(f));
        }
        if m.below.is_empty() {
            s.below.remove(&field("metadata"));
        }
    }
    s
}

/// After an update: the writer owns what it changed, others no longer do. An apply has already seen to it.
pub fn track(new: &mut Value, old: Option<&Value>, p: &Place<'_>, w: &Write) {
    if w.apply.is_some() {
        return;
    }
    let schema = schema(p);
    let mut owners = read(new);
    let (changed, removed) = match old {
        None => (Set::of(new, schema), Set::default()),
        Some(old) => compare(old, new, schema),
    };
    let (changed, removed) = (strip(changed, p), strip(removed, p));
    if changed.is_empty() && removed.is_empty() {
        return;
    }
    let me = Owner::of(p, w);
    let mut lost = changed.clone();
    lost.add(&removed);
    for o in owners.iter_mut().filter(|o| !o.is(&me)) {
        o.set = o.set.minus(&lost);
    }
    match owners.iter_mut().find(|o| o.is(&me)) {
        Some(o) => {
            o.set = o.set.minus(&removed);
            o.set.add(&changed);
            o.time = me.time;
        }
        None => owners.push(Owner { set: changed, ..me }),
    }
    write(new, &owners);
}

/// Whether two states of an object differ in nothing but the times in the managed fields.
pub fn same(a: &Value, b: &Value) -> bool {
    let bare = |v: &Value| {
        let mut v = v.clone();
        for e in v.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if let Some(m) = e.as_object_mut() {
                m.shift_remove("time");
            }
        }
        v
    };
    a == b || bare(a) == bare(b)
}
