//! The harness of the walks: a lab of a test's own, driven from outside with the binaries that users get.
//!
//! The binaries are those of `PLEOPOD_BIN_DIR`, else those beside the test (`target/debug`); `cargo build -p pleopod-cli
//! -p pleopod-lab -p pleopod-agent -p pleopod-cni` makes them. A lab has a name of its own (`pleo-t-<pid>-<n>`) and is
//! taken down when its guard is dropped; what a killed test left is taken down by the next one.

pub mod background;
pub mod command;
pub mod runtime;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pleopod_lab::cgroup;
use pleopod_lab::layout::Layout;
use pleopod_lab::process::Owned;

pub use background::Background;
pub use command::{Run, Said};

/// What every lab of a test is called, before its process and its number.
const PREFIX: &str = "pleo-t-";
/// How long a lab may take to come up, on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(90);

/// A lab of a test; gone when dropped.
#[derive(Debug)]
pub struct Lab {
    layout: Layout,
    programs: PathBuf,
}

// === impl Lab ===

impl Lab {
    /// The built-in lab of three nodes: `k8s-s`, `k8s-w1`, `k8s-w2`.
    #[must_use]
    pub fn up() -> Self {
        Self::up_with(&[])
    }

    /// A lab made with more words for `pleopod lab up`, such as `--nodes 1` or `--topology FILE`.
    #[must_use]
    pub fn up_with(more: &[&str]) -> Self {
        let lab = Self::unmade();
        lab.bring_up(more).ok();
        lab
    }

    /// A lab with a name and nothing else yet: [`Lab::bring_up`] makes it.
    #[must_use]
    pub fn unmade() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        let programs = programs();
        SWEEP.call_once(|| sweep(&programs));
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        Self { layout: Layout::new(&format!("{PREFIX}{}-{number}", std::process::id())), programs }
    }

    /// `pleopod lab up` with more words; may be asked of a lab that is up.
    #[must_use]
    pub fn bring_up(&self, more: &[&str]) -> Said {
        self.pleopod(&["lab", "up"]).words(more).within(UP_WITHIN).run()
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.layout.lab
    }

    /// Paths and names of the lab.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// `pleopod WORDS` about this lab.
    #[must_use]
    pub fn pleopod(&self, words: &[&str]) -> Run {
        self.command(&self.programs.join("pleopod").display().to_string()).words(words)
    }

    /// Path of one of the binaries under test.
    #[must_use]
    pub fn program(&self, name: &str) -> String {
        self.programs.join(name).display().to_string()
    }

    /// `pleopod WORDS --node NODE`: what the agent of one node says.
    #[must_use]
    pub fn agent(&self, node: &str, words: &[&str]) -> Run {
        self.pleopod(&["--node", node]).words(words)
    }

    /// `kubectl WORDS` against the lab's API server.
    #[must_use]
    pub fn kubectl(&self, words: &[&str]) -> Run {
        self.command("kubectl").words(words)
    }

    /// `kubectl exec POD -- WORDS`, in the namespace `default`.
    #[must_use]
    pub fn exec(&self, pod: &str, words: &[&str]) -> Run {
        self.kubectl(&["exec", pod, "--"]).words(words)
    }

    /// A command on a node: in its network namespace, with its bpffs.
    #[must_use]
    pub fn node(&self, node: &str, words: &[&str]) -> Run {
        self.pleopod(&["lab", "node", node, "--"]).words(words)
    }

    /// A command on a host outside the cluster.
    #[must_use]
    pub fn outside(&self, host: &str, words: &[&str]) -> Run {
        self.pleopod(&["lab", "outside", host, "--"]).words(words)
    }

    /// Any program that is to be about this lab.
    #[must_use]
    pub fn command(&self, program: &str) -> Run {
        Run::new(program).env("PLEOPOD_LAB", self.name()).env("KUBECONFIG", self.layout.kubeconfig())
    }

    /// `kubectl apply` of objects in YAML, which must succeed; gives what it said.
    pub fn apply(&self, yaml: &str) -> String {
        self.kubectl(&["apply", "-f", "-"]).input(yaml).ok()
    }

    /// Waits until every pod of a namespace is Ready.
    pub fn ready(&self, namespace: &str) {
        self.kubectl(&["wait", "pods", "--all", "--for=condition=Ready", "--timeout=60s", "-n", namespace])
            .within(Duration::from_secs(70))
            .ok();
    }

    /// One field of one object, as `kubectl get -o jsonpath`; empty when the object has none.
    #[must_use]
    pub fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")]).ok()
    }

    /// The address of a pod in the namespace `default`.
    #[must_use]
    pub fn pod_ip(&self, pod: &str) -> String {
        let address = self.field(&format!("pod/{pod}"), ".status.podIP");
        assert!(!address.is_empty(), "pod {pod} has no address");
        address
    }

    /// The running agent of a node.
    #[must_use]
    pub fn agent_process(&self, node: &str) -> Owned {
        let record = self.layout.node(node).agent_record();
        Owned::read(&record).unwrap_or_else(|| panic!("no agent on record at {}", record.display()))
    }

    /// Waits until the agent of a node answers and finds everything in order.
    pub fn agent_ok(&self, node: &str) {
        until(&format!("the agent of {node} is well"), Duration::from_secs(20), || {
            self.agent(node, &["status"]).run().success().then_some(())
        });
    }

    /// What of the lab can be seen on the machine: namespaces, mounts, cgroups, files. Nothing once it is down.
    #[must_use]
    pub fn traces(&self) -> Vec<String> {
        let state = self.layout.state();
        let ours = self.layout.netns("");
        let namespaces = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let mut traces: Vec<String> = namespaces
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(&ours))
            .collect();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = format!("{}/", state.display());
        traces.extend(mounts.lines().filter(|line| line.contains(&below)).map(str::to_owned));
        let cgroup = cgroup::mount_point().expect("cgroup2").join(self.layout.cgroup());
        traces.extend(
            [cgroup, state].iter().filter(|path| path.exists()).map(|path| path.display().to_string()),
        );
        traces
    }

    /// Takes the lab down, as its end does; gives what the command said.
    pub fn down(&self) -> Said {
        self.pleopod(&["lab", "down"]).run()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell();
        }
        let said = self.down();
        if !said.success() {
            eprintln!("{said}");
        }
    }
}

impl Lab {
    /// What the agents and the daemon said last, for the one who reads why a test failed.
    fn tell(&self) {
        let nodes = std::fs::read_dir(self.layout.state().join("nodes")).into_iter().flatten().flatten();
        let mut logs: Vec<PathBuf> = nodes.map(|node| node.path().join("agent.log")).collect();
        logs.sort();
        logs.push(self.layout.daemon_log());
        for log in logs {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {}, its last lines", log.display());
            for line in &lines[lines.len().saturating_sub(25)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// Asks until there is an answer; fails when there is none in time.
pub fn until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {} s: {what}", within.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Fails for a line that a page of 120 columns does not hold. The path of the binaries may be any length.
#[track_caller]
pub fn fits_a_page(text: &str) {
    for line in text.lines().filter(|line| !line.starts_with("$ export PATH=")) {
        assert!(line.chars().count() <= 120, "wider than a page: {line}");
    }
}

/// A manifest that the lab brings along, such as `w4.yaml`.
#[must_use]
pub fn manifest(name: &str) -> String {
    repository().join("lab/manifests").join(name).display().to_string()
}

/// A topology that the lab brings along, such as `w1.yaml`.
#[must_use]
pub fn topology(name: &str) -> String {
    repository().join("lab/topologies").join(name).display().to_string()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the repository")
}

/// The directory of the binaries under test; all four must be there.
fn programs() -> PathBuf {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.to_owned());
    let directory = std::env::var_os("PLEOPOD_BIN_DIR").map(PathBuf::from).or_else(beside).expect("a path");
    for program in ["pleopod", "pleopod-lab", "pleopod-agent", "pleopod-cni"] {
        assert!(
            directory.join(program).is_file(),
            "no {program} in {}: run `cargo build -p pleopod-cli -p pleopod-lab -p pleopod-agent -p pleopod-cni`, or \
             name a directory in PLEOPOD_BIN_DIR",
            directory.display()
        );
    }
    directory
}

/// Takes down the labs of tests that were killed.
fn sweep(programs: &Path) {
    for lab in Layout::new("").labs() {
        let process = lab.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<i32>().ok());
        if process.is_some_and(|pid| Owned::of(pid).is_none()) {
            let pleopod = programs.join("pleopod").display().to_string();
            eprintln!("{}", Run::new(&pleopod).words(&["lab", "--name", &lab, "down"]).run());
        }
    }
}
