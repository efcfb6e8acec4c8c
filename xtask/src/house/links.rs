//! Relative links between pages lead somewhere: the file exists, and the heading in it.

use std::path::Path;

use super::Findings;
use super::files::Tree;

/// Follows every relative link of every page.
pub fn check(root: &Path, tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for (path, text) in &tree.pages {
        for (line, target) in links(text) {
            if let Err(why) = follow(root, tree, path, &target) {
                findings.push(format!("{path}:{line}: the link to {target} is broken: {why}"));
            }
        }
    }
    findings
}

fn follow(root: &Path, tree: &Tree, page: &str, target: &str) -> Result<(), String> {
    let (file, heading) =
        target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = match file {
        "" => Some(page.to_owned()),
        file => resolve(page.rsplit_once('/').map_or("", |(dir, _)| dir), file),
    };
    let path = path.ok_or("it leaves the checkout")?;
    if !root.join(&path).exists() && !tree.pages.iter().any(|(known, _)| *known == path) {
        return Err(format!("there is no {path}"));
    }
    let (Some(heading), Some((_, text))) = (heading, tree.pages.iter().find(|(known, _)| *known == path))
    else {
        return Ok(());
    };
    let known = lines_outside_fences(text).any(|(_, line)| line.starts_with('#') && slug(line) == heading);
    if known { Ok(()) } else { Err(format!("{path} has no heading #{heading}")) }
}

/// A path from a directory, without `.` and `..`; none when it leaves the root.
fn resolve(dir: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> =
        if file.starts_with('/') { Vec::new() } else { dir.split('/').filter(|p| !p.is_empty()).collect() };
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// How a heading is addressed: lower case, blanks to dashes, other punctuation gone.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn lines_outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Relative targets of `[text](target)` and `[label]: target`, with their lines (from 1). Code is not looked at.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in lines_outside_fences(text) {
        if line.starts_with("    ") {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let label =
            prose.starts_with('[').then(|| prose.split_once("]: ")).flatten().map(|(_, target)| target);
        let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in inline.chain(label) {
            let target = target.split_whitespace().next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number + 1, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{check, links};
    use crate::house::files::Tree;

    fn findings(page: &str, text: &str) -> Vec<String> {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(root.path().join("docs/guide")).expect("a directory");
        std::fs::write(root.path().join("LICENSE"), "").expect("a file");
        let pages =
            vec![(page.to_owned(), text.to_owned()), ("docs/a.md".into(), "# What's a `pod`?\n".into())];
        check(root.path(), &Tree { rust: Vec::new(), pages })
    }

    #[test]
    fn good_links_are_quiet() {
        let text = "[a](../a.md) [b](../a.md#whats-a-pod) ![c](/LICENSE) [d](#here) [e](https://x.y/z)\n# Here\n\
                    `[not](a-link.md)`\n```\n[nor](this.md)\n```\n    [nor](that.md)\n[f]: ../guide\n";
        assert_eq!(findings("docs/guide/b.md", text), [""; 0]);
    }

    #[test]
    fn broken_links_are_found_on_their_line() {
        for target in ["gone.md", "../a.md#gone", "#gone", "../../../x", "/docs/gone.md"] {
            let found = findings("docs/guide/b.md", &format!("\nSee [this]({target}).\n"));
            assert_eq!(found.len(), 1, "{target}: {found:?}");
            assert!(found[0].starts_with("docs/guide/b.md:2: "), "{found:?}");
        }
        assert_eq!(links("[x]: gone.md\n"), [(1, "gone.md".to_owned())]);
    }
}
