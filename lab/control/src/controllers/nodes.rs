//! Nodes: blocks of pod addresses, silence, taints, and pods whose node is gone or bad.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change::{Change, Decision, condition, later, shelf, stamp, time_at};
use super::fit::{NO_NETWORK, NOT_READY, UNREACHABLE, UNSCHEDULABLE, tolerates};
use super::pods;
use crate::meta;

/// How patient the cluster is with its nodes.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Seconds without a heartbeat after which a node counts as silent.
    pub silence: i64,
    /// Seconds after which a pod of a node that does not exist is deleted.
    pub orphan: i64,
}

/// A range addresses of nodes are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address, as a number; IPv4 in the low 32 bits.
    first: u128,
    v6: bool,
    prefix: u8,
    /// Prefix length of a node's block.
    block: u8,
}

// === impl Range ===

impl Range {
    /// Reads ranges with commas between, as `10.244.0.0/16,fd00:10:244::/48`. IPv4 blocks have `block` bits, IPv6
    /// blocks 64 (or the length of the range plus 16, if that is more). What cannot be read is left out.
    pub fn list(text: &str, block: u8) -> Vec<Self> {
        text.split(',').filter_map(|t| Self::parse(t.trim(), block)).collect()
    }

    fn parse(text: &str, block: u8) -> Option<Self> {
        let (first, v6, prefix) = cidr(text)?;
        let block = if v6 { 64.max(prefix.saturating_add(16)).min(128) } else { block.min(32) };
        (block >= prefix).then_some(Self { first, v6, prefix, block })
    }

    /// The lowest block that overlaps none of `used`.
    fn free(&self, used: &[(u128, bool, u8)]) -> Option<String> {
        let bits: u8 = if self.v6 { 128 } else { 32 };
        let step = 1u128.checked_shl(u32::from(bits - self.block)).unwrap_or(u128::MAX);
        let count = 1u128 << (self.block - self.prefix).min(32);
        (0..count).map(|i| self.first + i * step).find_map(|at| {
            let taken = used.iter().any(|(f, v6, p)| *v6 == self.v6 && overlap(*f, *p, at, self.block, bits));
            let ip: IpAddr = if self.v6 {
                Ipv6Addr::from_bits(at).into()
            } else {
                Ipv4Addr::from_bits(u32::try_from(at).ok()?).into()
            };
            (!taken).then(|| format!("{ip}/{}", self.block))
        })
    }
}

fn cidr(text: &str) -> Option<(u128, bool, u8)> {
    let (ip, prefix) = text.split_once('/')?;
    let prefix: u8 = prefix.parse().ok()?;
    let (n, v6, bits) = match ip.parse().ok()? {
        IpAddr::V4(a) => (u128::from(a.to_bits()), false, 32),
        IpAddr::V6(a) => (a.to_bits(), true, 128),
    };
    (prefix <= bits).then(|| (masked(n, prefix, bits), v6, prefix))
}

fn masked(n: u128, prefix: u8, bits: u8) -> u128 {
    let host = u32::from(bits - prefix);
    n.checked_shr(host).unwrap_or(0).checked_shl(host).unwrap_or(0)
}

fn overlap(a: u128, pa: u8, b: u128, pb: u8, bits: u8) -> bool {
    let p = pa.min(pb);
    masked(a, p, bits) == masked(b, p, bits)
}

/// Gives a block of each range to every node that carries none. A block a node already carries is kept and never
/// given to another, even one from outside the ranges.
pub fn blocks(nodes: &[&Value], ranges: &[Range]) -> Decision {
    let mut d = Decision::default();
    let held = |n: &Value| -> Vec<String> {
        let mut all: Vec<String> =
            meta::list(n, "/spec/podCIDRs").iter().filter_map(|c| c.as_str().map(str::to_owned)).collect();
        let one = meta::text(n, "/spec/podCIDR");
        if !one.is_empty() && !all.iter().any(|c| c == one) {
            all.insert(0, one.to_owned());
        }
        all
    };
    let mut used: Vec<(u128, bool, u8)> =
        nodes.iter().flat_map(|n| held(n)).filter_map(|c| cidr(&c)).collect();
    let mut bare: Vec<&Value> =
        nodes.iter().copied().filter(|n| held(n).is_empty() && !meta::is_deleting(n)).collect();
    bare.sort_by_cached_key(|n| {
        (meta::text(n, "/metadata/creationTimestamp").to_owned(), meta::name(n).to_owned())
    });
    for n in bare {
        let Some(given) =
            ranges.iter().map(|r| r.free(&used)).collect::<Option<Vec<_>>>().filter(|g| !g.is_empty())
        else {
            if !ranges.is_empty() {
                let say = "Node has no podCIDR: the cluster CIDR has no free block".to_owned();
                d.push(Change::tell(n, ("v1", "Node"), true, "CIDRNotAvailable", say, "cidrAllocator"));
            }
            continue;
        };
        used.extend(given.iter().filter_map(|c| cidr(c)));
        let mut o = n.clone();
        let spec = meta::map(&mut o, "spec");
        spec.insert("podCIDR".into(), given[0].clone().into());
        spec.insert("podCIDRs".into(), given.into());
        d.push(Change::Update { shelf: shelf::NODES, object: o });
    }
    d
}

/// Says that a node is silent when neither its lease nor its status were renewed in time. A node without a lease is
/// left alone: somebody else writes its status. Before `heard` nobody could be heard.
pub fn heartbeat(
    node: &Value,
    lease: Option<&Value>,
    heard: Timestamp,
    p: Patience,
    now: Timestamp,
) -> Decision {
    let mut d = Decision::default();
    let Some(renewed) = lease.and_then(|l| time_at(l, "/spec/renewTime")) else { return d };
    let ready = meta::condition(node, "Ready");
    let beat = ready.and_then(|c| time_at(c, "/lastHeartbeatTime")).map_or(renewed, |t| t.max(renewed));
    let due = later(beat.max(heard), p.silence);
    if due > now {
        d.again_at(Some(due));
        return d;
    }
    if ready.is_some_and(|c| meta::text(c, "/status") == "Unknown") {
        return d;
    }
    let mut o = node.clone();
    let status = meta::map(&mut o, "status");
    let mut all = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let at = all.iter().position(|c| meta::text(c, "/type") == kind);
        if at.is_none() && kind != "Ready" {
            continue;
        }
        let say = "Kubelet stopped posting node status.";
        let old = at.map(|i| &all[i]);
        let mut c = condition(old, kind, "Unknown", "NodeStatusUnknown", say, now);
        c["lastHeartbeatTime"] =
            old.and_then(|o| o.get("lastHeartbeatTime")).cloned().unwrap_or(stamp(beat).into());
        match at {
            Some(i) => all[i] = c,
            None => all.push(c),
        }
    }
    status.insert("conditions".into(), all.into());
    d.push(Change::UpdateStatus { shelf: shelf::NODES, object: o });
    let say = format!("Node {} status is now: NodeNotReady", meta::name(node));
    d.push(Change::tell(node, ("v1", "Node"), false, "NodeNotReady", say, "node-controller"));
    d
}

/// Writes the taints that follow from a node's conditions, and no others.
pub fn taints(node: &Value, now: Timestamp) -> Option<Change> {
    let is = |kind: &str, want: &str| {
        meta::condition(node, kind).is_some_and(|c| meta::text(c, "/status") == want)
    };
    let ready = meta::condition(node, "Ready");
    let unknown = is("Ready", "Unknown");
    let not_ready = !unknown && !is("Ready", "True");
    let rules = [
        (NOT_READY, "NoSchedule", not_ready),
        // A node that was never ready throws nothing out.
        (NOT_READY, "NoExecute", not_ready && ready.is_some()),
        (UNREACHABLE, "NoSchedule", unknown),
        (UNREACHABLE, "NoExecute", unknown),
        (UNSCHEDULABLE, "NoSchedule", meta::flag(node, "/spec/unschedulable")),
        (NO_NETWORK, "NoSchedule", is("NetworkUnavailable", "True")),
        ("node.kubernetes.io/memory-pressure", "NoSchedule", is("MemoryPressure", "True")),
        ("node.kubernetes.io/disk-pressure", "NoSchedule", is("DiskPressure", "True")),
        ("node.kubernetes.io/pid-pressure", "NoSchedule", is("PIDPressure", "True")),
    ];
    let old = meta::list(node, "/spec/taints");
    let mut new = old.to_vec();
    for (key, effect, want) in rules {
        let at = new.iter().position(|t| meta::text(t, "/key") == key && meta::text(t, "/effect") == effect);
        match (at, want) {
            (None, true) => {
                let mut t = json!({"key": key, "effect": effect});
                if effect == "NoExecute" {
                    t["timeAdded"] = stamp(now).into();
                }
                new.push(t);
            }
            (Some(i), false) => {
                new.remove(i);
            }
            _ => {}
        }
    }
    if new == old {
        return None;
    }
    let mut o = node.clone();
    let spec = meta::map(&mut o, "spec");
    if new.is_empty() {
        spec.shift_remove("taints");
    } else {
        spec.insert("taints".into(), new.into());
    }
    Some(Change::Update { shelf: shelf::NODES, object: o })
}

/// What the state of a node means for the pods on it: a silent node's pods are not ready, and `NoExecute` taints throw
/// out what does not bear them, or no longer does.
pub fn tenants(node: &Value, here: &[&Value], now: Timestamp) -> Decision {
    let mut d = Decision::default();
    let silent = meta::condition(node, "Ready").is_some_and(|c| meta::text(c, "/status") == "Unknown");
    let taints: Vec<&Value> =
        meta::list(node, "/spec/taints").iter().filter(|t| meta::text(t, "/effect") == "NoExecute").collect();
    for pod in here {
        if silent && pods::is_ready(pod) {
            let mut o = (*pod).clone();
            if let Some(all) = meta::map(&mut o, "status").get_mut("conditions").and_then(Value::as_array_mut)
                && let Some(c) = all.iter_mut().find(|c| meta::text(c, "/type") == "Ready")
            {
                *c = condition(Some(&c.clone()), "Ready", "False", "NodeNotReady", "", now);
            }
            d.push(Change::UpdateStatus { shelf: shelf::PODS, object: o });
        }
        if meta::is_deleting(pod) || pods::is_over(pod) || taints.is_empty() {
            continue;
        }
        let mut end: Option<Timestamp> = None;
        for t in &taints {
            let (k, v) = (meta::text(t, "/key"), meta::text(t, "/value"));
            let bearing =
                meta::list(pod, "/spec/tolerations").iter().filter(|x| tolerates(x, k, v, "NoExecute"));
            let limits: Vec<Option<i64>> = bearing.map(|x| meta::int(x, "/tolerationSeconds")).collect();
            let from = time_at(t, "/timeAdded").unwrap_or(now);
            let until = match (limits.is_empty(), limits.iter().flatten().min()) {
                (true, _) => Some(now),
                (false, Some(s)) => Some(later(from, (*s).max(0))),
                (false, None) => None,
            };
            end = match (end, until) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        match end {
            Some(t) if t <= now => {
                d.push(Change::delete(shelf::PODS, pod));
                let say = format!("Marking for deletion Pod {}/{}", meta::namespace(pod), meta::name(pod));
                d.push(Change::tell(
                    pod,
                    ("v1", "Pod"),
                    false,
                    "TaintManagerEviction",
                    say,
                    "taint-eviction-controller",
                ));
            }
            t => d.again_at(t),
        }
    }
    d
}

/// Deletes pods whose node does not exist. `missing` remembers since when each node name is missing.
pub fn orphans(
    all: &[&Value],
    nodes: &[&Value],
    missing: &mut HashMap<String, Timestamp>,
    p: Patience,
    now: Timestamp,
) -> Decision {
    let mut d = Decision::default();
    let there: std::collections::HashSet<&str> = nodes.iter().map(|n| meta::name(n)).collect();
    let lost: Vec<&&Value> =
        all.iter().filter(|p| !pods::node(p).is_empty() && !there.contains(pods::node(p))).collect();
    missing.retain(|n, _| lost.iter().any(|p| pods::node(p) == n));
    for pod in lost {
        let since = *missing.entry(pods::node(pod).to_owned()).or_insert(now);
        let due = later(since, p.orphan);
        if due <= now {
            d.push(Change::delete_in(shelf::PODS, pod, Some(0)));
        } else {
            d.again_at(Some(due));
        }
    }
    d
}

#[cfg(test)]
mod tests;
