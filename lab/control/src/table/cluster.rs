//! Rows of nodes, events and role bindings.

use serde_json::Value;

use super::age;
use crate::meta::{flag, int, is_true, labels, list, name, text};

/// Headings of a Node.
pub const NODE: &str =
    "Name Status Roles Age Version +Internal-IP +External-IP +OS-Image +Kernel-Version +Container-Runtime";
/// Headings of an Event.
pub const EVENT: &str = "Last_Seen Type Reason Object +Subobject +Source Message +First_Seen +Count:i +Name";

/// Cells of a Node.
pub fn node(v: &Value) -> Vec<Value> {
    let mut status = vec![match crate::meta::condition(v, "Ready") {
        Some(_) if is_true(v, "Ready") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if flag(v, "/spec/unschedulable") {
        status.push("SchedulingDisabled");
    }
    let mut roles: Vec<&str> = labels(v)
        .into_iter()
        .flatten()
        .filter_map(|(k, l)| match k.strip_prefix("node-role.kubernetes.io/") {
            Some(r) if !r.is_empty() => Some(r),
            _ if k == "kubernetes.io/role" => l.as_str(),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    let roles = if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") };
    let address = |kind: &str| {
        list(v, "/status/addresses")
            .iter()
            .find(|a| text(a, "/type") == kind)
            .map_or("<none>", |a| text(a, "/address"))
            .to_owned()
    };
    let info = |p: &str| {
        let s = text(v, &format!("/status/nodeInfo/{p}")).to_owned();
        Value::from(if s.is_empty() { "<unknown>".to_owned() } else { s })
    };
    vec![
        name(v).into(),
        status.join(",").into(),
        roles.into(),
        age(text(v, "/metadata/creationTimestamp")).into(),
        text(v, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

/// Cells of an Event, in its core form.
pub fn event(v: &Value) -> Vec<Value> {
    let about = if v.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
    let at = |p: &str| text(v, &format!("{about}/{p}"));
    let first = [text(v, "/firstTimestamp"), text(v, "/eventTime"), text(v, "/deprecatedFirstTimestamp")];
    let first = first.into_iter().find(|t| !t.is_empty()).unwrap_or("");
    let last =
        [text(v, "/series/lastObservedTime"), text(v, "/lastTimestamp"), text(v, "/deprecatedLastTimestamp")];
    let last = last.into_iter().find(|t| !t.is_empty()).unwrap_or(first);
    let count = int(v, "/series/count").or_else(|| int(v, "/count")).unwrap_or(1);
    let source = match (text(v, "/source/component"), text(v, "/reportingComponent")) {
        ("", "") => text(v, "/reportingController"),
        ("", r) => r,
        (s, _) => s,
    };
    let host = text(v, "/source/host");
    let source = if host.is_empty() { source.to_owned() } else { format!("{source}, {host}") };
    let message = if text(v, "/message").is_empty() { text(v, "/note") } else { text(v, "/message") };
    vec![
        age(last).into(),
        text(v, "/type").into(),
        text(v, "/reason").into(),
        format!("{}/{}", at("kind").to_lowercase(), at("name")).into(),
        at("fieldPath").into(),
        source.into(),
        message.trim().into(),
        age(first).into(),
        count.into(),
        name(v).into(),
    ]
}

/// Cells of a RoleBinding or ClusterRoleBinding.
pub fn binding(v: &Value) -> Vec<Value> {
    let who = |kind: &str| {
        let all: Vec<String> = list(v, "/subjects")
            .iter()
            .filter(|s| text(s, "/kind") == kind)
            .map(|s| match text(s, "/namespace") {
                "" => text(s, "/name").to_owned(),
                ns => format!("{ns}/{}", text(s, "/name")),
            })
            .collect();
        Value::from(all.join(", "))
    };
    vec![
        name(v).into(),
        format!("{}/{}", text(v, "/roleRef/kind"), text(v, "/roleRef/name")).into(),
        age(text(v, "/metadata/creationTimestamp")).into(),
        who("User"),
        who("Group"),
        who("ServiceAccount"),
    ]
}
