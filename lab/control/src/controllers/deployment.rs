//! Deployments: one replica set for each template, and the walk from the old ones to the new one.
//!
//! A step changes at most what `maxSurge` and `maxUnavailable` let it; the replica sets' own changes ask for the next.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::change::{Change, Decision, adopted, owned_by, same, shelf};
use super::pods::{self, Claim};
use super::revision::hash;
use crate::meta;
use crate::select::Labels;

mod rollout;
mod status;
mod strategy;

pub use strategy::count;

const ME: (&str, &str) = ("apps/v1", "Deployment");
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";

/// A replica set as it is and as it shall be.
struct Set<'a> {
    old: &'a Value,
    new: Value,
}

/// What is known of a deployment while deciding.
struct Work<'a> {
    deploy: &'a Value,
    replicas: i64,
    surge: i64,
    unavailable: i64,
    /// The set of the present template, if it is there.
    current: Option<Set<'a>>,
    /// The sets of other templates, oldest first.
    others: Vec<Set<'a>>,
    /// The set to create.
    create: Option<Value>,
    d: Decision,
    now: Timestamp,
}

/// What to do for a deployment, given the replica sets and pods of its namespace.
pub fn decide(deploy: &Value, sets: &[&Value], pods: &[&Value], now: Timestamp) -> Decision {
    let mut d = Decision::default();
    let Some(selector) = Labels::from_selector(deploy.pointer("/spec/selector")) else { return d };
    if meta::is_deleting(deploy) {
        return d;
    }
    let Claim { mut own, adopt, .. } = pods::claim(meta::uid(deploy), &selector, sets);
    for rs in adopt {
        let object = adopted(rs, owned_by(deploy, ME.0, ME.1));
        d.push(Change::Update { shelf: shelf::REPLICA_SETS, object });
    }
    own.retain(|rs| !meta::is_deleting(rs));
    own.sort_by_cached_key(|rs| (meta::text(rs, "/metadata/creationTimestamp").to_owned(), revision(rs)));
    let word = template_hash(deploy);
    let at = own.iter().rposition(|rs| {
        meta::labels(rs).and_then(|l| l.get(HASH)).and_then(Value::as_str) == Some(&word)
            || same_template(deploy, rs)
    });
    let mut others: Vec<Set<'_>> = own.into_iter().map(Set::of).collect();
    let current = at.map(|i| others.remove(i));
    let replicas = meta::int(deploy, "/spec/replicas").unwrap_or(1).max(0);
    let (surge, unavailable) = strategy::room(deploy, replicas);
    let mut w = Work { deploy, replicas, surge, unavailable, current, others, create: None, d, now };
    if meta::flag(deploy, "/spec/paused") {
        w.scale();
    } else {
        w.number(&word);
        if w.scaled_from_outside() {
            w.scale();
        } else if strategy::recreates(deploy) {
            w.recreate(pods);
        } else {
            w.roll();
        }
        w.forget();
    }
    w.finish(pods)
}

/// The word that tells the template of a deployment from others.
pub fn template_hash(deploy: &Value) -> String {
    hash(deploy.pointer("/spec/template").unwrap_or(&Value::Null))
}

fn same_template(deploy: &Value, rs: &Value) -> bool {
    let mut t = rs.pointer("/spec/template").cloned().unwrap_or_default();
    if let Some(l) = t.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        l.shift_remove(HASH);
    }
    deploy.pointer("/spec/template").is_some_and(|d| same(d, &t))
}

fn revision(rs: &Value) -> i64 {
    meta::annotation(rs, REVISION).parse().unwrap_or(0)
}

fn annotate(v: &mut Value, key: &str, value: &str) -> bool {
    if meta::annotation(v, key) == value {
        return false;
    }
    meta::dig(v, &["metadata", "annotations"]).insert(key.into(), value.into());
    true
}

// === impl Set ===

impl<'a> Set<'a> {
    fn of(old: &'a Value) -> Self {
        Self { old, new: old.clone() }
    }

    fn name(&self) -> &str {
        meta::name(self.old)
    }

    /// Replicas asked for, after what was decided so far.
    fn size(&self) -> i64 {
        meta::int(&self.new, "/spec/replicas").unwrap_or(1)
    }

    /// Pods of it that serve. Its status may lag behind what was last asked of it.
    fn available(&self) -> i64 {
        let asked = meta::int(self.old, "/spec/replicas").unwrap_or(1);
        meta::int(self.old, "/status/availableReplicas").unwrap_or(0).min(asked)
    }
}

// === impl Work ===

impl Work<'_> {
    fn tell(&mut self, reason: &'static str, message: String) {
        self.d.push(Change::tell(self.deploy, ME, false, reason, message, "deployment-controller"));
    }

    /// Replicas asked for over all sets.
    fn total(&self) -> i64 {
        self.others.iter().chain(&self.current).map(Set::size).sum()
    }

    /// Makes the set of the present template wanted, and gives it the highest revision.
    fn number(&mut self, word: &str) {
        let highest = self.others.iter().map(|s| revision(s.old)).max().unwrap_or(0);
        let deploy = self.deploy;
        let say = |v: &mut Value, rev: i64| {
            let mut changed = annotate(v, REVISION, &rev.to_string());
            for (k, x) in
                deploy.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten()
            {
                let own =
                    [REVISION, HISTORY, DESIRED, MAX, "kubectl.kubernetes.io/last-applied-configuration"];
                if !own.contains(&k.as_str()) {
                    changed |= annotate(v, k, x.as_str().unwrap_or(""));
                }
            }
            changed
        };
        if let Some(s) = &mut self.current {
            let was = revision(s.old);
            let rev = was.max(highest + 1);
            if was != 0 && rev != was {
                let before = meta::annotation(s.old, HISTORY);
                let history = if before.is_empty() { was.to_string() } else { format!("{before},{was}") };
                annotate(&mut s.new, HISTORY, &history);
            }
            say(&mut s.new, rev);
            return;
        }
        let name = format!("{}-{word}", meta::name(deploy));
        let mut template = deploy.pointer("/spec/template").cloned().unwrap_or_default();
        meta::dig(&mut template, &["metadata", "labels"]).insert(HASH.into(), word.into());
        let mut selector = deploy.pointer("/spec/selector").cloned().unwrap_or_default();
        meta::dig(&mut selector, &["matchLabels"]).insert(HASH.into(), word.into());
        let size = if strategy::recreates(deploy) && self.total() > 0 {
            0
        } else if strategy::recreates(deploy) {
            self.replicas
        } else {
            (self.replicas + self.surge - self.total()).clamp(0, self.replicas)
        };
        let mut rs = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": meta::namespace(deploy), "labels": template["metadata"]["labels"].clone(),
                "ownerReferences": [owned_by(deploy, ME.0, ME.1)],
            },
            "spec": { "replicas": size, "selector": selector, "template": template },
        });
        if let Some(s) = meta::int(deploy, "/spec/minReadySeconds").filter(|s| *s > 0) {
            rs["spec"]["minReadySeconds"] = s.into();
        }
        say(&mut rs, highest + 1);
        annotate(&mut rs, DESIRED, &self.replicas.to_string());
        annotate(&mut rs, MAX, &(self.replicas + self.surge).to_string());
        if size > 0 {
            self.tell("ScalingReplicaSet", format!("Scaled up replica set {name} from 0 to {size}"));
        }
        self.create = Some(rs);
    }

    /// Deletes empty sets beyond `revisionHistoryLimit`, oldest revision first.
    fn forget(&mut self) {
        let keep =
            usize::try_from(meta::int(self.deploy, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(10);
        let surplus = self.others.len().saturating_sub(keep);
        let mut old: Vec<&Set<'_>> = self.others.iter().collect();
        old.sort_by_key(|s| revision(s.old));
        for s in old.into_iter().take(surplus) {
            let empty = s.size() == 0 && meta::int(s.old, "/status/replicas").unwrap_or(0) == 0;
            if empty && meta::int(s.old, "/spec/replicas") == Some(0) {
                self.d.push(Change::delete(shelf::REPLICA_SETS, s.old));
            }
        }
    }

    fn finish(mut self, pods: &[&Value]) -> Decision {
        let rev = match (&self.current, &self.create) {
            (Some(s), _) => meta::annotation(&s.new, REVISION).to_owned(),
            (None, Some(rs)) => meta::annotation(rs, REVISION).to_owned(),
            (None, None) => String::new(),
        };
        let made = self.create.take();
        if let Some(object) = made.clone() {
            self.d.push(Change::Create { shelf: shelf::REPLICA_SETS, object });
        }
        for s in self.others.iter().chain(&self.current) {
            if s.new != *s.old {
                self.d.changes.push(Change::Update { shelf: shelf::REPLICA_SETS, object: s.new.clone() });
            }
        }
        let mut deploy = self.deploy.clone();
        if !rev.is_empty() && annotate(&mut deploy, REVISION, &rev) {
            // The status follows with the event of this write.
            self.d.push(Change::Update { shelf: shelf::DEPLOYMENTS, object: deploy });
            return self.d;
        }
        let status: Map<String, Value> = self.status(made.as_ref(), pods);
        if let Some(c) = super::change::status_change(shelf::DEPLOYMENTS, self.deploy, status) {
            self.d.push(c);
        }
        self.d
    }
}

#[cfg(test)]
mod tests;
