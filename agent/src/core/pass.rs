//! A pass: plan what changed, and make the kernel match.

use std::time::Instant;

use pleopod_model::IdentityId;

use super::{Core, EYES_EVERY, Task};
use crate::door::health_checks;
use crate::log::one_line;

impl Core {
    /// Plans and applies what the commands since the last pass touched, then answers those who wait for it.
    pub(super) fn pass(&mut self) {
        if !self.store.is_synced() {
            // What is missing may only be not known yet: nothing is planned, so nothing can be taken away.
            let waiting: Vec<&str> = self.store.waiting_for().iter().map(|k| k.as_str()).collect();
            self.health
                .set("kubernetes", Err(format!("waiting for the first list of {}", waiting.join(", "))));
            return;
        }
        if !self.synced {
            self.health.step("every kind is listed");
            self.refresh_identities();
            if !self.full_pass() {
                return;
            }
            self.health.step("ready");
            self.synced = true;
            self.health.set("kubernetes", Ok("every kind is listed".into()));
        }
        let started = Instant::now();
        let mut changed = 0;
        let mut touched = self.todo.tables || self.todo.all_services;
        let problems = self.todo.changed.problems;
        if std::mem::take(&mut self.todo.all_services) {
            self.todo.changed = Default::default();
            self.services.rebuild(self.store.intent(), &self.facts);
            changed += self.hands.services(self.services.frontends(), None);
        } else if let Some(frontends) = self.take_service_changes() {
            touched = true;
            changed += self.hands.services(self.services.frontends(), Some(&frontends));
        }
        if std::mem::take(&mut self.todo.tables) {
            self.save_waiting();
            let mut planned = pleopod_plan::plan_without_services(self.store.intent(), &self.facts);
            changed += self.hands.converge_tables(&planned.desired);
            let pods = self.facts.local.len();
            let answers = self.open_waiting();
            if self.facts.local.len() < pods {
                // A pod was refused and is gone again; it must not get a route.
                planned = pleopod_plan::plan_without_services(self.store.intent(), &self.facts);
            }
            changed += self.hands.converge_routes(&planned.desired);
            self.desired = planned.desired;
            answers.into_iter().for_each(|answer| answer());
            self.planned_problems = planned.problems;
            self.task(Task::Publish);
        }
        if touched {
            self.order_health_checks();
        }
        if touched || problems {
            self.settle_problems();
        }
        if touched {
            self.eyes_stale.get_or_insert(Instant::now() + EYES_EVERY);
            self.say_how_it_went();
        }
        if changed > 0 {
            tracing::debug!(changed, took = ?started.elapsed(), "pass");
        }
    }

    /// Reads the kernel anew and compares everything. `false` when it can't be read: then nothing is written either.
    pub(super) fn full_pass(&mut self) -> bool {
        if let Err(error) = self.hands.reload() {
            self.health.set("datapath", Err(format!("reading the kernel: {}", one_line(&error))));
            return false;
        }
        self.forget_vanished();
        self.services.rebuild(self.store.intent(), &self.facts);
        self.todo.changed = Default::default();
        let planned = pleopod_plan::plan_without_services(self.store.intent(), &self.facts);
        let mut changed = self.hands.converge_tables(&planned.desired);
        changed += self.hands.services(self.services.frontends(), None);
        if !self.synced {
            self.health.step("tables are filled");
        }
        if !self.synced
            && let Err(error) = self.hands.attach()
        {
            self.broken = Some(error.context("attaching the programs"));
            return false;
        }
        changed += self.hands.converge_routes(&planned.desired);
        self.desired = planned.desired;
        self.planned_problems = planned.problems;
        self.order_health_checks();
        self.settle_problems();
        if changed > 0 {
            tracing::info!(changed, "full pass put rows right");
        }
        self.eyes_stale.get_or_insert(Instant::now());
        self.task(Task::Publish);
        self.health.set("datapath", Ok("programs are attached, tables are kept in step".into()));
        self.say_how_it_went();
        true
    }

    /// Has the async side answer at health check node ports what is true now.
    fn order_health_checks(&mut self) {
        let checks = self.services.health_checks();
        if checks != self.health_checks {
            self.health_checks.clone_from(&checks);
            self.task(Task::HealthChecks(checks));
        }
    }

    /// Brings together what the plan, the Services and single objects complain of, and tells what is new.
    fn settle_problems(&mut self) {
        let mut problems = self.planned_problems.clone();
        problems.extend(self.services.problems());
        problems.extend(self.store.problems().cloned());
        let unheard = self.unheard.iter();
        problems.extend(unheard.filter_map(|(port, why)| {
            let check = self.health_checks.get(port)?;
            Some(health_checks::problem(check, *port, why))
        }));
        problems.sort();
        problems.dedup();
        if problems != self.problems {
            for problem in problems.iter().filter(|p| !self.problems.contains(p)) {
                tracing::warn!(%problem, "problem");
            }
            self.problems = problems;
            self.task(Task::Report(self.problems.clone()));
        }
    }

    /// Rows that failed are told, and do not make the agent unready: a route to one node that can't be reached is no
    /// reason to refuse pods. A pod whose own rows fail is refused by itself.
    pub(super) fn say_how_it_went(&mut self) {
        let failed = self.hands.failed();
        let outcome = match failed.first() {
            None => Ok("the kernel holds what it should".to_owned()),
            Some(row) => {
                let more = if failed.len() > 1 {
                    format!(" and {} more rows", failed.len() - 1)
                } else {
                    String::new()
                };
                let why = match &row.state {
                    pleopod_model::observed::RowState::Error(why) => why.as_str(),
                    pleopod_model::observed::RowState::Sync => "",
                };
                Err(format!("{} {}: {why}{more}; tried again every 30 s", row.table, row.key))
            }
        };
        self.health.set("tables", outcome);
    }

    /// Pods whose labels changed get another identity.
    pub(super) fn refresh_identities(&mut self) {
        let pods: Vec<_> =
            self.ipam.leases().map(|l| (l.attachment.clone(), l.pod.clone(), l.identity)).collect();
        for (attachment, pod, had) in pods {
            let Some(labels) = self.security_labels(&pod) else { continue };
            match self.store.identity_of(&labels) {
                Some(identity) if identity == had => {}
                Some(identity) => self.set_identity(&attachment, identity),
                None if had != IdentityId::INIT
                    && self.store.mark_of(had).is_none()
                    && self.labels_of(had) == labels => {}
                // Not there yet, or marked as unused: claiming it says otherwise.
                None => self.claim(labels),
            }
        }
    }
}
