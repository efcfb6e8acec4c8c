//! Deleting: graceful for pods, in the background, in the foreground or leaving children alone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Place;
use crate::core::Core;
use crate::error::{ApiError, Result};
use crate::meta::{self, map, text};
use crate::store::Stored;

/// What becomes of the objects the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// They are collected afterwards.
    #[default]
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

/// `metav1.DeleteOptions`, as far as it is heeded.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds a pod may take.
    pub grace: Option<i64>,
    /// Children.
    pub propagation: Propagation,
    /// Only this very object.
    pub uid: Option<String>,
    /// Only this very version.
    pub rv: Option<String>,
    /// Only look.
    pub dry_run: bool,
}

/// What a delete came to.
pub enum Deleted {
    /// The object is gone; its last state.
    Gone(Arc<Stored>),
    /// The object is on its way out.
    Going(Arc<Stored>),
}

// === impl DeleteOptions ===

impl DeleteOptions {
    /// From the body of a request (may be null) and its query.
    pub fn read(body: &Value, query: &crate::query::Query) -> Result<Self> {
        let grace = meta::int(body, "/gracePeriodSeconds")
            .or_else(|| query.get("gracePeriodSeconds").and_then(|g| g.parse().ok()));
        let policy = match text(body, "/propagationPolicy") {
            "" => query.get("propagationPolicy").unwrap_or(""),
            p => p,
        };
        let propagation = match policy {
            "" if meta::flag(body, "/orphanDependents") => Propagation::Orphan,
            "" | "Background" => Propagation::Background,
            "Foreground" => Propagation::Foreground,
            "Orphan" => Propagation::Orphan,
            other => return Err(ApiError::bad_request(format!("unknown propagationPolicy {other:?}"))),
        };
        let own = |p: &str| body.pointer(p).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            grace,
            propagation,
            uid: own("/preconditions/uid"),
            rv: own("/preconditions/resourceVersion"),
            dry_run: !meta::list(body, "/dryRun").is_empty()
                || query.get("dryRun").is_some_and(|d| !d.is_empty()),
        })
    }
}

impl Core {
    /// Deletes an object, or marks it for deletion.
    pub fn delete(&self, p: &Place<'_>, o: &DeleteOptions) -> Result<Deleted> {
        let done = self.take(p, o)?;
        self.after(p.resource);
        Ok(done)
    }

    fn take(&self, p: &Place<'_>, o: &DeleteOptions) -> Result<Deleted> {
        let r = p.resource;
        self.store.write(|tx| {
            let old = tx.get(&r.shelf, p.namespace, p.name).ok_or_else(|| p.not_found())?;
            for (want, have, what) in
                [(&o.uid, meta::uid(&old.value), "UID"), (&o.rv, meta::rv(&old.value), "ResourceVersion")]
            {
                if let Some(want) = want.as_deref().filter(|w| *w != have) {
                    let why = format!(
                        "Precondition failed: {what} in precondition: {want}, {what} in object meta: {have}"
                    );
                    return Err(ApiError::conflict(&r.group, &r.plural, p.name, &why));
                }
            }
            if r.group.is_empty()
                && r.plural == "namespaces"
                && matches!(p.name, "default" | "kube-system" | "kube-public")
            {
                return Err(ApiError::forbidden(
                    "",
                    "namespaces",
                    p.name,
                    "this namespace may not be deleted",
                ));
            }
            let mut new = old.value.clone();
            let grace = grace(p, &old.value, o.grace);
            let mark = match o.propagation {
                Propagation::Background => None,
                Propagation::Foreground => Some("foregroundDeletion"),
                Propagation::Orphan => Some("orphan"),
            };
            if let Some(f) = mark
                && !meta::is_deleting(&new)
            {
                let m = map(&mut new, "metadata");
                match m.get_mut("finalizers").and_then(Value::as_array_mut) {
                    Some(all) => all.push(f.into()),
                    None => {
                        m.insert("finalizers".into(), json!([f]));
                    }
                }
            }
            let waits = !meta::finalizers(&new).is_empty()
                || (r.group.is_empty()
                    && r.plural == "namespaces"
                    && !meta::list(&new, "/spec/finalizers").is_empty());
            if grace == 0 && !waits {
                if o.dry_run {
                    return Ok(Deleted::Gone(old));
                }
                if &*r.shelf == crate::crd::SHELF {
                    // The objects of a definition go with it.
                    for x in tx.list(p.name, None) {
                        tx.remove(p.name, meta::namespace(&x.value), meta::name(&x.value));
                    }
                }
                let gone = tx.remove(&r.shelf, p.namespace, p.name).ok_or_else(|| p.not_found())?;
                self.allocations().release(r, &gone.value);
                return Ok(Deleted::Gone(gone));
            }
            let had = meta::int(&new, "/metadata/deletionGracePeriodSeconds");
            if meta::is_deleting(&new) && had.is_some_and(|h| h <= grace) {
                return Ok(Deleted::Going(old));
            }
            let when = jiff::Timestamp::now().as_second() + grace;
            let when =
                jiff::Timestamp::from_second(when).map(|t| t.to_string()).unwrap_or_else(|_| meta::now());
            let generation = r.generation || r.custom;
            let m = map(&mut new, "metadata");
            m.insert("deletionTimestamp".into(), when.into());
            m.insert("deletionGracePeriodSeconds".into(), grace.into());
            if generation && had.is_none() {
                let g = m.get("generation").and_then(Value::as_i64).unwrap_or(0);
                m.insert("generation".into(), (g + 1).into());
            }
            if r.group.is_empty() && r.plural == "namespaces" {
                meta::dig(&mut new, &["status"]).insert("phase".into(), "Terminating".into());
            }
            if o.dry_run {
                return Ok(Deleted::Going(Stored::new(old.rv, new)));
            }
            Ok(Deleted::Going(tx.put(&r.shelf, new)))
        })
    }
}

/// How long the object may take to go: only pods that run somewhere get any time.
fn grace(p: &Place<'_>, old: &Value, asked: Option<i64>) -> i64 {
    let r = p.resource;
    if !(r.group.is_empty() && r.plural == "pods") {
        return 0;
    }
    let done = matches!(text(old, "/status/phase"), "Succeeded" | "Failed");
    if text(old, "/spec/nodeName").is_empty() || done {
        return 0;
    }
    let g = asked.or_else(|| meta::int(old, "/spec/terminationGracePeriodSeconds")).unwrap_or(30);
    if g < 0 { 1 } else { g }
}
