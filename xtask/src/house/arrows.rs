//! Which room may know which: the table of arrows, nothing shipped on the proving ground, kube-rs in one shipped room.

use super::Findings;
use super::contract::{Arrow, Contract};
use super::metadata::{Dependency, Member, Workspace};

/// Rooms that nothing shipped may depend on.
const PROVING_GROUND: [&str; 5] = ["lab", "lab/control", "tests", "bench", "xtask"];

/// Rooms that may know kube-rs, and whether only in tests. Among the shipped rooms there is one.
const KUBE_RS: [(&str, bool); 5] =
    [("intake/kube", false), ("lab", false), ("lab/control", true), ("tests", false), ("bench", false)];

/// Compares what cargo sees with the page.
pub fn check(contract: &Contract, workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for member in &workspace.members {
        let room = &member.room;
        match contract.arrows.get(room) {
            Some(may) => findings.extend(member.dependencies.iter().filter_map(|d| crossing(member, d, may))),
            None => findings.push(format!("{room}: has no row under Arrows in ARCHITECTURE.md")),
        }
        let may_know = |d: &Dependency| KUBE_RS.iter().any(|(r, only_dev)| r == room && (d.dev || !only_dev));
        let knows =
            member.dependencies.iter().filter(|d| d.package == "kube" || d.package.starts_with("kube-"));
        for dependency in knows.filter(|d| !may_know(d)) {
            findings.push(format!(
                "{room}: depends on {}; of the shipped rooms only intake/kube knows kube-rs",
                dependency.package
            ));
        }
    }
    for (room, may) in &contract.arrows {
        if !workspace.members.iter().any(|m| m.room == *room) {
            findings.push(format!("{room}: has a row under Arrows but is no member of the workspace"));
        }
        if PROVING_GROUND.contains(&room.as_str()) {
            continue;
        }
        for ground in may.iter().map(|a| &a.to).filter(|to| PROVING_GROUND.contains(&to.as_str())) {
            findings
                .push(format!("{room}: is shipped, so ARCHITECTURE.md must not let it depend on {ground}"));
        }
    }
    findings
}

/// A dependency on a room of ours that the row does not allow.
fn crossing(member: &Member, dependency: &Dependency, may: &[Arrow]) -> Option<String> {
    let to = dependency.room.as_ref().filter(|to| **to != member.room)?;
    if may.iter().any(|arrow| arrow.to == *to && (dependency.dev || !arrow.tests)) {
        return None;
    }
    let kind = if dependency.dev { " in its tests" } else { "" };
    Some(format!(
        "{}: depends on {to}{kind}, and its row under Arrows in ARCHITECTURE.md does not say so",
        member.room
    ))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::house::contract::{Contract, tests::page};
    use crate::house::metadata::{Dependency, Member, Workspace};

    fn ours(room: &str, dev: bool) -> Dependency {
        Dependency { package: format!("pleopod-{}", room.replace('/', "-")), room: Some(room.into()), dev }
    }

    fn foreign(package: &str, dev: bool) -> Dependency {
        Dependency { package: package.into(), room: None, dev }
    }

    fn member(room: &str, dependencies: Vec<Dependency>) -> Member {
        Member { room: room.into(), package: format!("pleopod-{}", room.replace('/', "-")), dependencies }
    }

    fn findings(rows: &[(&str, &str)], members: Vec<Member>) -> Vec<String> {
        let rooms: Vec<&str> = rows.iter().map(|(room, _)| *room).collect();
        let contract = Contract::read(&page(&rooms, rows)).expect("a contract");
        check(&contract, &Workspace { members, foreign: Vec::new() })
    }

    #[test]
    fn an_arrow_of_the_table_holds_and_any_other_is_found() {
        let rows = [("abi", ""), ("model", ""), ("apply", "abi, model")];
        let good = vec![
            member("abi", vec![]),
            member("model", vec![foreign("serde", false)]),
            member("apply", vec![ours("abi", false), ours("model", true), ours("apply", true)]),
        ];
        assert_eq!(findings(&rows, good), [""; 0]);
        for dev in [false, true] {
            let bad =
                vec![member("abi", vec![]), member("model", vec![ours("abi", dev)]), member("apply", vec![])];
            let found = findings(&rows, bad);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("model: depends on abi"), "{found:?}");
        }
    }

    #[test]
    fn an_arrow_for_tests_is_for_tests_only() {
        let rows = [("sys/netns", ""), ("sys/link", "sys/netns (tests)")];
        let takes = |dev| vec![member("sys/netns", vec![]), member("sys/link", vec![ours("sys/netns", dev)])];
        assert_eq!(findings(&rows, takes(true)), [""; 0]);
        assert_eq!(findings(&rows, takes(false)).len(), 1);
    }

    #[test]
    fn table_and_workspace_have_the_same_rooms() {
        let found =
            findings(&[("abi", ""), ("gone", "")], vec![member("abi", vec![]), member("new", vec![])]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("new: has no row") && found[1].starts_with("gone: has a row"),
            "{found:?}"
        );
    }

    #[test]
    fn nothing_shipped_stands_on_the_proving_ground() {
        let rows = [("lab", ""), ("agent", "lab"), ("tests", "lab")];
        let all = || vec![member("lab", vec![]), member("agent", vec![]), member("tests", vec![])];
        let found = findings(&rows, all());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("agent: is shipped"), "{found:?}");
    }

    #[test]
    fn kube_rs_stays_in_its_rooms() {
        let knows =
            |room: &str, dev| findings(&[(room, "")], vec![member(room, vec![foreign("kube-runtime", dev)])]);
        assert!(knows("intake/kube", false).is_empty() && knows("lab/control", true).is_empty());
        assert_eq!(knows("lab/control", false).len(), 1);
        assert_eq!(knows("agent", true).len(), 1);
    }
}
