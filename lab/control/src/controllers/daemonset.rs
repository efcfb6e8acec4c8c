//! Daemon sets: one pod on every node that may have one. The pod is made for its node; the scheduler puts it there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::change::{Change, Decision, adopted, owned_by, released, shelf, status_change};
use super::deployment::count;
use super::fit::{NO_NETWORK, NOT_READY, UNREACHABLE, UNSCHEDULABLE, untolerated, wants};
use super::pods::{self, Claim};
use super::revision;
use crate::meta;
use crate::select::Labels;

const ME: (&str, &str) = ("apps/v1", "DaemonSet");
const HASH: &str = "controller-revision-hash";

/// What to do for a daemon set, given all nodes and the pods and revisions of its namespace.
pub fn decide(
    ds: &Value,
    nodes: &[&Value],
    all: &[&Value],
    revisions: &[&Value],
    now: Timestamp,
) -> Decision {
    let mut d = Decision::default();
    let Some(selector) = Labels::from_selector(ds.pointer("/spec/selector")) else { return d };
    if meta::is_deleting(ds) {
        return d;
    }
    let Claim { own, adopt, release } = pods::claim(meta::uid(ds), &selector, all);
    for p in release {
        d.push(Change::Update { shelf: shelf::PODS, object: released(p, meta::uid(ds)) });
    }
    for p in adopt {
        d.push(Change::Update { shelf: shelf::PODS, object: adopted(p, owned_by(ds, ME.0, ME.1)) });
    }
    let rev = revision::current(ds, ME.1, revisions);
    d.changes.extend(rev.changes);
    let mut by_node: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for p in own {
        by_node.entry(target(p)).or_default().push(p);
    }
    let spec = daemon_spec(ds);
    let mut t = Tally::default();
    let mut stale: Vec<&Value> = Vec::new();
    let mut ready_nodes = 0;
    for node in nodes {
        let here = by_node.remove(meta::name(node)).unwrap_or_default();
        let stay = wants(&spec, node)
            && untolerated(meta::list(&spec, "/tolerations"), node, &["NoExecute"]).is_none();
        let place = stay
            && untolerated(meta::list(&spec, "/tolerations"), node, &["NoSchedule", "NoExecute"]).is_none();
        let (over, mut live): (Vec<&Value>, Vec<&Value>) =
            here.iter().copied().filter(|p| !meta::is_deleting(p)).partition(|p| pods::is_over(p));
        for p in over {
            remove(ds, p, &mut d);
        }
        if !stay {
            t.wrong += i64::from(!live.is_empty());
            live.iter().for_each(|p| remove(ds, p, &mut d));
            continue;
        }
        if place {
            t.desired += 1;
        } else if live.is_empty() {
            continue;
        } else {
            t.desired += 1;
        }
        live.sort_by_key(|p| {
            (pods::node(p).is_empty(), meta::text(p, "/metadata/creationTimestamp").to_owned())
        });
        if let Some((_, rest)) = live.split_first() {
            rest.iter().for_each(|p| remove(ds, p, &mut d));
        }
        let Some(pod) = live.first() else {
            // The next one comes when the last one is gone.
            if place && here.is_empty() {
                d.push(Change::Create { shelf: shelf::PODS, object: pod_for(ds, node, &spec, &rev.hash) });
            }
            continue;
        };
        t.count(pod, ds, &rev.hash, now, &mut d);
        if pods::is_ready(pod) {
            ready_nodes += 1;
        }
        if meta::labels(pod).and_then(|l| l.get(HASH)).and_then(Value::as_str) != Some(&rev.hash) {
            stale.push(pod);
        }
    }
    // Pods on nodes that are no more.
    by_node.values().flatten().filter(|p| !meta::is_deleting(p)).for_each(|p| remove(ds, p, &mut d));
    replace_stale(ds, &stale, t.desired, ready_nodes, &mut d);
    t.write(ds, &mut d);
    d
}

/// Deletes pods of an older template, as many as may be missing at once.
fn replace_stale(ds: &Value, stale: &[&Value], desired: i64, ready: i64, d: &mut Decision) {
    if meta::text(ds, "/spec/updateStrategy/type") == "OnDelete" {
        return;
    }
    let rolling = ds.pointer("/spec/updateStrategy/rollingUpdate").and_then(|r| r.get("maxUnavailable"));
    let one = json!(1);
    let most = count(Some(rolling.unwrap_or(&one)), desired, true).max(1);
    let mut may = (most - (desired - ready)).max(0);
    for p in stale {
        if !pods::is_ready(p) {
            remove(ds, p, d);
        } else if may > 0 {
            may -= 1;
            remove(ds, p, d);
        }
    }
}

fn remove(ds: &Value, pod: &Value, d: &mut Decision) {
    d.push(Change::delete(shelf::PODS, pod));
    let say = format!("Deleted pod: {}", meta::name(pod));
    d.push(Change::tell(ds, ME, false, "SuccessfulDelete", say, "daemonset-controller"));
}

/// The node a daemon pod is on or is meant for.
fn target(pod: &Value) -> &str {
    match pods::node(pod) {
        "" => {
            let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
            meta::list(pod, terms)
                .iter()
                .flat_map(|t| meta::list(t, "/matchFields"))
                .find(|f| meta::text(f, "/key") == "metadata.name")
                .map_or("", |f| meta::text(f, "/values/0"))
        }
        n => n,
    }
}

/// The pod spec of the template with the tolerations every daemon has.
fn daemon_spec(ds: &Value) -> Value {
    let mut spec = ds.pointer("/spec/template/spec").cloned().unwrap_or_else(|| json!({}));
    let mut bear = vec![
        (NOT_READY, "NoExecute"),
        (UNREACHABLE, "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        (UNSCHEDULABLE, "NoSchedule"),
    ];
    if meta::flag(&spec, "/hostNetwork") {
        bear.push((NO_NETWORK, "NoSchedule"));
    }
    let mut all = meta::list(&spec, "/tolerations").to_vec();
    for (key, effect) in bear {
        let t = json!({"key": key, "operator": "Exists", "effect": effect});
        if !all.contains(&t) {
            all.push(t);
        }
    }
    spec["tolerations"] = all.into();
    spec
}

fn pod_for(ds: &Value, node: &Value, spec: &Value, hash: &str) -> Value {
    let mut pod = pods::from_template(ds, owned_by(ds, ME.0, ME.1));
    let labels = meta::dig(&mut pod, &["metadata", "labels"]);
    labels.insert(HASH.into(), hash.into());
    labels.insert(
        "pod-template-generation".into(),
        meta::int(ds, "/metadata/generation").unwrap_or(1).to_string().into(),
    );
    pod["spec"] = spec.clone();
    let here = json!([{"key": "metadata.name", "operator": "In", "values": [meta::name(node)]}]);
    let path = ["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    let required = meta::dig(&mut pod, &path);
    match required.get_mut("nodeSelectorTerms").and_then(Value::as_array_mut).filter(|t| !t.is_empty()) {
        // As in the original, the name takes the place of what the template says of fields.
        Some(terms) => terms.iter_mut().for_each(|t| t["matchFields"] = here.clone()),
        None => {
            required.insert("nodeSelectorTerms".into(), json!([{ "matchFields": here }]));
        }
    }
    pod
}

#[derive(Default)]
struct Tally {
    desired: i64,
    current: i64,
    ready: i64,
    available: i64,
    updated: i64,
    wrong: i64,
}

impl Tally {
    fn count(&mut self, pod: &Value, ds: &Value, hash: &str, now: Timestamp, d: &mut Decision) {
        self.current += 1;
        self.updated +=
            i64::from(meta::labels(pod).and_then(|l| l.get(HASH)).and_then(Value::as_str) == Some(hash));
        self.ready += i64::from(pods::is_ready(pod));
        match pods::available(pod, meta::int(ds, "/spec/minReadySeconds").unwrap_or(0), now) {
            Ok(()) => self.available += 1,
            Err(then) => d.again_at(then),
        }
    }

    fn write(&self, ds: &Value, d: &mut Decision) {
        let mut s = Map::new();
        let always = [
            ("currentNumberScheduled", self.current),
            ("numberMisscheduled", self.wrong),
            ("desiredNumberScheduled", self.desired),
            ("numberReady", self.ready),
            ("observedGeneration", meta::int(ds, "/metadata/generation").unwrap_or(1)),
        ];
        let some = [
            ("updatedNumberScheduled", self.updated),
            ("numberAvailable", self.available),
            ("numberUnavailable", (self.desired - self.available).max(0)),
        ];
        for (k, n) in always.into_iter().chain(some.into_iter().filter(|(_, n)| *n > 0)) {
            s.insert(k.into(), n.into());
        }
        if let Some(c) = status_change(shelf::DAEMON_SETS, ds, s) {
            d.push(c);
        }
    }
}

#[cfg(test)]
mod tests;
