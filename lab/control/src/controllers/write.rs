//! Writes what controllers want, through the same door as clients do.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};

use super::change::{Change, Event, shelf};
use crate::core::Core;
use crate::error::{ApiError, Result};
use crate::meta;
use crate::ops::{DeleteOptions, Place, Write};
use crate::resource::Resource;

/// The resource whose objects stand on a shelf.
pub fn resource(core: &Core, shelf: &str) -> Option<Arc<Resource>> {
    let (plural, group) = shelf.split_once('.').unwrap_or((shelf, ""));
    core.resource(group, plural)
}

/// Writes all of it. Gives whether something failed that may go well later.
pub fn carry_out(core: &Core, manager: &str, changes: Vec<Change>) -> bool {
    let mut again = false;
    for c in changes {
        let Err(e) = one(core, manager, &c) else { continue };
        match (e.reason, &c) {
            // It is already so, or an event about it is on its way.
            ("NotFound", Change::Delete { .. }) | ("AlreadyExists", Change::Create { .. }) => {}
            // Nothing is made in a namespace that goes.
            ("Forbidden", Change::Create { .. }) => tracing::debug!(manager, error = %e, "not any more"),
            ("Conflict" | "NotFound", _) => {
                tracing::debug!(manager, error = %e, "too late");
                again = true;
            }
            _ => {
                tracing::warn!(manager, error = %e, "a controller could not write");
                failed(core, &c, &e);
                again = true;
            }
        }
    }
    again
}

fn one(core: &Core, manager: &str, c: &Change) -> Result<()> {
    let w = Write::by(manager);
    match c {
        Change::Create { shelf, object } => {
            let made = at(core, shelf, object, "", |p| core.create(p, object.clone(), &w))?;
            if *shelf == shelf::PODS {
                let say = format!("Created pod: {}", meta::name(&made.object.value));
                on_owner(core, object, false, "SuccessfulCreate", say);
            }
        }
        Change::Update { shelf, object } => {
            at(core, shelf, object, "", |p| core.mutate(p, &w, |old, _| there(p, old, object)))?;
        }
        Change::UpdateStatus { shelf, object } => {
            at(core, shelf, object, "status", |p| core.mutate(p, &w, |old, _| there(p, old, object)))?;
        }
        Change::Delete { shelf, ns, name, uid, grace } => {
            let o = DeleteOptions { grace: *grace, uid: Some(uid.clone()), ..DeleteOptions::default() };
            let r = resource(core, shelf).ok_or_else(ApiError::no_such_path)?;
            let p = Place { resource: &r, version: r.preferred(), namespace: ns, name, sub: "" };
            core.delete(&p, &o)?;
        }
        Change::Bind { ns, name, uid, node } => {
            let r = resource(core, shelf::PODS).ok_or_else(ApiError::no_such_path)?;
            let p = Place { resource: &r, version: r.preferred(), namespace: ns, name, sub: "" };
            let same = core.store.get(shelf::PODS, ns, name).is_some_and(|s| meta::uid(&s.value) == uid);
            if !same {
                return Err(p.not_found());
            }
            core.bind(&p, node, &w)?;
        }
        Change::Event(e) => tell(core, e),
    }
    Ok(())
}

fn there(p: &Place<'_>, old: Option<&Value>, new: &Value) -> Result<Value> {
    old.ok_or_else(|| p.not_found())?;
    Ok(new.clone())
}

fn at<T>(
    core: &Core,
    shelf: &str,
    v: &Value,
    sub: &str,
    f: impl FnOnce(&Place<'_>) -> Result<T>,
) -> Result<T> {
    let r = resource(core, shelf).ok_or_else(ApiError::no_such_path)?;
    let p = Place {
        resource: &r,
        version: r.preferred(),
        namespace: meta::namespace(v),
        name: meta::name(v),
        sub,
    };
    f(&p)
}

/// Tells on the owner of a pod that could not be made why.
fn failed(core: &Core, c: &Change, e: &ApiError) {
    if let Change::Create { shelf: shelf::PODS, object } = c {
        on_owner(core, object, true, "FailedCreate", format!("Error creating: {e}"));
    }
}

fn on_owner(core: &Core, pod: &Value, warning: bool, reason: &'static str, message: String) {
    let Some(owner) = meta::controller(pod) else { return };
    let from = match meta::text(owner, "/kind") {
        "ReplicaSet" => "replicaset-controller",
        "DaemonSet" => "daemonset-controller",
        "StatefulSet" => "statefulset-controller",
        "Job" => "job-controller",
        _ => "kube-controller-manager",
    };
    let about = json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "namespace": meta::namespace(pod),
        "name": owner["name"], "uid": owner["uid"],
    });
    tell(core, &Event { about, warning, reason, message, from });
}

/// Writes an Event object, or counts one more if it was told before.
pub fn tell(core: &Core, e: &Event) {
    let Some(r) = resource(core, shelf::EVENTS) else { return };
    let ns = match meta::text(&e.about, "/namespace") {
        "" => "default",
        ns => ns,
    };
    let mut h = DefaultHasher::new();
    (meta::text(&e.about, "/uid"), e.reason, &e.message, e.from).hash(&mut h);
    let name = format!("{}.{:016x}", meta::text(&e.about, "/name"), h.finish());
    let p = Place { resource: &r, version: r.preferred(), namespace: ns, name: &name, sub: "" };
    let now = meta::now();
    let object = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": ns},
        "involvedObject": e.about, "reason": e.reason, "message": e.message,
        "source": {"component": e.from}, "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        "type": if e.warning { "Warning" } else { "Normal" }, "eventTime": null,
        "reportingComponent": e.from, "reportingInstance": "",
    });
    match core.create(&p, object, &Write::by(e.from)) {
        Err(x) if x.reason == "AlreadyExists" => {
            let more = core.adjust(&p, e.from, |v| {
                let n = meta::int(v, "/count").unwrap_or(1) + 1;
                v["count"] = n.into();
                v["lastTimestamp"] = now.into();
                true
            });
            if let Err(x) = more {
                tracing::debug!(error = %x, "counting an event");
            }
        }
        Err(x) => tracing::debug!(error = %x, "telling of something"),
        Ok(_) => {}
    }
}
