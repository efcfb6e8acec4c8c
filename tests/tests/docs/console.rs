//! Runs the ```console blocks of a page in one shell and compares what they print.
//!
//! A line that begins with `$ ` is a command; the lines after it must occur in its output, in this order. Numbers, ages and
//! random names may differ; everything else is compared word by word.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pleopod_tests::{Lab, Run};

/// Ends each command's output; no command prints it.
const MARK: &str = "--- end of command";

/// A command of a page and what the page shows of its output.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the repository")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs/guide").join(name)).expect("a page of the guide")
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        // A block in a list is indented.
        let bare = line.strip_prefix("   ").filter(|_| inside).unwrap_or(line);
        let bare = if bare.starts_with(' ') && !line.starts_with("   ") { line } else { bare };
        match line.trim_start() {
            "```console" => inside = true,
            "```" => inside = false,
            _ if inside => match bare.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
                None => steps.last_mut().expect("output follows a command").shown.push(bare.to_owned()),
            },
            _ => {}
        }
    }
    steps
}

/// What may differ from run to run made the same; blanks squeezed.
fn shape(line: &str) -> String {
    let squeezed = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shape = String::new();
    for c in squeezed.chars() {
        match c {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            c => shape.push(c),
        }
    }
    // Ages: `1s`, `2m3s`.
    shape.replace("#m#s", "#s").replace("#m ", "#s ").replace("#.#s", "#s")
}

/// The first shown line that the output does not have after those before it.
fn missing<'a>(shown: &'a [String], said: &str) -> Option<&'a str> {
    let said: Vec<String> = said.lines().map(shape).collect();
    let mut from = 0;
    for line in shown {
        let wanted = shape(line);
        // A table may be shown without its last columns.
        match said[from..].iter().position(|line| line.starts_with(&wanted)) {
            Some(at) => from += at + 1,
            None => return Some(line),
        }
    }
    None
}

/// One shell runs all of a page: variables and functions stay.
fn run(lab: &Lab, name: &str) {
    let steps = steps(&page(name));
    assert!(!steps.is_empty(), "{name} has no commands");
    let mut script = "exec 2>&1\n".to_owned();
    for step in &steps {
        script.push_str(&format!("{}\necho; echo '{MARK}' $?\n", step.command));
    }
    let programs = Path::new(&lab.program("pleopod")).parent().expect("a directory").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let shell = Run::new("sh")
        .words(&["-c", &format!("cd {} && {{\n{script}\n}}", root().display())])
        .env("PATH", path)
        .env("PLEOPOD_LAB", lab.name())
        .env("KUBECONFIG", lab.layout().kubeconfig());
    let said = shell.within(Duration::from_secs(180)).ok();
    let mark = format!("\n{MARK} ");
    let mut outputs = said.split(&mark);
    let mut output = outputs.next().unwrap_or_default();
    for step in &steps {
        let rest =
            outputs.next().unwrap_or_else(|| panic!("{name}: the shell ended in `{}`\n{said}", step.command));
        let (code, next) = rest.split_once('\n').unwrap_or((rest, ""));
        assert_eq!(code, "0", "{name}: $ {}\n{output}", step.command);
        if let Some(line) = missing(&step.shown, output) {
            panic!("{name}: $ {}\n{output}\nit does not say, or not in this order:\n{line}", step.command);
        }
        output = next;
    }
}

#[test]
fn the_first_steps_and_the_search_for_faults_run_as_printed() {
    let lab = Lab::unmade();
    // Leaves no lab: its last command takes it down.
    run(&lab, "getting-started.md");
    assert_eq!(lab.traces(), [] as [String; 0]);
    lab.bring_up(&[]).ok();
    let manifest = pleopod_tests::manifest("w4.yaml");
    lab.kubectl(&["apply", "-f", &manifest]).ok();
    lab.ready("default");
    run(&lab, "status-and-debugging.md");
}

/// The comparison itself can fail.
#[test]
fn a_line_that_is_not_said_is_found() {
    let shown = ["NAME  AGE".to_owned(), "web1  3s".to_owned()];
    assert_eq!(missing(&shown, "NAME   AGE   MORE\nweb1   2m5s\n"), None);
    assert_eq!(missing(&shown, "web1 3s\nNAME AGE\n"), Some("web1  3s"));
    assert_eq!(missing(&shown, "NAME AGE\nweb1 gone\n"), Some("web1  3s"));
    let page = "```console\n$ a\nb\n$ c\n```\n$ no\n   ```console\n   $ d\n   e f\n   ```\n";
    let commands: Vec<(String, Vec<String>)> =
        steps(page).into_iter().map(|step| (step.command, step.shown)).collect();
    let step = |command: &str, shown: &[&str]| {
        (command.to_owned(), shown.iter().map(|&line| line.to_owned()).collect::<Vec<String>>())
    };
    assert_eq!(commands, [step("a", &["b"]), step("c", &[]), step("d", &["e f"])]);
}
