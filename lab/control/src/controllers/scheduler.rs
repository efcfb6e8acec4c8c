//! The scheduler: a node for each pod that has none.
//!
//! First the nodes that may not have the pod are struck off, each with its reason; then the best of the rest is taken:
//! what the pod likes, then even spread of pods of one owner, then the emptiest node, then the first by name.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::change::{Change, Decision, condition, controller_uid, shelf};
use super::fit::{self, Misfit};
use super::pods;
use crate::meta;
use crate::select::Labels;

mod neighbours;

const ME: (&str, &str) = ("v1", "Pod");

/// A node and what stands on it.
pub struct Seat<'a> {
    node: &'a Value,
    pods: Vec<&'a Value>,
    owners: HashMap<&'a str, i64>,
    cpu: i64,
    memory: i64,
    ports: Vec<(String, i64, String)>,
}

/// Where every pod is, while pods are placed.
pub struct Seats<'a> {
    all: Vec<Seat<'a>>,
    namespaces: HashMap<&'a str, &'a Value>,
    /// Some pod that stands somewhere repels others.
    repelled: bool,
}

/// Places every pod that waits for a node, oldest first. `namespaces` are read by namespace selectors of pod affinity.
pub fn decide(nodes: &[&Value], all: &[&Value], namespaces: &[&Value], now: Timestamp) -> Decision {
    let mut d = Decision::default();
    let mut waiting: Vec<&Value> = all.iter().copied().filter(|p| waits(p)).collect();
    if waiting.is_empty() {
        return d;
    }
    let mut seats = Seats::new(nodes, all, namespaces);
    waiting.sort_by_cached_key(|p| {
        let priority = meta::int(p, "/spec/priority").unwrap_or(0);
        (
            -priority,
            meta::text(p, "/metadata/creationTimestamp").to_owned(),
            meta::rv(p).parse::<u64>().unwrap_or(0),
        )
    });
    for pod in waiting {
        if !meta::list(pod, "/spec/schedulingGates").is_empty() {
            let say = "Scheduling is blocked due to non-empty scheduling gates";
            unscheduled(pod, "SchedulingGated", say, now, &mut d);
            continue;
        }
        match seats.place(pod) {
            Ok(node) => {
                d.push(Change::bind(pod, node));
                let say =
                    format!("Successfully assigned {}/{} to {node}", meta::namespace(pod), meta::name(pod));
                d.push(Change::tell(pod, ME, false, "Scheduled", say, "default-scheduler"));
            }
            Err(say) => {
                if unscheduled(pod, "Unschedulable", &say, now, &mut d) {
                    d.push(Change::tell(pod, ME, true, "FailedScheduling", say, "default-scheduler"));
                }
            }
        }
    }
    d
}

/// Whether a pod needs a node from this scheduler.
pub fn waits(pod: &Value) -> bool {
    pods::node(pod).is_empty()
        && pods::is_active(pod)
        && matches!(meta::text(pod, "/spec/schedulerName"), "" | "default-scheduler")
}

/// Says on the pod why it has no node; gives whether that is news.
fn unscheduled(pod: &Value, reason: &str, say: &str, now: Timestamp, d: &mut Decision) -> bool {
    let old = meta::condition(pod, "PodScheduled");
    if old.is_some_and(|c| meta::text(c, "/reason") == reason && meta::text(c, "/message") == say) {
        return false;
    }
    let mut o = pod.clone();
    let c = condition(old, "PodScheduled", "False", reason, say, now);
    let status = meta::map(&mut o, "status");
    match status.get_mut("conditions").and_then(Value::as_array_mut) {
        Some(all) => match all.iter_mut().find(|c| meta::text(c, "/type") == "PodScheduled") {
            Some(at) => *at = c,
            None => all.push(c),
        },
        None => {
            status.insert("conditions".into(), vec![c].into());
        }
    }
    d.push(Change::UpdateStatus { shelf: shelf::PODS, object: o });
    true
}

// === impl Seat ===

impl<'a> Seat<'a> {
    fn sit(&mut self, pod: &'a Value) {
        let (cpu, memory) = fit::requests(pod);
        (self.cpu, self.memory) = (self.cpu + cpu, self.memory + memory);
        self.ports.extend(fit::host_ports(pod));
        *self.owners.entry(group(pod)).or_default() += 1;
        self.pods.push(pod);
    }

    /// Whether the node itself has room and wants.
    fn allows(&self, pod: &Value) -> Result<(), Misfit> {
        let spec = &pod["spec"];
        if !fit::wants(spec, self.node) {
            return Err(Misfit::Affinity);
        }
        let effects = ["NoSchedule", "NoExecute"];
        if let Some(m) = fit::untolerated(meta::list(spec, "/tolerations"), self.node, &effects) {
            return Err(m);
        }
        let clash = |a: &(String, i64, String), b: &(String, i64, String)| {
            a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || a.0 == "0.0.0.0" || b.0 == "0.0.0.0")
        };
        if fit::host_ports(pod).iter().any(|p| self.ports.iter().any(|q| clash(p, q))) {
            return Err(Misfit::Ports);
        }
        let room = |key: &str| {
            self.node.pointer("/status/allocatable").and_then(|a| a.get(key)).and_then(fit::milli)
        };
        if room("pods").is_some_and(|n| self.pods.len() as i64 >= n / 1000) {
            return Err(Misfit::TooManyPods);
        }
        let (cpu, memory) = fit::requests(pod);
        if cpu > 0 && room("cpu").is_some_and(|n| self.cpu + cpu > n) {
            return Err(Misfit::Room("cpu"));
        }
        if memory > 0 && room("memory").is_some_and(|n| self.memory + memory > n / 1000) {
            return Err(Misfit::Room("memory"));
        }
        Ok(())
    }
}

/// Pods of one group are spread: those of one controller, else those of one namespace.
fn group(pod: &Value) -> &str {
    match controller_uid(pod) {
        "" => meta::namespace(pod),
        uid => uid,
    }
}

// === impl Seats ===

impl<'a> Seats<'a> {
    /// The seats as they are now.
    pub fn new(nodes: &[&'a Value], all: &[&'a Value], namespaces: &[&'a Value]) -> Self {
        let mut by: BTreeMap<&str, Seat<'a>> = BTreeMap::new();
        for node in nodes.iter().filter(|n| !meta::is_deleting(n)) {
            let seat =
                Seat { node, pods: Vec::new(), owners: HashMap::new(), cpu: 0, memory: 0, ports: Vec::new() };
            by.insert(meta::name(node), seat);
        }
        let mut repelled = false;
        for pod in all.iter().filter(|p| !pods::is_over(p)) {
            if let Some(seat) = by.get_mut(pods::node(pod)) {
                seat.sit(pod);
                repelled |= neighbours::repels(pod);
            }
        }
        let namespaces = namespaces.iter().map(|n| (meta::name(n), *n)).collect();
        Self { all: by.into_values().collect(), namespaces, repelled }
    }

    /// Finds a node for a pod and counts the pod there; else says why there is none.
    pub fn place(&mut self, pod: &'a Value) -> Result<&'a str, String> {
        if self.all.is_empty() {
            return Err("no nodes available to schedule pods".into());
        }
        let mut why: BTreeMap<Misfit, usize> = BTreeMap::new();
        let mut left: Vec<usize> = Vec::new();
        for (i, seat) in self.all.iter().enumerate() {
            match seat.allows(pod) {
                Ok(()) => left.push(i),
                Err(m) => *why.entry(m).or_default() += 1,
            }
        }
        let among = left.clone();
        for rule in [neighbours::affinity, neighbours::spread] {
            if left.is_empty() {
                break;
            }
            let strike = rule(self, pod, &among);
            left.retain(|i| match strike.iter().find(|(j, _)| j == i) {
                Some((_, m)) => {
                    *why.entry(m.clone()).or_default() += 1;
                    false
                }
                None => true,
            });
        }
        let lean = neighbours::preferences(self, pod, &left);
        let best = left.iter().copied().min_by_key(|i| {
            let s = &self.all[*i];
            let liked = fit::liked(&pod["spec"], s.node) + lean.get(i).copied().unwrap_or(0);
            (-liked, s.owners.get(group(pod)).copied().unwrap_or(0), s.pods.len(), *i)
        });
        match best {
            Some(i) => {
                self.repelled |= neighbours::repels(pod);
                let seat = &mut self.all[i];
                seat.sit(pod);
                Ok(meta::name(seat.node))
            }
            None => {
                let n = self.all.len();
                let mut say: Vec<String> = why.iter().map(|(m, k)| format!("{k} {m}")).collect();
                say.sort();
                let say = say.join(", ");
                Err(format!(
                    "0/{n} nodes are available: {say}. preemption: 0/{n} nodes are available: {n} Preemption is not \
                     helpful for scheduling."
                ))
            }
        }
    }

    /// Whether a selector with namespaces, as pod affinity has it, chooses a pod.
    fn chosen(&self, term: &Value, of: &Value, other: &Value) -> bool {
        let ns = meta::namespace(other);
        let names = meta::list(term, "/namespaces");
        let by_label = Labels::from_selector(term.get("namespaceSelector"));
        let here = names.iter().any(|n| n.as_str() == Some(ns))
            || by_label
                .as_ref()
                .is_some_and(|l| l.matches(self.namespaces.get(ns).and_then(|n| meta::labels(n))))
            || (names.is_empty() && by_label.is_none() && ns == meta::namespace(of));
        here && Labels::from_selector(term.get("labelSelector"))
            .is_some_and(|l| with_keys(l, term, of).matches(meta::labels(other)))
    }
}

/// Adds what `matchLabelKeys` takes from the pod's own labels.
fn with_keys(mut l: Labels, term: &Value, pod: &Value) -> Labels {
    let labels = meta::labels(pod);
    for k in meta::list(term, "/matchLabelKeys").iter().filter_map(Value::as_str) {
        if let Some(v) = labels.and_then(|l: &Map<String, Value>| l.get(k)) {
            let mut one = Map::new();
            one.insert(k.to_owned(), v.clone());
            l.0.extend(Labels::from_map(&one).0);
        }
    }
    l
}

#[cfg(test)]
mod tests;
