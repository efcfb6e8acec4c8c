//! Making and taking away labs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pleopod_lab::cluster::{Plan, Progress};
use pleopod_lab::daemon::{self, Ask};
use pleopod_lab::layout::{DEFAULT_LAB, Layout};
use pleopod_lab::process::Owned;
use pleopod_lab::teardown;
use pleopod_lab::topology::Topology;

use super::args::Up;
use super::{check_lab_name, running};

/// How long the daemon may take to answer at all.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

pub async fn up(name: Option<&str>, args: Up) -> anyhow::Result<()> {
    let layout = Layout::new(name.unwrap_or(DEFAULT_LAB));
    check_lab_name(&layout.lab)?;
    let topology = match &args.topology {
        Some(path) => Topology::from_file(path)?,
        None => Topology::built_in(args.nodes.unwrap_or(3))?,
    };
    if args.print_topology {
        print!("{}", topology.to_yaml()?);
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("a lab needs root: it makes network namespaces and loads BPF programs");
    }
    let running = Owned::read(&layout.daemon_record()).is_some_and(|daemon| daemon.alive());
    if running {
        let asked = args.topology.is_some() || args.nodes.is_some();
        same_topology(&layout, &topology, asked)?;
    } else {
        if layout.state().exists() {
            println!("lab {}: its daemon is gone; clearing what it left", layout.lab);
            remove(&layout).await?;
        }
        let plan = Plan {
            topology,
            agent: if args.without_agent {
                None
            } else {
                Some(program(args.agent, "pleopod-agent", "--agent")?)
            },
            cni: program(args.cni, "pleopod-cni", "--cni")?,
            agent_config: args.config.as_deref().map(agent_config).transpose()?.unwrap_or_default(),
            kubeconfig: args.kubeconfig.map(kubeconfig).transpose()?,
            dns: !args.without_dns,
        };
        start(&layout, &plan).context("starting the lab's daemon")?;
    }
    let said = follow(&layout).await?;
    if let Some(why) = said.failed {
        bail!(
            "lab {} did not come up: {why}\n  its daemon still runs so that you can look: log {}, agents' logs {}\n  take \
             it away with `pleopod lab down --name {}`",
            layout.lab,
            layout.daemon_log().display(),
            layout.state().join("nodes/*/agent.log").display(),
            layout.lab,
        );
    }
    println!(
        "lab {} is up. All its state is in memory: its objects are gone when it goes down or its daemon ends.\n  export \
         KUBECONFIG={} PLEOPOD_LAB={}\n  kubectl get nodes -o wide\n  pleopod status\n  pleopod lab down",
        layout.lab,
        layout.kubeconfig().display(),
        layout.lab,
    );
    Ok(())
}

/// A running lab keeps its topology; asking for another one is a mistake worth telling.
fn same_topology(layout: &Layout, topology: &Topology, asked: bool) -> anyhow::Result<()> {
    let current = super::topology_of(layout)?;
    if asked && current != *topology {
        bail!(
            "lab {} is up with another topology ({}); take it down first, or give the new one another --name",
            layout.lab,
            layout.topology().display()
        );
    }
    Ok(())
}

fn start(layout: &Layout, plan: &Plan) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(layout.state())?;
    std::fs::write(layout.topology(), plan.topology.to_yaml()?)?;
    std::fs::write(layout.plan(), serde_json::to_vec_pretty(plan)?)?;
    let log = std::fs::File::create(layout.daemon_log())?;
    let child = std::process::Command::new(std::env::current_exe()?)
        .args(["--name", &layout.lab, "daemon"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    // Recorded at once, so that `down` finds it whatever happens next.
    if let Some(owned) = Owned::of(child.id().cast_signed()) {
        owned.write(&layout.daemon_record())?;
    }
    Ok(())
}

async fn follow(layout: &Layout) -> anyhow::Result<Progress> {
    let end = Instant::now() + ANSWERS_WITHIN;
    // The file is there a moment before anyone listens at it.
    while tokio::net::UnixStream::connect(layout.socket()).await.is_err() {
        let alive = Owned::read(&layout.daemon_record()).is_some_and(|daemon| daemon.alive());
        if !alive || Instant::now() > end {
            let log = std::fs::read_to_string(layout.daemon_log()).unwrap_or_default();
            bail!("the lab's daemon did not start: {}", log.trim());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut last = Progress::default();
    let hear = |progress: Progress| {
        for step in &progress.steps[last.steps.len().min(progress.steps.len())..] {
            println!("  {step}");
        }
        last = progress;
    };
    daemon::ask(&layout.socket(), &Ask::Follow, hear).await?;
    Ok(last)
}

pub async fn down(name: Option<&str>, all: bool) -> anyhow::Result<()> {
    let labs: Vec<Layout> = if all {
        Layout::new(DEFAULT_LAB).labs().iter().map(|lab| Layout::new(lab)).collect()
    } else {
        match (name, running(name)) {
            (_, Ok(layout)) => vec![layout],
            // Nothing on record; whatever may be left under this name goes all the same.
            (Some(name), Err(_)) => vec![Layout::new(name)],
            (None, Err(_)) if Layout::new(DEFAULT_LAB).labs().is_empty() => vec![Layout::new(DEFAULT_LAB)],
            (None, Err(error)) => return Err(error),
        }
    };
    for layout in labs {
        let there = layout.state().exists();
        remove(&layout).await?;
        println!("lab {} {}", layout.lab, if there { "is gone" } else { "was not up" });
    }
    Ok(())
}

async fn remove(layout: &Layout) -> anyhow::Result<()> {
    let doomed = layout.clone();
    let removed = tokio::task::spawn_blocking(move || teardown::remove(&doomed)).await?;
    removed.with_context(|| format!("lab {}: not everything could be removed", layout.lab))
}

/// A program named on the command line, beside this one, or in PATH.
fn program(named: Option<PathBuf>, name: &str, flag: &str) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        if !named.is_file() {
            bail!("{flag} {}: there is no such program", named.display());
        }
        return Ok(std::path::absolute(named)?);
    }
    let own = std::env::current_exe()?;
    let beside = own.with_file_name(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(beside.clone())
        .chain(std::env::split_paths(&path).map(|dir| dir.join(name)))
        .find(|candidate| candidate.is_file());
    found.with_context(|| {
        format!(
            "{name} is neither beside this program ({}) nor in PATH; build it or give {flag}",
            beside.display()
        )
    })
}

fn kubeconfig(path: PathBuf) -> anyhow::Result<PathBuf> {
    std::fs::File::open(&path).with_context(|| format!("--kubeconfig {}", path.display()))?;
    Ok(std::path::absolute(path)?)
}

fn agent_config(path: &Path) -> anyhow::Result<BTreeMap<String, serde_json::Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("--config {}: not a YAML mapping", path.display()))
}
