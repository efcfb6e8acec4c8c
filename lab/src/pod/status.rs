//! A pod's status, from what is known of its containers. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::{Value, json};

use super::board::{Ended, Run, State};

/// What the status is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// Address of the node.
    pub host: &'a str,
    /// The pod's addresses; empty before there are any.
    pub addresses: &'a [String],
    /// Its containers.
    pub runs: &'a [Run],
    /// When the node first saw the pod.
    pub seen: Timestamp,
    /// The pod is being ended.
    pub ending: bool,
    /// A reason why the whole pod failed, with a sentence.
    pub failed: Option<(&'a str, &'a str)>,
}

/// Life stage of a pod.
#[must_use]
pub fn phase(facts: &Facts<'_>) -> &'static str {
    if facts.failed.is_some() {
        return "Failed";
    }
    let policy = facts.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let over = |run: &Run| match &run.state {
        State::Terminated(ended) if facts.ending => Some(ended.code),
        State::Terminated(ended) => match (policy, ended.code) {
            ("Never", code) | ("OnFailure", code @ 0) => Some(code),
            _ => None,
        },
        _ => None,
    };
    for run in facts.runs.iter().filter(|run| run.init && !run.sidecar) {
        match (&run.state, over(run)) {
            (State::Terminated(ended), _) if ended.code == 0 => {}
            (_, Some(_)) => return "Failed",
            _ => return "Pending",
        }
    }
    let main: Vec<&Run> = facts.runs.iter().filter(|run| !run.init).collect();
    let codes: Vec<i32> = main.iter().filter_map(|run| over(run)).collect();
    if codes.len() == main.len() && !main.is_empty() {
        return if codes.iter().all(|code| *code == 0) { "Succeeded" } else { "Failed" };
    }
    let begun = |run: &&Run| !matches!(run.state, State::Waiting { .. }) || run.last.is_some();
    if main.iter().all(begun) { "Running" } else { "Pending" }
}

/// The status, as far as a kubelet owns it, fit for a merge patch.
#[must_use]
pub fn status(facts: &Facts<'_>, now: Timestamp) -> Value {
    let phase = phase(facts);
    let (init, main): (Vec<&Run>, Vec<&Run>) = facts.runs.iter().partition(|run| run.init);
    let over = matches!(phase, "Succeeded" | "Failed");
    let initialized = init.iter().all(|run| match &run.state {
        State::Terminated(ended) => ended.code == 0,
        State::Running(_) => run.sidecar,
        State::Waiting { .. } => false,
    });
    let unready: Vec<&str> = facts
        .runs
        .iter()
        .filter(|run| !run.init || run.sidecar)
        .filter(|run| !run.ready)
        .map(|run| run.name.as_str())
        .collect();
    let ready = unready.is_empty() && !over;
    let why = if over {
        ("PodCompleted".to_owned(), String::new())
    } else {
        ("ContainersNotReady".to_owned(), format!("containers with unready status: [{}]", unready.join(" ")))
    };
    let why_not_initialized = ("ContainersNotInitialized".to_owned(), String::new());
    let conditions = [
        ("PodReadyToStartContainers", !facts.addresses.is_empty() && !over, (String::new(), String::new())),
        ("Initialized", initialized, why_not_initialized),
        ("Ready", ready, why.clone()),
        ("ContainersReady", ready, why),
    ];
    let mut status = json!({
        "phase": phase,
        "conditions": merged(facts.pod, &conditions, facts.seen, now),
        "hostIP": facts.host,
        "hostIPs": [{"ip": facts.host}],
        "startTime": second(facts.seen),
        "containerStatuses": main.iter().map(|run| container(run)).collect::<Vec<_>>(),
    });
    if !init.is_empty() {
        status["initContainerStatuses"] = init.iter().map(|run| container(run)).collect();
    }
    if let Some(first) = facts.addresses.first() {
        status["podIP"] = json!(first);
        status["podIPs"] = facts.addresses.iter().map(|ip| json!({"ip": ip})).collect();
    }
    if let Some((reason, message)) = facts.failed {
        status["reason"] = json!(reason);
        status["message"] = json!(message);
    }
    status
}

/// Whether the API's pod is ready where `told`, an earlier [`status`], says that it is not, or the other way round.
#[must_use]
pub fn contradicts(pod: &Pod, told: &Value) -> bool {
    let stands = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut stands =
        stands.filter(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str());
    let told = told["conditions"].as_array().into_iter().flatten();
    let mut told = told.filter(|condition| condition["type"] == "Ready").filter_map(|c| c["status"].as_str());
    told.next().is_some_and(|told| stands.next() != Some(told))
}

/// The pod's conditions with ours set; others' stay, and a condition's time moves only with its status.
fn merged(pod: &Pod, ours: &[(&str, bool, (String, String))], seen: Timestamp, now: Timestamp) -> Vec<Value> {
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let find = |kind: &str| known.iter().find(|condition| condition.type_ == kind);
    let mut all: Vec<Value> = ours
        .iter()
        .map(|(kind, holds, (reason, message))| {
            let status = if *holds { "True" } else { "False" };
            let since = match find(kind) {
                Some(PodCondition { status: before, last_transition_time: Some(time), .. })
                    if before == status =>
                {
                    time.0
                }
                _ => now,
            };
            let mut condition = json!({
                "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": second(since)
            });
            if !holds && !reason.is_empty() {
                condition["reason"] = json!(reason);
                if !message.is_empty() {
                    condition["message"] = json!(message);
                }
            }
            condition
        })
        .collect();
    // A pod bound without a scheduler has nobody else to say so.
    if find("PodScheduled").is_none() {
        all.push(json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": second(seen)
        }));
    }
    let others = known.iter().filter(|condition| !ours.iter().any(|(kind, ..)| *kind == condition.type_));
    all.extend(others.filter_map(|condition| serde_json::to_value(condition).ok()));
    all
}

fn container(run: &Run) -> Value {
    let state = match &run.state {
        State::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        State::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        State::Running(since) => json!({"running": {"startedAt": second(*since)}}),
        State::Terminated(ended) => json!({"terminated": terminated(ended)}),
    };
    let last = run.last.as_ref().map_or_else(|| json!({}), |ended| json!({"terminated": terminated(ended)}));
    let mut status = json!({
        "name": run.name,
        "image": run.image,
        "imageID": if run.id.is_empty() { "" } else { run.image.as_str() },
        "ready": run.ready,
        "started": run.started,
        "restartCount": run.restarts,
        "state": state,
        "lastState": last,
    });
    if !run.id.is_empty() {
        status["containerID"] = json!(format!("pleopod-lab://{}", run.id));
    }
    status
}

fn terminated(ended: &Ended) -> Value {
    let mut value = json!({
        "exitCode": ended.code,
        "reason": ended.reason,
        "startedAt": second(ended.began),
        "finishedAt": second(ended.finished),
        "containerID": format!("pleopod-lab://{}", ended.id),
    });
    if !ended.message.is_empty() {
        value["message"] = json!(ended.message);
    }
    value
}

/// Times in the API are whole seconds.
fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::board::Board;
    use k8s_openapi::api::core::v1::Container;

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"}, "spec": {"containers": [], "restartPolicy": policy},
            "status": {"conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z"}
            ]}
        }))
        .expect("pod")
    }

    fn named(name: &str) -> Container {
        Container { name: name.into(), image: Some("nginx".into()), ..Container::default() }
    }

    fn ended(code: i32) -> State {
        let at = Timestamp::UNIX_EPOCH;
        let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
        State::Terminated(Ended {
            code,
            reason,
            message: String::new(),
            began: at,
            finished: at,
            id: "i".into(),
        })
    }

    fn phase_of(policy: &str, init: &[State], main: &[State]) -> &'static str {
        let names = |prefix: &str, states: &[State]| -> Vec<Container> {
            (0..states.len()).map(|index| named(&format!("{prefix}{index}"))).collect()
        };
        let board = Board::new(&names("i", init), &names("m", main));
        for (prefix, states) in [("i", init), ("m", main)] {
            for (index, state) in states.iter().enumerate() {
                board.change(&format!("{prefix}{index}"), |run| run.state = state.clone());
            }
        }
        let (pod, runs) = (pod(policy), board.runs());
        phase(&Facts {
            pod: &pod,
            host: "h",
            addresses: &[],
            runs: &runs,
            seen: Timestamp::UNIX_EPOCH,
            ending: false,
            failed: None,
        })
    }

    #[test]
    fn phases_follow_the_containers() {
        let running = || State::Running(Timestamp::UNIX_EPOCH);
        let waiting = || State::Waiting { reason: "ContainerCreating".into(), message: String::new() };
        for (policy, init, main, phase) in [
            ("Always", vec![], vec![waiting()], "Pending"),
            ("Always", vec![], vec![running()], "Running"),
            ("Always", vec![], vec![running(), waiting()], "Pending"),
            ("Always", vec![], vec![ended(1)], "Running"),
            ("Always", vec![running()], vec![waiting()], "Pending"),
            ("Always", vec![ended(0)], vec![running()], "Running"),
            ("Never", vec![ended(1)], vec![waiting()], "Failed"),
            ("Always", vec![ended(1)], vec![waiting()], "Pending"),
            ("Never", vec![], vec![ended(0), ended(0)], "Succeeded"),
            ("Never", vec![], vec![ended(0), ended(3)], "Failed"),
            ("Never", vec![], vec![ended(3), running()], "Running"),
            ("OnFailure", vec![], vec![ended(0)], "Succeeded"),
            ("OnFailure", vec![], vec![ended(1)], "Running"),
        ] {
            assert_eq!(phase_of(policy, &init, &main), phase, "{policy} {init:?} {main:?}");
        }
    }

    #[test]
    fn a_conditions_time_moves_only_with_its_status() {
        let pod = pod("Always");
        let board = Board::new(&[], &[named("web")]);
        board.change("web", |run| {
            run.state = State::Running(Timestamp::UNIX_EPOCH);
            run.ready = true;
        });
        let now: Timestamp = "2025-05-05T05:05:05Z".parse().expect("time");
        let make = |runs: &[Run]| {
            let facts = Facts {
                pod: &pod,
                host: "192.168.10.10",
                addresses: &["172.16.0.5".to_owned()],
                runs,
                seen: now,
                ending: false,
                failed: None,
            };
            status(&facts, now)
        };
        let time_of = |status: &Value, kind: &str| {
            let all = status["conditions"].as_array().cloned().unwrap_or_default();
            let found = all.into_iter().find(|one| one["type"] == kind).expect("condition");
            (found["status"].clone(), found["lastTransitionTime"].clone())
        };
        let status = make(&board.runs());
        assert_eq!(time_of(&status, "Ready"), (json!("True"), json!("2024-01-01T00:00:00Z")));
        assert_eq!(time_of(&status, "ContainersReady"), (json!("True"), json!("2025-05-05T05:05:05Z")));
        assert_eq!(time_of(&status, "PodScheduled").0, json!("True"));
        assert_eq!(status["podIP"], "172.16.0.5");
        board.change("web", |run| run.ready = false);
        let status = make(&board.runs());
        assert_eq!(time_of(&status, "Ready"), (json!("False"), json!("2025-05-05T05:05:05Z")));
    }

    #[test]
    fn a_pod_marked_by_another_contradicts_what_was_told() {
        let with = |status: &str| -> Pod {
            let conditions =
                json!([{"type": "Ready", "status": status}, {"type": "Initialized", "status": "True"}]);
            serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
        };
        let told = json!({"conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}]});
        assert!(!contradicts(&with("True"), &told));
        assert!(contradicts(&with("False"), &told) && contradicts(&Pod::default(), &told));
        assert!(!contradicts(&with("False"), &Value::Null), "nothing was told");
    }
}
