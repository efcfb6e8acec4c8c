//! Replica sets: as many active pods as asked for; the worst go first.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::change::{Change, Decision, adopted, owned_by, released, shelf, status_change};
use super::pods::{self, Claim};
use crate::meta;
use crate::select::Labels;

const ME: (&str, &str) = ("apps/v1", "ReplicaSet");

/// What to do for a replica set, given the pods of its namespace.
pub fn decide(rs: &Value, all: &[&Value], now: Timestamp) -> Decision {
    let mut d = Decision::default();
    let Some(selector) = Labels::from_selector(rs.pointer("/spec/selector")) else { return d };
    let Claim { own, adopt, release } = pods::claim(meta::uid(rs), &selector, all);
    let owner = owned_by(rs, ME.0, ME.1);
    let going = meta::is_deleting(rs);
    let mut active: Vec<&Value> = own.iter().copied().filter(|p| pods::is_active(p)).collect();
    if !going {
        for p in release {
            d.push(Change::Update { shelf: shelf::PODS, object: released(p, meta::uid(rs)) });
        }
        for p in adopt {
            d.push(Change::Update { shelf: shelf::PODS, object: adopted(p, owner.clone()) });
            active.push(p);
        }
        let want = usize::try_from(meta::int(rs, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        for _ in active.len()..want {
            let object = pods::from_template(rs, owner.clone());
            d.push(Change::Create { shelf: shelf::PODS, object });
        }
        if active.len() > want {
            let mut order = active.clone();
            pods::worst_first(&mut order);
            active = order.split_off(order.len() - want);
            for p in &order {
                d.push(Change::delete(shelf::PODS, p));
                let say = format!("Deleted pod: {}", meta::name(p));
                d.push(Change::tell(rs, ME, false, "SuccessfulDelete", say, "replicaset-controller"));
            }
        }
    }
    status(rs, &active, now, &mut d);
    d
}

fn status(rs: &Value, active: &[&Value], now: Timestamp, d: &mut Decision) {
    let min = meta::int(rs, "/spec/minReadySeconds").unwrap_or(0);
    let labels = Labels::from_map(
        rs.pointer("/spec/template/metadata/labels").and_then(Value::as_object).unwrap_or(&Map::new()),
    );
    let (mut ready, mut available, mut full) = (0, 0, 0);
    for p in active {
        full += i64::from(labels.matches(meta::labels(p)));
        ready += i64::from(pods::is_ready(p));
        match pods::available(p, min, now) {
            Ok(()) => available += 1,
            Err(then) => d.again_at(then),
        }
    }
    let mut s = Map::new();
    s.insert("replicas".into(), active.len().into());
    for (key, n) in
        [("fullyLabeledReplicas", full), ("readyReplicas", ready), ("availableReplicas", available)]
    {
        if n > 0 {
            s.insert(key.into(), n.into());
        }
    }
    s.insert("observedGeneration".into(), meta::int(rs, "/metadata/generation").unwrap_or(1).into());
    if let Some(c) = rs.pointer("/status/conditions") {
        s.insert("conditions".into(), c.clone());
    }
    if let Some(c) = status_change(shelf::REPLICA_SETS, rs, s) {
        d.push(c);
    }
}

#[cfg(test)]
mod tests;
