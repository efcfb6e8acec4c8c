//! Stateful sets: pods with numbers, one after the other; the highest number goes first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::change::{Change, Decision, owned_by, shelf, status_change};
use super::pods::{self, Claim};
use super::revision;
use crate::meta;
use crate::select::Labels;

const ME: (&str, &str) = ("apps/v1", "StatefulSet");
const HASH: &str = "controller-revision-hash";

/// What to do for a stateful set, given the pods and revisions of its namespace.
pub fn decide(sts: &Value, all: &[&Value], revisions: &[&Value], now: Timestamp) -> Decision {
    let mut d = Decision::default();
    let Some(selector) = Labels::from_selector(sts.pointer("/spec/selector")) else { return d };
    if meta::is_deleting(sts) {
        return d;
    }
    let Claim { own, .. } = pods::claim(meta::uid(sts), &selector, all);
    let mut numbered: BTreeMap<i64, &Value> =
        own.iter().filter_map(|p| Some((ordinal(sts, p)?, *p))).collect();
    let rev = revision::current(sts, ME.1, revisions);
    d.changes.extend(rev.changes);
    let first = meta::int(sts, "/spec/ordinals/start").unwrap_or(0);
    let replicas = meta::int(sts, "/spec/replicas").unwrap_or(1).max(0);
    let min = meta::int(sts, "/spec/minReadySeconds").unwrap_or(0);
    let mut t = Tally { replicas: numbered.len(), ..Tally::default() };
    let mut old_hash = meta::text(sts, "/status/currentRevision").to_owned();
    if old_hash.is_empty() {
        old_hash.clone_from(&rev.name);
    }
    for p in numbered.values() {
        t.ready += usize::from(pods::is_ready(p) && !meta::is_deleting(p));
        match pods::available(p, min, now) {
            Ok(()) => t.available += 1,
            Err(then) => d.again_at(then),
        }
        t.updated += usize::from(hash_of(p) == rev.hash);
    }
    let good = |p: &Value, d: &mut Decision| match pods::available(p, min, now) {
        Ok(()) => !meta::is_deleting(p),
        Err(then) => {
            d.again_at(then);
            false
        }
    };
    let parallel = meta::text(sts, "/spec/podManagementPolicy") == "Parallel";
    let mut steady = true;
    for n in first..first + replicas {
        match numbered.remove(&n) {
            None => {
                d.push(Change::Create { shelf: shelf::PODS, object: pod(sts, n, &rev.hash) });
                steady = false;
            }
            Some(p) if pods::is_over(p) && !meta::is_deleting(p) => {
                d.push(Change::delete(shelf::PODS, p));
                steady = false;
            }
            Some(p) => steady &= good(p, &mut d),
        }
        if !steady && !parallel {
            break;
        }
    }
    let surplus: Vec<&Value> = own
        .iter()
        .copied()
        .filter(|p| ordinal(sts, p).is_some_and(|n| n < first || n >= first + replicas))
        .collect();
    let mut high = surplus;
    high.sort_by_key(|p| std::cmp::Reverse(ordinal(sts, p)));
    if steady || parallel {
        for p in high {
            if !meta::is_deleting(p) {
                remove(sts, p, &mut d);
            }
            steady = false;
            if !parallel {
                break;
            }
        }
    }
    if steady && meta::text(sts, "/spec/updateStrategy/type") != "OnDelete" {
        let from = meta::int(sts, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
        let mut stale: Vec<&Value> = own
            .iter()
            .copied()
            .filter(|p| hash_of(p) != rev.hash && ordinal(sts, p).is_some_and(|n| n >= from))
            .collect();
        stale.sort_by_key(|p| std::cmp::Reverse(ordinal(sts, p)));
        if let Some(p) = stale.first() {
            remove(sts, p, &mut d);
        }
    }
    let all_new =
        t.updated == t.replicas && i64::try_from(t.replicas) == Ok(replicas) && t.ready == t.replicas;
    if all_new {
        old_hash.clone_from(&rev.name);
    }
    t.write(sts, &old_hash, &rev.name, &mut d);
    d
}

fn hash_of(pod: &Value) -> &str {
    meta::labels(pod).and_then(|l| l.get(HASH)).and_then(Value::as_str).unwrap_or("")
}

fn ordinal(sts: &Value, pod: &Value) -> Option<i64> {
    meta::name(pod).strip_prefix(meta::name(sts))?.strip_prefix('-')?.parse().ok()
}

fn remove(sts: &Value, pod: &Value, d: &mut Decision) {
    d.push(Change::delete(shelf::PODS, pod));
    let say = format!("delete Pod {} in StatefulSet {} successful", meta::name(pod), meta::name(sts));
    d.push(Change::tell(sts, ME, false, "SuccessfulDelete", say, "statefulset-controller"));
}

fn pod(sts: &Value, n: i64, hash: &str) -> Value {
    let mut pod = pods::from_template(sts, owned_by(sts, ME.0, ME.1));
    let name = format!("{}-{n}", meta::name(sts));
    let m = meta::map(&mut pod, "metadata");
    m.shift_remove("generateName");
    m.insert("name".into(), name.clone().into());
    let labels = meta::dig(&mut pod, &["metadata", "labels"]);
    labels.insert("statefulset.kubernetes.io/pod-name".into(), name.clone().into());
    labels.insert("apps.kubernetes.io/pod-index".into(), n.to_string().into());
    labels.insert(HASH.into(), hash.into());
    let spec = meta::map(&mut pod, "spec");
    spec.insert("hostname".into(), name.into());
    if let Some(s) = sts.pointer("/spec/serviceName").filter(|s| s.as_str().is_some_and(|s| !s.is_empty())) {
        spec.insert("subdomain".into(), s.clone());
    }
    pod
}

#[derive(Default)]
struct Tally {
    replicas: usize,
    ready: usize,
    available: usize,
    updated: usize,
}

impl Tally {
    fn write(&self, sts: &Value, current: &str, update: &str, d: &mut Decision) {
        let mut s = Map::new();
        s.insert("observedGeneration".into(), meta::int(sts, "/metadata/generation").unwrap_or(1).into());
        s.insert("replicas".into(), self.replicas.into());
        let same = current == update;
        let old = if same { self.updated } else { self.replicas - self.updated };
        let some =
            [("readyReplicas", self.ready), ("currentReplicas", old), ("updatedReplicas", self.updated)];
        for (k, n) in some.into_iter().filter(|(_, n)| *n > 0) {
            s.insert(k.into(), n.into());
        }
        s.insert("availableReplicas".into(), self.available.into());
        s.insert("currentRevision".into(), current.into());
        s.insert("updateRevision".into(), update.into());
        s.insert("collisionCount".into(), 0.into());
        if let Some(c) = status_change(shelf::STATEFUL_SETS, sts, s) {
            d.push(c);
        }
    }
}

#[cfg(test)]
mod tests;
