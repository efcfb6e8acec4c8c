//! Deployments, ReplicaSets, DaemonSets, StatefulSets and Jobs.

use serde_json::{Value, json};

use super::pod;
use crate::error::FieldError;
use crate::meta::{self, default, dig, int, labels, map, text};
use crate::select::Labels;

/// Fills in a workload and its pod template.
pub fn defaults(plural: &str, v: &mut Value) {
    pod::template_defaults(dig(v, &["spec", "template", "spec"]));
    dig(v, &["spec", "template", "metadata"]);
    let spec = map(v, "spec");
    if plural != "daemonsets" {
        default(spec, "replicas", 1);
    }
    match plural {
        "deployments" => {
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            let s = map(&mut v["spec"], "strategy");
            default(s, "type", "RollingUpdate");
            if s.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                let r = dig(v, &["spec", "strategy", "rollingUpdate"]);
                default(r, "maxSurge", "25%");
                default(r, "maxUnavailable", "25%");
            }
        }
        "daemonsets" => {
            default(spec, "revisionHistoryLimit", 10);
            let s = map(&mut v["spec"], "updateStrategy");
            default(s, "type", "RollingUpdate");
            if s.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                let r = dig(v, &["spec", "updateStrategy", "rollingUpdate"]);
                default(r, "maxSurge", 0);
                default(r, "maxUnavailable", 1);
            }
        }
        "statefulsets" => {
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "podManagementPolicy", "OrderedReady");
            let s = map(&mut v["spec"], "updateStrategy");
            default(s, "type", "RollingUpdate");
            if s.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                default(dig(v, &["spec", "updateStrategy", "rollingUpdate"]), "partition", 0);
            }
        }
        _ => {}
    }
    map(v, "status");
}

/// Fills in a Job.
pub fn job(v: &mut Value) {
    pod::template_defaults(dig(v, &["spec", "template", "spec"]));
    let spec = map(v, "spec");
    default(spec, "completions", 1);
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", 6);
    if v.pointer("/spec/selector").is_some_and(|s| !s.is_null()) || meta::uid(v).is_empty() {
        return;
    }
    let (uid, name) = (meta::uid(v).to_owned(), meta::name(v).to_owned());
    dig(v, &["spec", "selector", "matchLabels"])
        .insert("batch.kubernetes.io/controller-uid".into(), uid.clone().into());
    let labels = dig(v, &["spec", "template", "metadata", "labels"]);
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels.insert(key.into(), value.clone().into());
    }
}

/// The rules of a workload.
pub fn check(plural: &str, old: Option<&Value>, v: &Value, errors: &mut Vec<FieldError>) {
    pod::spec_check("spec.template.spec", &v["spec"]["template"]["spec"], errors);
    if let Some(n) = int(v, "/spec/replicas").filter(|n| *n < 0) {
        errors.push(FieldError::invalid("spec.replicas", &n.into(), "must be greater than or equal to 0"));
    }
    if plural == "replicationcontrollers" {
        return;
    }
    let selector = v.pointer("/spec/selector");
    match Labels::from_selector(selector) {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(s) if s.0.is_empty() => {
            errors.push(FieldError::invalid(
                "spec.selector",
                &json!({}),
                "empty selector is invalid for deployment",
            ));
        }
        Some(s) => {
            let template = &v["spec"]["template"];
            if !s.matches(labels(template)) {
                let have = template.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
                errors.push(FieldError::invalid(
                    "spec.template.metadata.labels",
                    &have,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
    if let Some(old) = old
        && old.pointer("/spec/selector") != selector
    {
        let shown = selector.cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid("spec.selector", &shown, "field is immutable"));
    }
    if text(v, "/spec/template/spec/restartPolicy") != "Always" {
        let got = text(v, "/spec/template/spec/restartPolicy");
        errors.push(FieldError::unsupported("spec.template.spec.restartPolicy", &got.into(), &["Always"]));
    }
}
