//! The tables of the guide against the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pleopod_tests::{Lab, Run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the repository")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("a file of the repository")
}

/// First two cells of each row of a page's tables whose first cell is code.
fn rows(page: &str) -> BTreeMap<String, String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` |").expect("one name in a cell");
        let second = rest.split('|').next().unwrap_or_default();
        (name.to_owned(), second.trim().trim_matches('`').to_owned())
    })
    .collect()
}

/// Key and what `[default: …]` says, of each flag of `pleopod-agent --help`.
fn flags(help: &str) -> BTreeMap<String, String> {
    let options = help.split("\nOptions:\n").nth(1).expect("options");
    let words = options.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut flags = BTreeMap::new();
    for part in words.split(" --").skip(1) {
        let name = part.split([' ', '\n']).next().unwrap_or_default();
        let default = part.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
        flags.insert(name.to_owned(), default.unwrap_or_default().to_owned());
    }
    flags
}

#[test]
fn every_key_of_the_configuration_is_in_the_guide() {
    let lab = Lab::unmade();
    let help = Run::new(&lab.program("pleopod-agent")).words(&["--help"]).ok();
    let mut flags = flags(&help.replace("\n  -", "\n  --").replace("---", "--"));
    for word in ["config", "help", "version", "h,", "V,"] {
        flags.remove(word);
    }
    let table = rows(&read("docs/guide/configuration.md"));
    let keys = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&table), keys(&flags));
    for (key, told) in &table {
        let default = &flags[key];
        let simple = default.chars().all(|c| c.is_ascii_alphanumeric() || "/.:_-".contains(c));
        if simple && !default.is_empty() {
            assert_eq!(told, default, "the default of {key}");
        }
    }
}

#[test]
fn the_configuration_that_is_deployed_has_keys_there_are() {
    let table = rows(&read("docs/guide/configuration.md"));
    let manifest: serde_json::Value = serde_saphyr::from_str(&read("deploy/config.yaml")).expect("YAML");
    let text = manifest["data"]["agent.yaml"].as_str().expect("the file");
    let file: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(text).expect("YAML");
    assert!(file.len() > 3);
    for key in file.keys() {
        assert!(table.contains_key(key), "{key}");
    }
}

#[test]
fn every_metric_is_in_the_guide() {
    let lab = Lab::up_with(&["--nodes", "1"]);
    lab.ready("kube-system");
    let text = lab.node("k8s-s", &["curl", "-sS", "http://127.0.0.1:9962/metrics"]).ok();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeMap<String, String> = types
        .map(|line| {
            let (name, kind) = line.split_once(' ').expect("a type");
            let total = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{total}"), kind.to_owned())
        })
        .collect();
    assert!(served.len() > 10, "{text}");
    assert_eq!(rows(&read("docs/guide/metrics.md")), served);
}
