//! Rules about which pods stand near which: pod affinity, anti-affinity and topology spread.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{Seats, with_keys};
use crate::controllers::fit::{Misfit, domain, untolerated, wants};
use crate::meta;
use crate::select::Labels;

const NEAR: &str = "/spec/affinity/podAffinity";
const FAR: &str = "/spec/affinity/podAntiAffinity";
const MUST: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const MAY: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Whether a pod keeps others away.
pub(super) fn repels(pod: &Value) -> bool {
    !meta::list(pod, &format!("{FAR}/{MUST}")).is_empty()
}

/// Strikes off the nodes that required pod affinity and anti-affinity forbid.
pub(super) fn affinity(seats: &Seats<'_>, pod: &Value, among: &[usize]) -> Vec<(usize, Misfit)> {
    let mut strike = Vec::new();
    for t in meta::list(pod, &format!("{FAR}/{MUST}")) {
        let full = domains(seats, t, pod);
        let key = meta::text(t, "/topologyKey");
        let hit = |i: &&usize| domain(seats.all[**i].node, key).is_some_and(|d| full.contains_key(d));
        strike.extend(among.iter().filter(hit).map(|i| (*i, Misfit::AntiAffinity)));
    }
    if seats.repelled {
        for seat in &seats.all {
            for other in seat.pods.iter().filter(|p| repels(p)) {
                for t in
                    meta::list(other, &format!("{FAR}/{MUST}")).iter().filter(|t| seats.chosen(t, other, pod))
                {
                    let key = meta::text(t, "/topologyKey");
                    let there = domain(seat.node, key);
                    let hit = |i: &&usize| there.is_some() && domain(seats.all[**i].node, key) == there;
                    strike.extend(among.iter().filter(hit).map(|i| (*i, Misfit::AntiAffinity)));
                }
            }
        }
    }
    for t in meta::list(pod, &format!("{NEAR}/{MUST}")) {
        let full = domains(seats, t, pod);
        // The first of a group that wants to be together may stand anywhere.
        if full.is_empty() && seats.chosen(t, pod, pod) {
            continue;
        }
        let key = meta::text(t, "/topologyKey");
        let miss = |i: &&usize| domain(seats.all[**i].node, key).is_none_or(|d| !full.contains_key(d));
        strike.extend(among.iter().filter(miss).map(|i| (*i, Misfit::PodAffinity)));
    }
    strike
}

/// How many chosen pods stand in each domain of a term's topology.
fn domains<'a>(seats: &'a Seats<'_>, term: &Value, pod: &Value) -> HashMap<&'a str, i64> {
    let key = meta::text(term, "/topologyKey");
    let mut out = HashMap::new();
    for seat in &seats.all {
        if let Some(d) = domain(seat.node, key) {
            let n = seat.pods.iter().filter(|p| seats.chosen(term, pod, p)).count();
            if n > 0 {
                *out.entry(d).or_default() += i64::try_from(n).unwrap_or(0);
            }
        }
    }
    out
}

/// Strikes off the nodes on which the pod would break a `DoNotSchedule` spread constraint.
pub(super) fn spread(seats: &Seats<'_>, pod: &Value, among: &[usize]) -> Vec<(usize, Misfit)> {
    let mut strike = Vec::new();
    for c in meta::list(pod, "/spec/topologySpreadConstraints") {
        if meta::text(c, "/whenUnsatisfiable") == "ScheduleAnyway" {
            continue;
        }
        let (key, most) = (meta::text(c, "/topologyKey"), meta::int(c, "/maxSkew").unwrap_or(1));
        let counts = spread_counts(seats, c, pod);
        let few = meta::int(c, "/minDomains").is_some_and(|m| m > i64::try_from(counts.len()).unwrap_or(0));
        let least = if few { 0 } else { counts.values().copied().min().unwrap_or(0) };
        let own = i64::from(
            Labels::from_selector(c.get("labelSelector"))
                .is_some_and(|l| with_keys(l, c, pod).matches(meta::labels(pod))),
        );
        for i in among {
            let here = domain(seats.all[*i].node, key).map(|d| counts.get(d).copied().unwrap_or(0));
            if here.is_none_or(|n| n + own - least > most) {
                strike.push((*i, Misfit::Spread));
            }
        }
    }
    strike
}

/// Matching pods in each domain that nodes the pod may use make up.
fn spread_counts<'a>(seats: &'a Seats<'_>, c: &Value, pod: &Value) -> BTreeMap<&'a str, i64> {
    let key = meta::text(c, "/topologyKey");
    let labels = Labels::from_selector(c.get("labelSelector")).map(|l| with_keys(l, c, pod));
    let (spec, tolerations) = (&pod["spec"], meta::list(pod, "/spec/tolerations"));
    let mut out = BTreeMap::new();
    for seat in &seats.all {
        let Some(d) = domain(seat.node, key) else { continue };
        let heeds_affinity = meta::text(c, "/nodeAffinityPolicy") != "Ignore";
        let heeds_taints = meta::text(c, "/nodeTaintsPolicy") == "Honor";
        if (heeds_affinity && !wants(spec, seat.node))
            || (heeds_taints && untolerated(tolerations, seat.node, &["NoSchedule", "NoExecute"]).is_some())
        {
            continue;
        }
        let fits = |p: &&&Value| {
            meta::namespace(p) == meta::namespace(pod)
                && !meta::is_deleting(p)
                && labels.as_ref().is_some_and(|l| l.matches(meta::labels(p)))
        };
        *out.entry(d).or_default() += i64::try_from(seat.pods.iter().filter(fits).count()).unwrap_or(0);
    }
    out
}

/// What preferred pod affinity and `ScheduleAnyway` spread say for each node; more is better.
pub(super) fn preferences(seats: &Seats<'_>, pod: &Value, among: &[usize]) -> HashMap<usize, i64> {
    let mut out: HashMap<usize, i64> = HashMap::new();
    for (path, sign) in [(NEAR, 1), (FAR, -1)] {
        for p in meta::list(pod, &format!("{path}/{MAY}")) {
            let (Some(t), Some(w)) = (p.get("podAffinityTerm"), meta::int(p, "/weight")) else { continue };
            let full = domains(seats, t, pod);
            for i in among {
                let n = domain(seats.all[*i].node, meta::text(t, "/topologyKey")).and_then(|d| full.get(d));
                *out.entry(*i).or_default() += sign * w * n.copied().unwrap_or(0);
            }
        }
    }
    for c in meta::list(pod, "/spec/topologySpreadConstraints") {
        if meta::text(c, "/whenUnsatisfiable") == "ScheduleAnyway" {
            let counts = spread_counts(seats, c, pod);
            for i in among {
                let n = domain(seats.all[*i].node, meta::text(c, "/topologyKey")).and_then(|d| counts.get(d));
                *out.entry(*i).or_default() -= n.copied().unwrap_or(0);
            }
        }
    }
    out
}
