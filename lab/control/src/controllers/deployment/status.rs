//! The status of a deployment, which `kubectl rollout status` reads.

use serde_json::{Map, Value};

use super::{Set, Work};
use crate::controllers::change::{condition, later, stamp, time_at};
use crate::meta;

impl Work<'_> {
    /// The new status; `made` is the set just asked for.
    pub(super) fn status(&mut self, made: Option<&Value>, _pods: &[&Value]) -> Map<String, Value> {
        let sum = |key: &str| -> i64 {
            let p = format!("/status/{key}");
            self.others.iter().chain(&self.current).map(|s| meta::int(s.old, &p).unwrap_or(0)).sum()
        };
        let (replicas, ready, available) = (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
        let updated = self.current.as_ref().and_then(|s| meta::int(s.old, "/status/replicas")).unwrap_or(0);
        let asked = self.total() + made.and_then(|m| meta::int(m, "/spec/replicas")).unwrap_or(0);
        let unavailable = (asked - available).max(0);
        let mut s = Map::new();
        s.insert(
            "observedGeneration".into(),
            meta::int(self.deploy, "/metadata/generation").unwrap_or(1).into(),
        );
        let counts = [
            ("replicas", replicas),
            ("updatedReplicas", updated),
            ("readyReplicas", ready),
            ("availableReplicas", available),
            ("unavailableReplicas", unavailable),
        ];
        for (key, n) in counts {
            if n > 0 {
                s.insert(key.into(), n.into());
            }
        }
        if let Some(c) = self.deploy.pointer("/status/collisionCount") {
            s.insert("collisionCount".into(), c.clone());
        }
        let complete = updated == self.replicas
            && replicas == self.replicas
            && available == self.replicas
            && self.current.as_ref().is_some_and(|c| c.size() == self.replicas)
            && self.others.iter().all(|o| o.size() == 0);
        let mut conditions = vec![self.available(available), self.progressing(made, &s, complete)];
        conditions.extend(
            meta::list(self.deploy, "/status/conditions")
                .iter()
                .filter(|c| !matches!(meta::text(c, "/type"), "Available" | "Progressing"))
                .cloned(),
        );
        s.insert("conditions".into(), conditions.into());
        s
    }

    fn available(&self, available: i64) -> Value {
        let (status, reason, message) = if available >= self.replicas - self.unavailable {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        self.dated("Available", status, reason, message, false)
    }

    fn progressing(&mut self, made: Option<&Value>, new: &Map<String, Value>, complete: bool) -> Value {
        let old = meta::condition(self.deploy, "Progressing");
        let name = made.map_or_else(|| self.current.as_ref().map_or("", Set::name), meta::name).to_owned();
        if meta::flag(self.deploy, "/spec/paused") {
            return self.dated("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", false);
        }
        if complete {
            let say = format!("ReplicaSet {name:?} has successfully progressed.");
            return self.dated("Progressing", "True", "NewReplicaSetAvailable", &say, false);
        }
        if made.is_some() {
            let say = format!("Created new replica set {name:?}");
            return self.dated("Progressing", "True", "NewReplicaSetCreated", &say, true);
        }
        let count = |key: &str| {
            let was = meta::int(self.deploy, &format!("/status/{key}")).unwrap_or(0);
            (was, new.get(key).and_then(Value::as_i64).unwrap_or(0))
        };
        let ((u0, u1), (r0, r1), (a0, a1)) =
            (count("updatedReplicas"), count("readyReplicas"), count("availableReplicas"));
        let (t0, t1) = count("replicas");
        let moved = u1 > u0 || r1 > r0 || a1 > a0 || (t1 - u1) < (t0 - u0);
        let was = old.map_or("", |o| meta::text(o, "/reason"));
        let say = format!("ReplicaSet {name:?} is progressing.");
        let Some(old) = old.filter(|_| was != "NewReplicaSetAvailable" || t1 == u1) else {
            return self.dated("Progressing", "True", "ReplicaSetUpdated", &say, true);
        };
        if was == "NewReplicaSetAvailable" {
            return old.clone();
        }
        if moved {
            return self.dated("Progressing", "True", "ReplicaSetUpdated", &say, true);
        }
        if was == "ProgressDeadlineExceeded" {
            return old.clone();
        }
        let limit = meta::int(self.deploy, "/spec/progressDeadlineSeconds").unwrap_or(600);
        let since = time_at(old, "/lastUpdateTime").unwrap_or(self.now);
        if later(since, limit) <= self.now {
            let say = format!("ReplicaSet {name:?} has timed out progressing.");
            return self.dated("Progressing", "False", "ProgressDeadlineExceeded", &say, true);
        }
        self.d.again_at(Some(later(since, limit)));
        old.clone()
    }

    /// A condition; `lastUpdateTime` is now when something moved or the words changed.
    fn dated(&self, kind: &str, status: &str, reason: &str, message: &str, moved: bool) -> Value {
        let old = meta::condition(self.deploy, kind);
        let mut c = condition(old, kind, status, reason, message, self.now);
        let kept = old
            .filter(|o| !moved && meta::text(o, "/status") == status && meta::text(o, "/reason") == reason)
            .map(|o| meta::text(o, "/lastUpdateTime"))
            .filter(|t| !t.is_empty());
        c["lastUpdateTime"] = kept.map_or_else(|| stamp(self.now), str::to_owned).into();
        c
    }
}
