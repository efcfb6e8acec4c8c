//! Disruption budgets: how many of the pods they guard may be evicted now.

use serde_json::{Map, Value};

use super::change::{Decision, shelf, status_change};
use super::deployment::count;
use super::pods;
use crate::meta;
use crate::select::Labels;

/// What to write for a budget, given the pods of its namespace.
pub fn decide(pdb: &Value, all: &[&Value]) -> Decision {
    let mut d = Decision::default();
    let selector = Labels::from_selector(pdb.pointer("/spec/selector")).unwrap_or_default();
    let guarded: Vec<&&Value> =
        all.iter().filter(|p| !pods::is_over(p) && selector.matches(meta::labels(p))).collect();
    let expected = i64::try_from(guarded.len()).unwrap_or(0);
    let healthy =
        i64::try_from(guarded.iter().filter(|p| pods::is_ready(p) && !meta::is_deleting(p)).count())
            .unwrap_or(0);
    let spec = |key: &str| pdb.pointer("/spec").and_then(|s| s.get(key)).filter(|v| !v.is_null());
    let desired = match (spec("minAvailable"), spec("maxUnavailable")) {
        (Some(v), _) => count(Some(v), expected, true),
        (None, Some(v)) => (expected - count(Some(v), expected, true)).max(0),
        (None, None) => 0,
    };
    let allowed = (healthy - desired).max(0);
    let mut s = Map::new();
    let numbers = [
        ("disruptionsAllowed", allowed),
        ("currentHealthy", healthy),
        ("desiredHealthy", desired),
        ("expectedPods", expected),
        ("observedGeneration", meta::int(pdb, "/metadata/generation").unwrap_or(1)),
    ];
    for (k, n) in numbers {
        s.insert(k.into(), n.into());
    }
    d.changes.extend(status_change(shelf::BUDGETS, pdb, s));
    d
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::change::Change;

    #[test]
    fn a_budget_counts_what_may_go() {
        let pod = |i: i32, ready: &str| {
            json!({"metadata": {"name": format!("p{i}"), "labels": {"a": "b"}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
        };
        let pods = [pod(1, "True"), pod(2, "True"), pod(3, "False"), pod(4, "True")];
        let refs: Vec<&Value> = pods.iter().collect();
        for (spec, allowed, desired) in [
            (json!({"minAvailable": 2}), 1, 2),
            (json!({"minAvailable": "50%"}), 1, 2),
            (json!({"maxUnavailable": 1}), 0, 3),
            (json!({"maxUnavailable": "50%"}), 1, 2),
        ] {
            let mut pdb = json!({"metadata": {"name": "x"}, "spec": spec.clone()});
            pdb["spec"]["selector"] = json!({"matchLabels": {"a": "b"}});
            let d = decide(&pdb, &refs);
            let [Change::UpdateStatus { object, .. }] = &d.changes[..] else { panic!("{spec}") };
            assert_eq!(object["status"]["disruptionsAllowed"], allowed, "{spec}");
            assert_eq!(object["status"]["desiredHealthy"], desired, "{spec}");
            assert_eq!(decide(object, &refs).changes, [], "{spec}");
        }
    }
}
