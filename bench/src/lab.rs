//! A lab for a measurement, made with the real binaries and taken away afterwards.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use pleopod_lab::layout::{Layout, NodeLayout};
use pleopod_sys_bpf::mount;
use serde_json::{Value, json};

use crate::ends::{Place, Server};

/// Where our binaries are.
#[derive(Clone, Debug)]
pub struct Bins(PathBuf);

/// A lab of two nodes, `n1` and `n2`; gone when dropped.
#[derive(Debug)]
pub struct Lab {
    bins: Bins,
    layout: Layout,
}

/// Two pods of a lab, one of which answers at port 7000; gone when dropped.
#[derive(Debug)]
pub struct Pair {
    /// Where to ask from.
    pub client: Pod,
    /// Whom to ask.
    pub to: SocketAddr,
    // Ends before its lab does.
    _server: Server,
    _lab: Lab,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its address.
    pub address: IpAddr,
    /// Where its processes are: its namespace, and a cgroup of its node.
    pub place: Place,
    /// UID of the object.
    pub uid: String,
}

/// How long pods and changes may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pod CIDRs are wide: an address that was given back is not given out again soon.
const TOPOLOGY: &str = "cluster-cidr: 10.64.0.0/12
nodes:
- {name: n1, address: 192.168.10.11, pod-cidr: 10.64.0.0/20, control-plane: true}
- {name: n2, address: 192.168.10.12, pod-cidr: 10.64.16.0/20}
";

// === impl Bins ===

impl Bins {
    /// The directory given, or that of this program.
    pub fn find(given: Option<PathBuf>) -> anyhow::Result<Self> {
        let dir = match given {
            Some(dir) => dir,
            None => std::env::current_exe()?.parent().context("this program lies nowhere")?.to_owned(),
        };
        let bins = Self(dir);
        for name in ["pleopod-lab", "pleopod-agent", "pleopod-cni"] {
            let file = bins.path(name);
            if !file.is_file() {
                bail!("{} is missing; `cargo build --release` makes it", file.display());
            }
        }
        Ok(bins)
    }

    /// The path of one.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

// === impl Lab ===

impl Lab {
    /// Brings one up.
    pub fn up(bins: &Bins) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let topology = std::env::temp_dir().join(format!("pleopod-{name}.yaml"));
        std::fs::write(&topology, TOPOLOGY)?;
        let lab = Self { bins: bins.clone(), layout: Layout::new(&name) };
        let file = topology.display().to_string();
        let up = lab.run(&["up", "--without-dns", "--topology", &file], "");
        std::fs::remove_file(&topology).ok();
        up?;
        Ok(lab)
    }

    /// Runs `pleopod-lab` with the lab's name; gives what it prints.
    pub fn run(&self, args: &[&str], stdin: &str) -> anyhow::Result<String> {
        let mut command = Command::new(self.bins.path("pleopod-lab"));
        command.args(["--name", &self.layout.lab]).args(args);
        command.env("PLEOPOD_AGENT", self.bins.path("pleopod-agent"));
        // Room for 100,000 Services of two backends.
        command.env("PLEOPOD_LB_FRONTENDS", "131072").env("PLEOPOD_LB_BACKENDS", "262144");
        command.env("PLEOPOD_CNI", self.bins.path("pleopod-cni"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no standard input")?.write_all(stdin.as_bytes())?;
        let out = child.wait_with_output()?;
        if !out.status.success() {
            bail!("pleopod-lab {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(String::from_utf8(out.stdout)?)
    }

    /// Creates or changes objects.
    pub fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        let text: Vec<String> = objects.iter().map(ToString::to_string).collect();
        self.run(&["apply", "-f", "-"], &text.join("\n---\n")).map(drop)
    }

    /// A pod that does nothing, on the node `node`, labelled `app: NAME`. Returns once it runs.
    pub fn pod(&self, name: &str, node: &str) -> anyhow::Result<Pod> {
        self.apply(&[json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10"}],
            },
        })])?;
        let end = Instant::now() + PATIENCE;
        loop {
            let object: Value = serde_json::from_str(&self.run(&["get", "pods", name, "-o", "json"], "")?)?;
            let text =
                |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            if text("/status/phase") == "Running" {
                let address = text("/status/podIP").parse().context("status.podIP")?;
                let uid = text("/metadata/uid");
                let netns = self.netns_of(node, &uid)?;
                return Ok(Pod {
                    address,
                    place: Place { netns: Some(netns), cgroup: Some(self.cgroup(node)?) },
                    uid,
                });
            }
            if Instant::now() > end {
                bail!("pod {name} does not run: {}", text("/status/phase"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn netns_of(&self, node: &str, uid: &str) -> anyhow::Result<PathBuf> {
        let record = self.node(node).pod(uid).join("sandbox.json");
        let sandbox: Value = serde_json::from_slice(&std::fs::read(&record)?)?;
        Ok(sandbox["netns"].as_str().context("a sandbox without a namespace")?.into())
    }

    /// A cgroup of a node for our own processes.
    pub fn cgroup(&self, node: &str) -> anyhow::Result<PathBuf> {
        let mount = mount::find_cgroup2()?.context("no cgroup2 is mounted")?;
        Ok(mount.join(self.layout.cgroup()).join(node).join("system/bench"))
    }

    /// Files of a node.
    pub fn node(&self, name: &str) -> NodeLayout {
        self.layout.node(name)
    }

    /// Directory of our pins on a node.
    pub fn pins(&self, node: &str) -> PathBuf {
        self.node(node).bpffs().join("pleopod")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The ClusterIP of a Service, which may take a moment.
    pub fn cluster_ip(&self, service: &str, port: u16) -> anyhow::Result<SocketAddr> {
        let object: Value =
            serde_json::from_str(&self.run(&["get", "services", service, "-o", "json"], "")?)?;
        let address = object.pointer("/spec/clusterIP").and_then(Value::as_str).context("no clusterIP")?;
        Ok(SocketAddr::new(address.parse()?, port))
    }
}

// === impl Pair ===

impl Pair {
    /// A lab with a client on `n1` and a server on `node`.
    pub fn up(bins: &Bins, node: &str, cpu: usize) -> anyhow::Result<Self> {
        let lab = Lab::up(bins)?;
        let (client, server) = (lab.pod("client", "n1")?, lab.pod("server", node)?);
        let to = SocketAddr::new(server.address, 7000);
        Ok(Self { client, to, _server: server.place.serve(to, cpu)?, _lab: lab })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["down"], "") {
            eprintln!("pleopod-bench: {error:#}");
        }
    }
}

/// A Service on port 80 of the pods labelled `app: APP`.
pub fn service(name: &str, app: &str, target: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": target}]},
    })
}
