//! Every room is there, is named after its place, says what it is, and has the lints of the house.

use std::fs;
use std::path::Path;

use super::Findings;
use super::contract::Contract;
use super::metadata::Workspace;

/// Invariant I5: the rooms that may hold unsafe code.
pub const UNSAFE_ROOMS: [&str; 2] = ["datapath/programs", "sys/bpf"];

/// Looks at each room's directory.
pub fn check(root: &Path, contract: &Contract, workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    let text = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    if value(&text("Cargo.toml"), "workspace.lints.rust", "unsafe_code").as_deref() != Some("\"forbid\"") {
        findings.push("Cargo.toml: [workspace.lints.rust] must say unsafe_code = \"forbid\"".into());
    }
    for room in &contract.rooms {
        if !root.join(room).is_dir() {
            findings.push(format!("{room}: is a room in ARCHITECTURE.md and not in the tree"));
            continue;
        }
        let docs = ["src/lib.rs", "src/main.rs"].map(|file| doc(&text(&format!("{room}/{file}"))));
        if !root.join(room).join("README.md").is_file() && docs.iter().all(|doc| !says_something(doc)) {
            findings.push(format!("{room}: has neither a README.md nor a crate doc that says what it is"));
        }
    }
    for member in &workspace.members {
        let room = &member.room;
        if !contract.rooms.contains(room) {
            findings.push(format!("{room}: is a crate and no room in ARCHITECTURE.md"));
        }
        let name = format!("pleopod-{}", room.replace('/', "-"));
        if member.package != name {
            findings.push(format!("{room}: its crate is called {} and not {name}", member.package));
        }
        let manifest = text(&format!("{room}/Cargo.toml"));
        findings.extend(lints(room, &manifest));
    }
    findings
}

/// A room takes the workspace's lints, which forbid unsafe code; the two that may hold it must give reasons.
fn lints(room: &str, manifest: &str) -> Option<String> {
    let inherits = value(manifest, "lints", "workspace").as_deref() == Some("true");
    if !UNSAFE_ROOMS.contains(&room) {
        return (!inherits).then(|| format!("{room}: Cargo.toml must say [lints] workspace = true"));
    }
    let reasons = value(manifest, "lints.clippy", "undocumented_unsafe_blocks");
    let gives = reasons.is_some_and(|level| level != "\"allow\"");
    (!inherits && !gives).then(|| {
        format!("{room}: may hold unsafe code, so [lints.clippy] must have undocumented_unsafe_blocks")
    })
}

/// A value in a TOML file, as written, by the lines `[section]` and `key = value`.
fn value(manifest: &str, section: &str, key: &str) -> Option<String> {
    let head = format!("[{section}]");
    let lines = manifest.lines().map(str::trim).skip_while(|line| *line != head).skip(1);
    lines.take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.split('#').next().unwrap_or_default().trim().to_owned())
    })
}

/// The lines of a file's inner documentation, joined.
fn doc(source: &str) -> String {
    source.lines().filter_map(|line| line.trim().strip_prefix("//!")).collect::<Vec<_>>().join(" ")
}

fn says_something(doc: &str) -> bool {
    doc.chars().filter(|c| c.is_alphabetic()).count() >= 20 && !doc.contains("(to be written)")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{check, doc, lints, says_something, value};
    use crate::house::contract::{Contract, tests::page};
    use crate::house::metadata::{Member, Workspace};

    #[test]
    fn a_room_is_there_named_and_explained() {
        let root = tempfile::tempdir().expect("a directory");
        for dir in ["abi/src", "plan/src", "cases"] {
            fs::create_dir_all(root.path().join(dir)).expect("a room");
        }
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).expect("a file");
        write("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n");
        write("abi/src/lib.rs", "//! Every byte both sides of the border agree on.\n");
        write("abi/Cargo.toml", "[lints]\nworkspace = true\n");
        write("plan/src/lib.rs", "//! (to be written)\n");
        write("plan/Cargo.toml", "[package]\n");
        let contract =
            Contract::read(&page(&["abi", "plan", "cases", "gone"], &[("abi", "")])).expect("a contract");
        let member = |room: &str, package: &str| Member {
            room: room.into(),
            package: package.into(),
            ..Member::default()
        };
        let members =
            vec![member("abi", "pleopod-abi"), member("plan", "plan"), member("new", "pleopod-new")];
        let found = check(root.path(), &contract, &Workspace { members, foreign: Vec::new() });
        let expected = [
            "plan: has neither",
            "cases: has neither",
            "gone: is a room",
            "plan: its crate is called",
            "plan: Cargo.toml must say [lints]",
            "new: is a crate and no room",
            "new: Cargo.toml must say [lints]",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} is not {expected}");
        }
    }

    #[test]
    fn the_unsafe_rooms_give_reasons_and_the_others_inherit() {
        let reasons = "[lints.clippy]\nundocumented_unsafe_blocks = \"deny\" # each\n";
        assert_eq!(lints("sys/bpf", reasons), None);
        assert_eq!(lints("sys/bpf", "[lints]\nworkspace = true\n"), None);
        assert!(lints("sys/bpf", "[lints.clippy]\nundocumented_unsafe_blocks = \"allow\"\n").is_some());
        assert!(lints("sys/bpf", "").is_some());
        assert!(lints("agent", reasons).is_some());
    }

    #[test]
    fn values_belong_to_their_section() {
        let manifest = "[package]\nworkspace = false\n[lints]\nworkspace = true # yes\n";
        assert_eq!(value(manifest, "lints", "workspace").as_deref(), Some("true"));
        assert_eq!(value(manifest, "lints.rust", "workspace"), None);
    }

    #[test]
    fn a_placeholder_says_nothing() {
        assert!(says_something(&doc("//! Makes the kernel match `Desired`.\n\nuse x;\n")));
        assert!(!says_something(&doc("//! (to be written)\n")));
        assert!(!says_something(&doc("// Makes the kernel match `Desired`.\n")));
    }
}
