//! Labs come up, run processes and go away without a trace. Pods here are in their node's network, so neither an agent
//! nor a plugin of ours is needed; `/bin/true` stands for a plugin that is always ready.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A lab of a test, with a root directory of its own; gone when dropped.
struct Lab {
    name: String,
    root: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("t-{}-{number}", std::process::id());
        Self { name, root: tempfile::Builder::new().prefix("pleo-t-").tempdir().expect("dir") }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pleopod-lab"));
        command.env("PLEOPOD_LAB_ROOT", self.root.path()).env("PLEOPOD_LAB", &self.name).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("pleopod-lab runs")
    }

    /// Runs a command that must succeed; gives its output.
    fn ok(&self, words: &[&str]) -> String {
        let out = self.run(words);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn up(&self, more: &[&str]) -> String {
        let words = [&["up", "--without-agent", "--without-dns", "--cni", "/bin/true"], more].concat();
        self.ok(&words)
    }

    fn apply(&self, yaml: &str) {
        let file = self.root.path().join("objects.yaml");
        std::fs::write(&file, yaml).expect("written");
        self.ok(&["apply", "-f", file.to_str().expect("path")]);
    }

    /// Asks `get` until its output has `text`.
    fn until(&self, words: &[&str], text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let out = self.ok(words);
            if out.contains(text) {
                return out;
            }
            assert!(Instant::now() < end, "{words:?} never said {text}:\n{out}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn state(&self) -> PathBuf {
        self.root.path().join(&self.name)
    }

    /// What of the lab can still be seen on the machine.
    fn traces(&self) -> Vec<String> {
        let mut traces: Vec<String> = pleopod_sys_netns::list()
            .expect("namespaces")
            .into_iter()
            .filter(|name| name.contains(&format!("-{}-", self.name)))
            .collect();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let root = self.root.path().display().to_string();
        traces.extend(mounts.lines().filter(|line| line.contains(&root)).map(str::to_owned));
        let cgroup =
            pleopod_lab::cgroup::mount_point().expect("cgroup2").join(format!("pleopod-lab-{}", self.name));
        if cgroup.exists() {
            traces.push(cgroup.display().to_string());
        }
        if self.state().exists() {
            traces.push(self.state().display().to_string());
        }
        traces
    }

    fn daemon(&self) -> pleopod_lab::process::Owned {
        pleopod_lab::process::Owned::read(&self.state().join("daemon.json")).expect("a daemon on record")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let out = self.run(&["down"]);
        if !out.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&out.stderr));
        }
    }
}

fn pod(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: k8s-s\n  hostNetwork: true\n  \
         terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: busybox\n    {more}\n"
    )
}

#[test]
fn two_labs_stand_side_by_side_and_go_without_a_trace() {
    let (one, two) = (Lab::new(), Lab::new());
    let said = one.up(&[]);
    assert!(said.contains("3 of 3 nodes Ready") && said.contains("in memory"), "{said}");
    two.up(&["--nodes", "1"]);
    let again = one.up(&[]);
    assert!(again.contains("3 of 3 nodes Ready"), "a second `up` says the same: {again}");
    let other = one.run(&["up", "--nodes", "2", "--without-agent", "--cni", "/bin/true"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("another topology"), "{other:?}");

    let address = one.ok(&["node", "k8s-w1", "--", "ip", "-br", "-4", "address", "show", "ens5"]);
    assert!(address.contains("192.168.10.101/24"), "{address}");
    let link = one.ok(&["node", "k8s-w1", "--", "cat", "/sys/class/net/ens5/mtu"]);
    assert_eq!(link.trim(), "9001");
    one.ok(&["node", "k8s-s", "--", "ping", "-c1", "-W2", "192.168.10.102"]);
    let web = one.ok(&["node", "k8s-w2", "--", "curl", "-s", "--max-time", "5", "203.0.113.10"]);
    assert!(web.contains("outside answers\nClient: 192.168.10.102\n"), "{web}");
    let name = one.ok(&["node", "k8s-s", "--", "dig", "+short", "+timeout=2", "outside.example"]);
    assert_eq!(name.trim(), "203.0.113.10");
    let nobody = two.run(&["node", "k8s-s", "--", "ping", "-c1", "-W1", "192.168.10.101"]);
    assert!(!nobody.status.success(), "a lab's packets reached another lab");

    for lab in [&one, &two] {
        lab.ok(&["down"]);
        assert_eq!(lab.traces(), [] as [String; 0]);
    }
}

#[test]
fn processes_run_in_pods_and_commands_beside_them() {
    let lab = Lab::new();
    lab.up(&["--nodes", "1"]);
    lab.apply(&pod("sleeper", "command: [sh, -c, 'echo began; exec sleep 1000']"));
    let shown = lab.until(&["get", "pods", "-o", "wide"], "Running");
    assert!(shown.contains("192.168.10.10") && shown.contains("1/1"), "{shown}");

    let out = lab.run(&["exec", "sleeper", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(out.status.code(), Some(7));
    assert_eq!((&out.stdout[..], &out.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let mut cat = lab.command(&["exec", "sleeper", "--", "cat"]);
    cat.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut cat = cat.spawn().expect("cat");
    std::io::Write::write_all(&mut cat.stdin.take().expect("stdin"), b"through").expect("written");
    assert_eq!(cat.wait_with_output().expect("cat ends").stdout, b"through");
    assert_eq!(lab.ok(&["exec", "sleeper", "--", "cat", "/proc/1/comm"]).trim(), "sleep");
    let none = lab.run(&["exec", "nobody", "--", "true"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("pod default/nobody is on no node"), "{none:?}");

    // What a container writes stays in it.
    let mark = format!("/etc/pleo-t-{}", std::process::id());
    lab.ok(&["exec", "sleeper", "--", "touch", &mark]);
    assert!(!std::path::Path::new(&mark).exists(), "{mark} was written on the machine");
    let resolver = std::fs::read_to_string("/etc/resolv.conf").ok();
    assert_ne!(Some(lab.ok(&["exec", "sleeper", "--", "cat", "/etc/resolv.conf"])), resolver);

    let log = std::fs::read_to_string(lab.state().join("index/default/sleeper/c/0.log")).expect("log");
    assert!(log.trim_end().ends_with(" stdout F began"), "{log}");
}

#[test]
fn endings_are_told_as_a_kubelet_tells_them() {
    let lab = Lab::new();
    lab.up(&["--nodes", "1"]);
    let never =
        |name: &str, more: &str| pod(name, more).replace("spec:\n", "spec:\n  restartPolicy: Never\n");
    lab.apply(&never("good", "command: ['true']"));
    lab.apply(&never("bad", "command: [sh, -c, 'exit 3']"));
    lab.apply(&never("none", "command: [pleo-no-such-program]"));
    lab.apply(&pod("unknown", "").replace("busybox", "example.com/strange:1"));
    lab.apply(&pod("crash", "command: [sh, -c, 'exit 1']"));
    lab.until(&["get", "pods", "good"], "Completed");
    lab.until(&["get", "pods", "bad"], "Error");
    lab.until(&["get", "pods", "crash"], "CrashLoopBackOff");
    lab.until(&["get", "pods", "unknown"], "ErrImagePull");
    let why = lab.until(&["get", "pod", "none", "-o", "json"], "StartError");
    assert!(why.contains("executable file not found"), "{why}");
    let why = lab.ok(&["get", "pod", "unknown", "-o", "json"]);
    assert!(why.contains("the lab pulls no images") && why.contains("traefik/whoami"), "{why}");
}

#[test]
fn a_killed_daemon_leaves_nothing_that_down_and_up_cannot_clear() {
    let lab = Lab::new();
    lab.up(&["--nodes", "1"]);
    lab.apply(&pod("sleeper", "command: [sleep, '1000']"));
    lab.until(&["get", "pods"], "Running");
    let sleeper = lab.state().join("index/default/sleeper/c/process.json");
    let sleeper = pleopod_lab::process::Owned::read(&sleeper).expect("the pod's process");
    assert!(lab.daemon().signal(rustix::process::Signal::KILL));
    assert!(lab.daemon().wait(Duration::from_secs(5)));
    let said = lab.up(&["--nodes", "1"]);
    assert!(said.contains("its daemon is gone"), "{said}");
    assert!(sleeper.wait(Duration::from_secs(5)), "a process of the lost lab still runs");
    assert!(lab.daemon().signal(rustix::process::Signal::KILL));
    lab.ok(&["down"]);
    assert_eq!(lab.traces(), [] as [String; 0]);
    assert!(lab.ok(&["down"]).contains("was not up"));
}

#[test]
fn a_cut_cable_is_cut_and_healed() {
    let lab = Lab::new();
    lab.up(&["--nodes", "2"]);
    let ping = || lab.run(&["node", "k8s-s", "--", "ping", "-c1", "-W1", "192.168.10.101"]).status.success();
    assert!(ping());
    lab.ok(&["fault", "link", "k8s-w1", "cut"]);
    assert!(!ping());
    assert!(lab.ok(&["status"]).lines().any(|line| line.starts_with("k8s-w1") && line.contains(" cut ")));
    lab.ok(&["fault", "link", "k8s-w1", "heal"]);
    let end = Instant::now() + Duration::from_secs(5);
    while !ping() {
        assert!(Instant::now() < end, "the healed cable carries nothing");
    }
    let unknown = lab.run(&["fault", "link", "k8s-w9", "cut"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no host k8s-w9"), "{unknown:?}");
}
