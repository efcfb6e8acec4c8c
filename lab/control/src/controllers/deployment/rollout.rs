//! The steps of a rollout, and scaling while nothing rolls or everything does.

use serde_json::Value;

use super::{DESIRED, MAX, Set, Work, annotate};
use crate::controllers::change::controller_uid;
use crate::controllers::pods;
use crate::meta;

impl Work<'_> {
    /// Gives a set this many replicas. Index `None` is the current set.
    fn resize(&mut self, which: Option<usize>, size: i64) {
        let (replicas, max) = (self.replicas, self.replicas + self.surge);
        let Some(s) = (match which {
            Some(i) => self.others.get_mut(i),
            None => self.current.as_mut(),
        }) else {
            return;
        };
        let was = s.size();
        if was == 0 && size == 0 {
            return;
        }
        s.new["spec"]["replicas"] = size.into();
        annotate(&mut s.new, DESIRED, &replicas.to_string());
        annotate(&mut s.new, MAX, &max.to_string());
        if was != size {
            let way = if size > was { "up" } else { "down" };
            let say = format!("Scaled {way} replica set {} from {was} to {size}", s.name());
            self.tell("ScalingReplicaSet", say);
        }
    }

    /// Whether the number of replicas asked for changed since the sets were last sized.
    pub(super) fn scaled_from_outside(&self) -> bool {
        let differs = |s: &Set<'_>| {
            s.size() > 0
                && meta::annotation(s.old, DESIRED)
                    .parse::<i64>()
                    .is_ok_and(|desired| desired != self.replicas)
        };
        self.create.is_none() && self.others.iter().chain(&self.current).any(differs)
    }

    /// One step of a rolling update: first more of the new, else fewer of the old.
    pub(super) fn roll(&mut self) {
        let Some(size) = self.current.as_ref().map(Set::size) else { return };
        if size > self.replicas {
            return self.resize(None, self.replicas);
        }
        if size < self.replicas {
            let room = self.replicas + self.surge - self.total();
            if room > 0 {
                return self.resize(None, size + room.min(self.replicas - size));
            }
        }
        self.shrink_old();
    }

    fn shrink_old(&mut self) {
        let least = self.replicas - self.unavailable;
        let missing = self.current.as_ref().map_or(0, |s| s.size() - s.available());
        let mut budget = self.total() - least - missing;
        if budget <= 0 {
            return;
        }
        // Pods that never became available are no loss.
        for i in 0..self.others.len() {
            let s = &self.others[i];
            let dead = (s.size() - s.available()).clamp(0, budget);
            if dead > 0 {
                budget -= dead;
                self.resize(Some(i), self.others[i].size() - dead);
            }
        }
        let available: i64 = self.others.iter().chain(&self.current).map(Set::available).sum();
        let mut spare = (available - least).min(budget);
        for i in 0..self.others.len() {
            let n = self.others[i].size().clamp(0, spare.max(0));
            if n > 0 {
                spare -= n;
                self.resize(Some(i), self.others[i].size() - n);
            }
        }
    }

    /// Strategy Recreate: the new ones come when the last of the old ones is gone.
    pub(super) fn recreate(&mut self, all: &[&Value]) {
        for i in 0..self.others.len() {
            self.resize(Some(i), 0);
        }
        let running = self
            .others
            .iter()
            .any(|s| all.iter().any(|p| controller_uid(p) == meta::uid(s.old) && !pods::is_over(p)));
        if !running {
            self.resize(None, self.replicas);
        }
    }

    /// Follows a change of `spec.replicas`: all to the one living set, or to all in proportion while several live.
    pub(super) fn scale(&mut self) {
        let living: Vec<Option<usize>> = (0..self.others.len())
            .filter(|i| self.others[*i].size() > 0)
            .map(Some)
            .chain(self.current.as_ref().filter(|s| s.size() > 0).map(|_| None))
            .collect();
        let newest =
            if self.current.is_some() { Some(None) } else { self.others.len().checked_sub(1).map(Some) };
        let one = match living.as_slice() {
            [] => newest,
            [one] => Some(*one),
            _ => None,
        };
        if let Some(which) = one {
            return self.resize(which, self.replicas);
        }
        if self.current.as_ref().is_some_and(|s| s.size() == self.replicas && s.available() == self.replicas)
        {
            for i in 0..self.others.len() {
                self.resize(Some(i), 0);
            }
            return;
        }
        let allowed = if self.replicas > 0 { self.replicas + self.surge } else { 0 };
        let total = self.total();
        let mut left = allowed - total;
        let size = |w: &Self, which: Option<usize>| {
            which.map_or_else(|| w.current.as_ref().map_or(0, Set::size), |i| w.others[i].size())
        };
        let mut order = living;
        // The largest takes first when growing; the oldest gives first when shrinking.
        order.sort_by_key(|x| (if left > 0 { -size(self, *x) } else { 0 }, x.is_none(), *x));
        let mut sizes: Vec<i64> = order.iter().map(|x| size(self, *x)).collect();
        for n in &mut sizes {
            let share = (*n * allowed + total / 2) / total.max(1) - *n;
            let share = if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0) };
            *n += share;
            left -= share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + left).max(0);
        }
        for (which, n) in order.into_iter().zip(sizes) {
            self.resize(which, n);
        }
    }
}
