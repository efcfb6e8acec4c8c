use serde_json::{Value, json};

use super::*;
use crate::controllers::replicaset;
use crate::controllers::world::{World, named};

fn deploy(replicas: i64, strategy: Value) -> Value {
    named(
        "Deployment",
        "web",
        json!({
            "metadata": {"generation": 1},
            "spec": {
                "replicas": replicas, "strategy": strategy, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
            },
        }),
    )
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn change(w: &mut World, f: impl FnOnce(&mut Value)) {
    let mut d = w.get(shelf::DEPLOYMENTS, "web");
    f(&mut d["spec"]);
    d["metadata"]["generation"] = (meta::int(&d, "/metadata/generation").unwrap_or(1) + 1).into();
    w.put(shelf::DEPLOYMENTS, d);
}

/// One round of both controllers; gives how many changes they made.
fn round(w: &mut World) -> usize {
    let d =
        decide(&w.get(shelf::DEPLOYMENTS, "web"), &w.list(shelf::REPLICA_SETS), &w.list(shelf::PODS), w.now);
    let mut n = w.take(d);
    let names: Vec<String> = w.list(shelf::REPLICA_SETS).iter().map(|r| meta::name(r).to_owned()).collect();
    for name in names {
        let d = replicaset::decide(&w.get(shelf::REPLICA_SETS, &name), &w.list(shelf::PODS), w.now);
        n += w.take(d);
    }
    n
}

fn counts(w: &World) -> (i64, i64) {
    let all = w.list(shelf::PODS);
    let active = all.iter().filter(|p| pods::is_active(p)).count();
    let ready = all.iter().filter(|p| pods::is_active(p) && pods::is_ready(p)).count();
    (active as i64, ready as i64)
}

/// Runs until nothing changes, with kubelets that start `pace` pods a round; checks the bounds at each step.
fn settle(w: &mut World, pace: usize, most: i64, least: i64) {
    for _ in 0..500 {
        let n = round(w);
        let (active, ready) = counts(w);
        assert!(active <= most, "{active} pods, {most} allowed");
        assert!(ready >= least, "{ready} ready, {least} needed");
        let before = w
            .list(shelf::PODS)
            .iter()
            .filter(|p| meta::text(p, "/status/phase") == "Pending" || meta::is_deleting(p))
            .count();
        w.kubelets(pace);
        w.pass(1);
        if n == 0 && before == 0 {
            return;
        }
    }
    panic!("never at rest: {:#?}", w.get(shelf::DEPLOYMENTS, "web")["status"]);
}

fn image(w: &World) -> Vec<String> {
    w.list(shelf::PODS).iter().map(|p| meta::text(p, "/spec/containers/0/image").to_owned()).collect()
}

/// What `kubectl rollout status` asks.
fn is_done(w: &World) -> bool {
    let d = w.get(shelf::DEPLOYMENTS, "web");
    let n = |p: &str| meta::int(&d, p).unwrap_or(0);
    n("/metadata/generation") <= n("/status/observedGeneration")
        && n("/status/updatedReplicas") >= n("/spec/replicas")
        && n("/status/replicas") <= n("/status/updatedReplicas")
        && n("/status/availableReplicas") >= n("/status/updatedReplicas")
}

#[test]
fn a_rollout_stays_within_its_bounds_whatever_they_are() {
    for (replicas, surge, unavailable) in [
        (3, json!("25%"), json!("25%")),
        (10, json!(1), json!(0)),
        (10, json!(0), json!(1)),
        (10, json!("50%"), json!("30%")),
        (1, json!(1), json!(0)),
        (4, json!("100%"), json!("100%")),
        (5, json!(0), json!(0)),
    ] {
        for pace in [1, 3, 100] {
            let mut w = World::new();
            let d = deploy(replicas, rolling(surge.clone(), unavailable.clone()));
            let (s, u) = strategy::room(&d, replicas);
            w.put(shelf::DEPLOYMENTS, d);
            settle(&mut w, pace, replicas, 0);
            assert!(is_done(&w));
            change(&mut w, |s| s["template"]["spec"]["containers"][0]["image"] = "v2".into());
            assert!(!is_done(&w));
            settle(&mut w, pace, replicas + s, replicas - u);
            assert!(is_done(&w), "{replicas} {surge} {unavailable} {pace}");
            assert_eq!(image(&w), vec!["v2"; replicas as usize]);
            assert_eq!(w.list(shelf::REPLICA_SETS).len(), 2);
        }
    }
}

#[test]
fn a_rollout_to_a_bad_image_stops_and_says_so_and_undo_heals() {
    let mut w = World::new();
    w.put(shelf::DEPLOYMENTS, deploy(4, rolling(json!(1), json!(1))));
    settle(&mut w, 9, 4, 0);
    let good = w.get(shelf::DEPLOYMENTS, "web")["spec"]["template"].clone();
    change(&mut w, |s| s["template"]["spec"]["containers"][0]["image"] = "bad".into());
    settle(&mut w, 9, 5, 3);
    assert!(!is_done(&w));
    w.pass(601);
    round(&mut w);
    let d = w.get(shelf::DEPLOYMENTS, "web");
    let c = meta::condition(&d, "Progressing").cloned().unwrap_or_default();
    assert_eq!(
        (c["status"].as_str(), c["reason"].as_str()),
        (Some("False"), Some("ProgressDeadlineExceeded"))
    );
    assert!(meta::is_true(&d, "Available"));
    change(&mut w, |s| s["template"] = good);
    settle(&mut w, 9, 5, 3);
    assert!(is_done(&w));
    assert_eq!(image(&w), vec!["v1"; 4]);
    assert_eq!(meta::annotation(&w.get(shelf::DEPLOYMENTS, "web"), REVISION), "3");
    let c = w.get(shelf::DEPLOYMENTS, "web");
    assert_eq!(
        meta::condition(&c, "Progressing").map(|c| meta::text(c, "/reason")),
        Some("NewReplicaSetAvailable")
    );
}

#[test]
fn scaling_works_at_rest_and_in_the_middle_of_a_rollout() {
    let mut w = World::new();
    w.put(shelf::DEPLOYMENTS, deploy(4, rolling(json!(1), json!(0))));
    settle(&mut w, 9, 4, 0);
    change(&mut w, |s| s["replicas"] = 7.into());
    settle(&mut w, 9, 7, 4);
    assert_eq!(counts(&w), (7, 7));
    change(&mut w, |s| s["template"]["spec"]["containers"][0]["image"] = "v2".into());
    for _ in 0..3 {
        round(&mut w);
        w.kubelets(1);
    }
    change(&mut w, |s| s["replicas"] = 12.into());
    settle(&mut w, 2, 13, 6);
    assert_eq!(counts(&w), (12, 12));
    assert_eq!(image(&w), vec!["v2"; 12]);
    change(&mut w, |s| s["replicas"] = 0.into());
    settle(&mut w, 2, 12, 0);
    assert_eq!(counts(&w), (0, 0));
    assert!(is_done(&w));
    change(&mut w, |s| s["replicas"] = 2.into());
    settle(&mut w, 2, 2, 0);
    assert_eq!(counts(&w), (2, 2));
}

#[test]
fn recreate_never_runs_old_and_new_together() {
    let mut w = World::new();
    w.put(shelf::DEPLOYMENTS, deploy(3, json!({"type": "Recreate"})));
    settle(&mut w, 9, 3, 0);
    change(&mut w, |s| s["template"]["spec"]["containers"][0]["image"] = "v2".into());
    for _ in 0..40 {
        round(&mut w);
        let mut kinds = image(&w);
        kinds.dedup();
        assert!(kinds.len() <= 1, "{kinds:?}");
        w.kubelets(1);
    }
    assert_eq!(image(&w), vec!["v2"; 3]);
    assert!(is_done(&w));
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut w = World::new();
    w.put(shelf::DEPLOYMENTS, deploy(2, rolling(json!(1), json!(0))));
    settle(&mut w, 9, 2, 0);
    change(&mut w, |s| {
        s["paused"] = true.into();
        s["template"]["spec"]["containers"][0]["image"] = "v2".into();
        s["replicas"] = 4.into();
    });
    settle(&mut w, 9, 4, 2);
    assert_eq!(image(&w), vec!["v1"; 4]);
    change(&mut w, |s| s["paused"] = false.into());
    settle(&mut w, 9, 5, 4);
    assert_eq!(image(&w), vec!["v2"; 4]);
}

#[test]
fn old_sets_beyond_the_limit_are_forgotten() {
    let mut w = World::new();
    w.put(shelf::DEPLOYMENTS, deploy(1, rolling(json!(1), json!(0))));
    change(&mut w, |s| s["revisionHistoryLimit"] = 2.into());
    for v in 1..=6 {
        change(&mut w, |s| s["template"]["spec"]["containers"][0]["image"] = format!("v{v}").into());
        settle(&mut w, 9, 2, 0);
    }
    let mut revisions: Vec<i64> = w.list(shelf::REPLICA_SETS).iter().map(|r| revision(r)).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [4, 5, 6]);
}

#[test]
fn min_ready_seconds_holds_availability_back() {
    let mut w = World::new();
    w.put(shelf::DEPLOYMENTS, deploy(2, rolling(json!(1), json!(0))));
    change(&mut w, |s| s["minReadySeconds"] = 10.into());
    round(&mut w);
    w.kubelets(9);
    round(&mut w);
    round(&mut w);
    assert!(!is_done(&w));
    let rs = w.list(shelf::REPLICA_SETS)[0].clone();
    let d = replicaset::decide(&rs, &w.list(shelf::PODS), w.now);
    assert_eq!(d.again, Some(crate::controllers::change::later(w.now, 10)), "asks to be asked again");
    w.pass(10);
    round(&mut w);
    round(&mut w);
    assert!(is_done(&w));
}

#[test]
fn percentages_round_the_safe_way() {
    for (replicas, s, u, want) in [
        (3, json!("25%"), json!("25%"), (1, 0)),
        (10, json!("25%"), json!("25%"), (3, 2)),
        (1, json!("25%"), json!("25%"), (1, 0)),
        (5, json!(0), json!(0), (0, 1)),
        (2, json!(1), json!(5), (1, 2)),
    ] {
        assert_eq!(strategy::room(&deploy(replicas, rolling(s, u)), replicas), want);
    }
}
