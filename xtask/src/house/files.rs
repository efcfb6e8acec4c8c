//! House rules on source files: length, names, no `mod.rs`; where `unsafe` stands (I5); which rooms only think (I3).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::metadata::{Member, Workspace};
use super::rooms::UNSAFE_ROOMS;
use super::{Findings, code};

/// A file is split before it has more lines.
const LONGEST: usize = 800;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "types", "manager", "misc"];
/// Directories that are not the house's source.
const NOT_OURS: [&str; 3] = ["target", "fuzz", "node_modules"];
/// Invariant I3: no IO, no clock, no async.
const PURE: [&str; 4] = ["plan", "datapath/logic", "ipam", "intake"];
/// Words by which IO, clocks and async show in the code of a room.
const IMPURE_WORDS: [&str; 16] = [
    "std::fs",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "std::os",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "println",
    "eprintln",
    "async",
    "await",
];
/// Crates that bring IO, clocks or async.
const IMPURE_CRATES: [&str; 14] = [
    "tokio",
    "futures",
    "rustix",
    "nix",
    "libc",
    "socket2",
    "tonic",
    "hyper",
    "axum",
    "kube",
    "rtnetlink",
    "aya",
    "tracing",
    "tempfile",
];

/// Text files of the house.
pub struct Tree {
    /// `.rs` files: path under the root with `/`, text.
    pub rust: Vec<(String, String)>,
    /// `.md` files likewise.
    pub pages: Vec<(String, String)>,
}

impl Tree {
    /// Reads every source file and page below the root.
    pub fn walk(root: &Path) -> Result<Self> {
        let mut tree = Self { rust: Vec::new(), pages: Vec::new() };
        tree.enter(root, "")?;
        tree.rust.sort();
        tree.pages.sort();
        Ok(tree)
    }

    fn enter(&mut self, root: &Path, dir: &str) -> Result<()> {
        let entries = fs::read_dir(root.join(dir)).with_context(|| format!("cannot list {dir}"))?;
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || NOT_OURS.contains(&name.as_str()) {
                continue;
            }
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            if entry.file_type()?.is_dir() {
                self.enter(root, &path)?;
                continue;
            }
            let kept = match name.rsplit_once('.').map(|(_, extension)| extension) {
                Some("rs") => &mut self.rust,
                Some("md") => &mut self.pages,
                _ => continue,
            };
            kept.push((
                path,
                fs::read_to_string(entry.path()).with_context(|| format!("cannot read {name}"))?,
            ));
        }
        Ok(())
    }
}

/// Looks at every source file, and at the dependencies of the rooms that only think.
pub fn check(tree: &Tree, workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for (path, text) in &tree.rust {
        findings.extend(shape(path, text));
        let code = code::only(text);
        let room = workspace.room_of(path).map(|m| m.room.as_str());
        if !room.is_some_and(|room| UNSAFE_ROOMS.contains(&room)) {
            let lines = code::lines_with(&code, "unsafe").into_iter();
            findings
                .extend(lines.map(|n| format!("{path}:{n}: unsafe outside {}", UNSAFE_ROOMS.join(" and "))));
        }
        if room.is_some_and(|room| PURE.contains(&room)) {
            findings.extend(impure(path, &code));
        }
    }
    findings
        .extend(workspace.members.iter().filter(|m| PURE.contains(&m.room.as_str())).flat_map(impure_crates));
    findings
}

fn shape(path: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    let lines = text.lines().count();
    if lines > LONGEST {
        findings.push(format!("{path}: {lines} lines; a file is split by {LONGEST}"));
    }
    if path.ends_with("/mod.rs") {
        findings.push(format!("{path}: foo.rs stands beside foo/, there is no mod.rs"));
    }
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    if let Some(name) = stem.split('/').find(|part| EMPTY_NAMES.contains(part)) {
        findings.push(format!("{path}: `{name}` does not say what is inside"));
    }
    findings
}

/// Words of IO in a file of a room that only thinks. Tests may read their golden files.
fn impure(path: &str, code: &str) -> Findings {
    let inner = path.split("/src/").nth(1).unwrap_or_default();
    if inner.is_empty() || inner.split('/').any(|part| part == "tests" || part.ends_with("tests.rs")) {
        return Findings::new();
    }
    let shipped = code.split("#[cfg(test)]").next().unwrap_or_default();
    let found = IMPURE_WORDS
        .iter()
        .flat_map(|word| code::lines_with(shipped, word).into_iter().map(move |n| (n, word)));
    found
        .map(|(n, word)| format!("{path}:{n}: `{word}` in a room without IO, clock and async (I3)"))
        .collect()
}

fn impure_crates(member: &Member) -> Findings {
    let brings = member.dependencies.iter().filter(|d| !d.dev && IMPURE_CRATES.contains(&d.package.as_str()));
    brings
        .map(|d| format!("{}: depends on {}, and has no IO, clock or async (I3)", member.room, d.package))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Tree, check};
    use crate::house::metadata::{Dependency, Member, Workspace};

    fn findings(path: &str, text: &str) -> Vec<String> {
        let member = |room: &str| Member { room: room.into(), ..Member::default() };
        let members =
            vec![member("plan"), member("sys/bpf"), member("agent"), member("intake"), member("intake/kube")];
        let tree = Tree { rust: vec![(path.into(), text.into())], pages: Vec::new() };
        check(&tree, &Workspace { members, foreign: Vec::new() })
    }

    #[test]
    fn unsafe_stays_in_two_rooms() {
        assert!(findings("sys/bpf/src/call.rs", "unsafe { f() }\n").is_empty());
        let found = findings("agent/src/main.rs", "fn f() {}\nunsafe { f() }\n");
        assert_eq!(found, ["agent/src/main.rs:2: unsafe outside datapath/programs and sys/bpf"]);
    }

    #[test]
    fn long_files_empty_names_and_mod_rs_are_found() {
        assert_eq!(findings("agent/src/a.rs", &"\n".repeat(800)).len(), 0);
        for (path, text) in [
            ("agent/src/a.rs", "\n".repeat(801)),
            ("agent/src/mod.rs", String::new()),
            ("agent/src/utils.rs", String::new()),
            ("agent/tests/common/net.rs", String::new()),
        ] {
            assert_eq!(findings(path, &text).len(), 1, "{path}");
        }
        assert!(findings("agent/src/record_types.rs", "").is_empty());
    }

    #[test]
    fn a_room_that_only_thinks_has_no_io_outside_its_tests() {
        let reads = "use std::fs;\n";
        assert_eq!(findings("plan/src/lib.rs", reads).len(), 1);
        assert_eq!(findings("intake/src/pod.rs", "pub async fn f() {}\n").len(), 1);
        for (path, text) in [
            ("plan/src/lib.rs", "// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }\n"),
            ("plan/src/cases/tests.rs", reads),
            ("plan/tests/cases.rs", reads),
            ("intake/kube/src/watch.rs", "pub async fn f() {}\n"),
        ] {
            assert!(findings(path, text).is_empty(), "{path}");
        }
    }

    #[test]
    fn a_room_that_only_thinks_depends_on_no_runtime() {
        let tokio = |dev| Dependency { package: "tokio".into(), room: None, dev };
        let tree = Tree { rust: Vec::new(), pages: Vec::new() };
        for (room, dev, count) in [("plan", false, 1), ("plan", true, 0), ("agent", false, 0)] {
            let members =
                vec![Member { room: room.into(), dependencies: vec![tokio(dev)], ..Member::default() }];
            assert_eq!(
                check(&tree, &Workspace { members, foreign: Vec::new() }).len(),
                count,
                "{room} {dev}"
            );
        }
    }
}
