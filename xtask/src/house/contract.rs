//! Reads the two tables of ARCHITECTURE.md.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// Rooms and arrows as the page has them.
#[derive(Debug, Default)]
pub struct Contract {
    /// Names under `## Rooms`, in order.
    pub rooms: Vec<String>,
    /// Rows under `## Arrows`: what a room may depend on.
    pub arrows: BTreeMap<String, Vec<Arrow>>,
}

/// One arrow of a row: `abi`, or `abi (tests)` for dev-dependencies only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The room it leads to.
    pub to: String,
    /// Whether only tests may take it.
    pub tests: bool,
}

impl Contract {
    /// Reads the page. An arrow from or to a room that the first table does not have is an error of the page.
    pub fn read(page: &str) -> Result<Self> {
        let mut contract = Self::default();
        for (name, _) in table(page, "Rooms")? {
            if contract.rooms.contains(&name) {
                bail!("the room `{name}` stands twice under Rooms");
            }
            contract.rooms.push(name);
        }
        for (name, cell) in table(page, "Arrows")? {
            let to: Vec<Arrow> = cell.split(',').filter_map(arrow).collect();
            let named = to.iter().map(|arrow| &arrow.to).chain([&name]);
            if let Some(unknown) = named.into_iter().find(|n| !contract.rooms.contains(n)) {
                bail!("the row of `{name}` under Arrows names `{unknown}`, which is no room");
            }
            if contract.arrows.insert(name.clone(), to).is_some() {
                bail!("`{name}` has two rows under Arrows");
            }
        }
        Ok(contract)
    }
}

/// First two cells of each row of the table in a section.
fn table(page: &str, heading: &str) -> Result<Vec<(String, String)>> {
    let mut lines = page.lines().skip_while(|line| line.strip_prefix("## ").map(str::trim) != Some(heading));
    lines.next().with_context(|| format!("has no section `## {heading}`"))?;
    let rows: Vec<(String, String)> = lines
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.trim().strip_prefix('|'))
        .skip(2)
        .map(|row| {
            let mut cells = row.trim_end_matches('|').splitn(2, '|');
            (name_of(cells.next().unwrap_or_default()), cells.next().unwrap_or_default().trim().to_owned())
        })
        .collect();
    if rows.is_empty() {
        bail!("has no table under `## {heading}`");
    }
    Ok(rows)
}

fn arrow(words: &str) -> Option<Arrow> {
    let words = words.trim();
    let (to, tests) = words.strip_suffix("(tests)").map_or((words, false), |to| (to, true));
    (!to.is_empty()).then(|| Arrow { to: name_of(to), tests })
}

fn name_of(cell: &str) -> String {
    cell.trim().trim_matches('`').to_owned()
}

#[cfg(test)]
pub mod tests {
    use super::{Arrow, Contract};

    /// A page with these rows.
    pub fn page(rooms: &[&str], arrows: &[(&str, &str)]) -> String {
        let rooms: String = rooms.iter().map(|room| format!("| `{room}` | what it is |\n")).collect();
        let arrows: String = arrows.iter().map(|(from, to)| format!("| {from} | {to} |\n")).collect();
        format!(
            "# H\n\n## Rooms\n\n| room | what |\n|---|---|\n{rooms}\n## Arrows\n\nWords.\n\n| room | may |\n|---|---|\n{arrows}\n## More\n\n| x | y |\n|---|---|\n| z | |\n"
        )
    }

    #[test]
    fn both_tables_are_read() {
        let page = page(&["abi", "sys/bpf"], &[("abi", ""), ("sys/bpf", "abi, sys/bpf (tests)")]);
        let contract = Contract::read(&page).expect("a contract");
        assert_eq!(contract.rooms, ["abi", "sys/bpf"]);
        assert!(contract.arrows["abi"].is_empty());
        let arrow = |to: &str, tests| Arrow { to: to.into(), tests };
        assert_eq!(contract.arrows["sys/bpf"], [arrow("abi", false), arrow("sys/bpf", true)]);
        assert_eq!(contract.arrows.len(), 2, "tables of other sections are not read");
    }

    #[test]
    fn a_page_that_contradicts_itself_is_refused() {
        for (why, page) in [
            ("no sections", "# H\n".to_owned()),
            ("no rows", page(&[], &[])),
            ("a room twice", page(&["abi", "abi"], &[("abi", "")])),
            ("a row twice", page(&["abi"], &[("abi", ""), ("abi", "")])),
            ("an arrow to nowhere", page(&["abi"], &[("abi", "model")])),
            ("an arrow from nowhere", page(&["abi"], &[("abi", ""), ("model", "abi")])),
        ] {
            assert!(Contract::read(&page).is_err(), "{why}");
        }
    }
}
