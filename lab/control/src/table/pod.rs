//! The row of a pod: what its containers are doing, in one word.

use serde_json::Value;

use super::age;
use crate::meta::{flag, int, is_deleting, list, name, text};

/// Headings of a pod.
pub const COLUMNS: &str = "Name Ready Status Restarts Age +IP +Node +Nominated_Node +Readiness_Gates";

/// Cells of a pod.
pub fn cells(v: &Value) -> Vec<Value> {
    let statuses = list(v, "/status/containerStatuses");
    let total = list(v, "/spec/containers").len();
    let ready = statuses.iter().filter(|s| flag(s, "/ready")).count();
    let none = |s: &str| if s.is_empty() { "<none>".to_owned() } else { s.to_owned() };
    vec![
        name(v).into(),
        format!("{ready}/{total}").into(),
        status(v).into(),
        restarts(statuses).into(),
        age(text(v, "/metadata/creationTimestamp")).into(),
        none(text(v, "/status/podIP")).into(),
        none(text(v, "/spec/nodeName")).into(),
        none(text(v, "/status/nominatedNodeName")).into(),
        gates(v).into(),
    ]
}

fn restarts(statuses: &[Value]) -> String {
    let n: i64 = statuses.iter().filter_map(|s| int(s, "/restartCount")).sum();
    let last =
        statuses.iter().map(|s| text(s, "/lastState/terminated/finishedAt")).filter(|t| !t.is_empty()).max();
    match last {
        Some(t) if n > 0 => format!("{n} ({} ago)", age(t)),
        _ => n.to_string(),
    }
}

fn gates(v: &Value) -> String {
    let gates = list(v, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let up = gates.iter().filter(|g| crate::meta::is_true(v, text(g, "/conditionType"))).count();
    format!("{up}/{}", gates.len())
}

/// The word in the `STATUS` column.
pub fn status(v: &Value) -> String {
    let mut say = text(v, "/status/phase").to_owned();
    let reason = text(v, "/status/reason");
    if !reason.is_empty() {
        say = reason.to_owned();
    }
    for c in list(v, "/status/conditions") {
        if text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated" {
            say = "SchedulingGated".into();
        }
    }
    let inits = list(v, "/spec/initContainers").len();
    let mut initialising = false;
    for (i, s) in list(v, "/status/initContainerStatuses").iter().enumerate() {
        let finished = s.pointer("/state/terminated").is_some();
        if finished && int(s, "/state/terminated/exitCode") == Some(0) || flag(s, "/started") {
            continue;
        }
        say = if finished {
            ended(s, "Init:")
        } else {
            match text(s, "/state/waiting/reason") {
                "" | "PodInitializing" => format!("Init:{i}/{inits}"),
                r => format!("Init:{r}"),
            }
        };
        initialising = true;
        break;
    }
    let mut running = false;
    if !initialising {
        for s in list(v, "/status/containerStatuses").iter().rev() {
            let waiting = text(s, "/state/waiting/reason");
            if !waiting.is_empty() {
                say = waiting.to_owned();
            } else if s.pointer("/state/terminated").is_some() {
                say = ended(s, "");
            } else if flag(s, "/ready") && s.pointer("/state/running").is_some() {
                running = true;
            }
        }
        if say == "Completed" && running {
            say = if crate::meta::is_true(v, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
    if is_deleting(v) {
        if reason == "NodeLost" {
            return "Unknown".into();
        }
        if !matches!(text(v, "/status/phase"), "Succeeded" | "Failed") {
            return "Terminating".into();
        }
    }
    say
}

fn ended(s: &Value, prefix: &str) -> String {
    let reason = text(s, "/state/terminated/reason");
    if !reason.is_empty() {
        return format!("{prefix}{reason}");
    }
    match int(s, "/state/terminated/signal") {
        Some(n) if n != 0 => format!("{prefix}Signal:{n}"),
        _ => format!("{prefix}ExitCode:{}", int(s, "/state/terminated/exitCode").unwrap_or(0)),
    }
}
