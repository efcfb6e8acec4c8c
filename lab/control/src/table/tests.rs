use serde_json::{Value, json};

use super::age::human;
use super::pod::status;

#[test]
fn ages_in_at_most_two_units() {
    for (s, want) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_100, "3h5m"),
        (28_800, "8h"),
        (172_800, "2d"),
        (176_400, "2d1h"),
        (691_200, "8d"),
        (86_400 * 730, "2y"),
        (86_400 * 800, "2y70d"),
        (86_400 * 3000, "8y"),
        (-1, "0s"),
        (-5, "<invalid>"),
    ] {
        assert_eq!(human(s), want, "{s}");
    }
}

#[test]
fn what_a_pod_is_doing_in_one_word() {
    let pod = |phase: &str, state: Value| {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{}], "initContainers": [{}]},
            "status": {"phase": phase, "containerStatuses": [{"state": state, "ready": false}]}})
    };
    assert_eq!(
        status(&pod("Pending", json!({"waiting": {"reason": "ContainerCreating"}}))),
        "ContainerCreating"
    );
    assert_eq!(status(&pod("Running", json!({"running": {}}))), "Running");
    assert_eq!(status(&pod("Failed", json!({"terminated": {"exitCode": 3}}))), "ExitCode:3");
    assert_eq!(
        status(&pod("Succeeded", json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))),
        "Completed"
    );
    let mut going = pod("Running", json!({"running": {}}));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(status(&going), "Terminating");
    let mut init = pod("Pending", json!({"waiting": {"reason": "PodInitializing"}}));
    init["status"]["initContainerStatuses"] = json!([{"state": {"running": {}}}]);
    assert_eq!(status(&init), "Init:0/1");
}
