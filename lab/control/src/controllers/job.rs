//! Jobs: pods until enough of them have succeeded, or too many have failed.
//!
//! Indexed completion and pod failure policies are not heeded.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::change::{
    Change, Decision, condition, controller_uid, later, owned_by, shelf, stamp, status_change, time_at,
};
use super::pods;
use crate::meta;

const ME: (&str, &str) = ("batch/v1", "Job");
/// The delay after a failure doubles from this to the second, in seconds.
const DELAY: (i64, i64) = (10, 360);

/// What to do for a job, given the pods of its namespace.
pub fn decide(job: &Value, all: &[&Value], now: Timestamp) -> Decision {
    let mut d = Decision::default();
    if meta::is_deleting(job) {
        return d;
    }
    let own: Vec<&Value> = all.iter().copied().filter(|p| controller_uid(p) == meta::uid(job)).collect();
    if let Some(end) = finished(job) {
        if let Some(t) = meta::int(job, "/spec/ttlSecondsAfterFinished").map(|s| later(end, s)) {
            if t <= now {
                d.push(Change::delete(shelf::JOBS, job));
            } else {
                d.again_at(Some(t));
            }
        }
        return d;
    }
    let phase = |p: &Value, want: &str| meta::text(p, "/status/phase") == want;
    let succeeded = count(&own, |p| phase(p, "Succeeded"));
    let failed = count(&own, |p| phase(p, "Failed"));
    let active: Vec<&Value> = own.iter().copied().filter(|p| pods::is_active(p)).collect();
    let parallel = meta::int(job, "/spec/parallelism").unwrap_or(1).max(0);
    let goal = meta::int(job, "/spec/completions");
    let running = i64::try_from(active.len()).unwrap_or(0);
    let started = time_at(job, "/status/startTime").unwrap_or(now);
    let deadline = meta::int(job, "/spec/activeDeadlineSeconds").map(|s| later(started, s));
    let done = match goal {
        Some(n) => succeeded >= n,
        None => succeeded > 0 && running == 0,
    };
    let fail = if failed > meta::int(job, "/spec/backoffLimit").unwrap_or(6) {
        Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if deadline.is_some_and(|t| t <= now) {
        Some(("DeadlineExceeded", "Job was active longer than specified deadline"))
    } else {
        None
    };
    let suspended = meta::flag(job, "/spec/suspend");
    let mut conditions: Vec<Value> = Vec::new();
    if done {
        let say = "Reached expected number of succeeded pods";
        conditions.push(condition(None, "SuccessCriteriaMet", "True", "CompletionsReached", say, now));
        conditions.push(condition(None, "Complete", "True", "CompletionsReached", say, now));
        d.push(Change::tell(job, ME, false, "Completed", "Job completed".into(), "job-controller"));
    } else if let Some((reason, say)) = fail {
        conditions.push(condition(None, "Failed", "True", reason, say, now));
        d.push(Change::tell(job, ME, true, reason, say.into(), "job-controller"));
    }
    let want = if done || fail.is_some() || suspended {
        0
    } else {
        // A queue of unknown length gets no more pods once one of them has succeeded.
        goal.map_or(if succeeded > 0 { running } else { parallel }, |n| parallel.min(n - succeeded))
    };
    let mut worst = active.clone();
    pods::worst_first(&mut worst);
    let surplus = usize::try_from(running - want).unwrap_or(0);
    d.changes.extend(worst.iter().take(surplus).map(|p| Change::delete(shelf::PODS, p)));
    let ready_again = own.iter().filter(|p| phase(p, "Failed")).filter_map(|p| ended(p)).max().map(|t| {
        let doubled = DELAY.0.saturating_mul(1 << (failed - 1).clamp(0, 16));
        later(t, doubled.min(DELAY.1))
    });
    match ready_again {
        Some(t) if t > now && want > running => d.again_at(Some(t)),
        _ => {
            for _ in running..want {
                d.push(Change::Create { shelf: shelf::PODS, object: pod(job) });
            }
        }
    }
    if want > 0 {
        d.again_at(deadline);
    }
    let mut s = Map::new();
    if !suspended {
        s.insert("startTime".into(), stamp(started).into());
    }
    let ready = count(&active, pods::is_ready);
    let shown = if want == 0 { 0 } else { running };
    for (k, n) in [("active", shown), ("succeeded", succeeded), ("failed", failed)] {
        if n > 0 {
            s.insert(k.into(), n.into());
        }
    }
    s.insert("ready".into(), if want == 0 { 0 } else { ready }.into());
    s.insert("terminating".into(), count(&own, |p| meta::is_deleting(p) && !pods::is_over(p)).into());
    s.insert("uncountedTerminatedPods".into(), json!({}));
    if done {
        s.insert("completionTime".into(), stamp(now).into());
    }
    if !conditions.is_empty() {
        s.insert("conditions".into(), conditions.into());
    }
    d.changes.extend(status_change(shelf::JOBS, job, s));
    d
}

fn count(all: &[&Value], f: impl Fn(&Value) -> bool) -> i64 {
    i64::try_from(all.iter().filter(|p| f(p)).count()).unwrap_or(0)
}

/// When the job ended, if it has.
fn finished(job: &Value) -> Option<Timestamp> {
    ["Complete", "Failed"].iter().find(|k| meta::is_true(job, k)).and_then(|k| {
        meta::condition(job, k)
            .and_then(|c| time_at(c, "/lastTransitionTime"))
            .or(Some(Timestamp::UNIX_EPOCH))
    })
}

/// When a pod ended.
fn ended(pod: &Value) -> Option<Timestamp> {
    meta::list(pod, "/status/containerStatuses")
        .iter()
        .filter_map(|c| time_at(c, "/state/terminated/finishedAt"))
        .max()
        .or_else(|| meta::condition(pod, "Ready").and_then(|c| time_at(c, "/lastTransitionTime")))
}

fn pod(job: &Value) -> Value {
    let mut pod = pods::from_template(job, owned_by(job, ME.0, ME.1));
    let labels = meta::dig(&mut pod, &["metadata", "labels"]);
    for key in ["batch.kubernetes.io/job-name", "job-name"] {
        labels.insert(key.into(), meta::name(job).into());
    }
    for key in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
        labels.insert(key.into(), meta::uid(job).into());
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::world::{World, named};

    fn world(spec: Value) -> World {
        let mut j = named("Job", "j", json!({"spec": spec}));
        j["spec"]["template"] =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never"}});
        let mut w = World::new();
        w.put(shelf::JOBS, j);
        w
    }

    fn round(w: &mut World) -> Option<Timestamp> {
        let d = decide(&w.get(shelf::JOBS, "j"), &w.list(shelf::PODS), w.now);
        let again = d.again;
        w.take(d);
        again
    }

    /// All pods that still run end in this phase.
    fn end(w: &mut World, phase: &str) {
        let all: Vec<Value> =
            w.list(shelf::PODS).into_iter().filter(|p| pods::is_active(p)).cloned().collect();
        for mut p in all {
            p["spec"]["nodeName"] = "n1".into();
            p["status"] = json!({"phase": phase,
                "containerStatuses": [{"state": {"terminated": {"finishedAt": stamp(w.now)}}}]});
            w.put(shelf::PODS, p);
        }
    }

    fn running(w: &World) -> usize {
        w.list(shelf::PODS).iter().filter(|p| pods::is_active(p)).count()
    }

    #[test]
    fn five_completions_two_at_a_time() {
        let mut w = world(json!({"completions": 5, "parallelism": 2}));
        for want in [2, 2, 1] {
            round(&mut w);
            assert_eq!(running(&w), want);
            end(&mut w, "Succeeded");
        }
        round(&mut w);
        let j = w.get(shelf::JOBS, "j");
        assert_eq!(
            (running(&w), meta::int(&j, "/status/succeeded"), meta::is_true(&j, "Complete")),
            (0, Some(5), true)
        );
        round(&mut w);
        assert_eq!(w.get(shelf::JOBS, "j"), j, "at rest");
    }

    #[test]
    fn failures_are_tried_again_later_and_later_until_the_limit() {
        let mut w = world(json!({"completions": 1, "parallelism": 1, "backoffLimit": 2}));
        for delay in [10, 20] {
            round(&mut w);
            assert_eq!(running(&w), 1);
            end(&mut w, "Failed");
            assert_eq!(round(&mut w), Some(later(w.now, delay)));
            assert_eq!(running(&w), 0);
            w.pass(delay);
        }
        round(&mut w);
        end(&mut w, "Failed");
        round(&mut w);
        let j = w.get(shelf::JOBS, "j");
        assert_eq!(
            meta::condition(&j, "Failed").map(|c| meta::text(c, "/reason")),
            Some("BackoffLimitExceeded")
        );
        assert_eq!((running(&w), meta::int(&j, "/status/failed")), (0, Some(3)));
    }

    #[test]
    fn a_deadline_ends_it_and_its_time_to_live_takes_it_away() {
        let mut w =
            world(json!({"completions": 1, "activeDeadlineSeconds": 5, "ttlSecondsAfterFinished": 7}));
        round(&mut w);
        assert_eq!(round(&mut w), Some(later(w.now, 5)));
        w.pass(5);
        round(&mut w);
        assert_eq!(running(&w), 0);
        let j = w.get(shelf::JOBS, "j");
        assert_eq!(meta::condition(&j, "Failed").map(|c| meta::text(c, "/reason")), Some("DeadlineExceeded"));
        w.pass(7);
        round(&mut w);
        assert!(w.list(shelf::JOBS).is_empty());
    }
}
