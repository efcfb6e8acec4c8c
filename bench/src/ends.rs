//! Processes at the ends of a measurement: this program again, in a namespace and a cgroup.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};

use crate::exchange::Mode;
use crate::latency::Summary;
use crate::rounds::Turns;

/// Where a process runs.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// Path of a network namespace
    #[arg(long)]
    pub netns: Option<PathBuf>,
    /// Directory of a cgroup, made when missing
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
}

/// A process that answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

// === impl Place ===

impl Place {
    /// A namespace, and the cgroup we are in.
    pub fn in_netns(path: &Path) -> Self {
        Self { netns: Some(path.to_owned()), cgroup: None }
    }

    /// Moves this process there. To be called before any thread is made. Also asks for the best place in the CPU's queue, so
    /// that what else the machine does is seen less: among the processes of its session, and, in a session of its own, among
    /// all (sched(7), autogroups).
    pub fn enter(&self) -> anyhow::Result<()> {
        if let Some(cgroup) = &self.cgroup {
            fs::create_dir_all(cgroup)?;
            fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| cgroup.display().to_string())?;
        }
        if let Some(netns) = &self.netns {
            let file = fs::File::open(netns).with_context(|| netns.display().to_string())?;
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| netns.display().to_string())?;
        }
        // Without the right to it the numbers are only less calm.
        rustix::process::setpriority_process(None, -20).ok();
        if rustix::process::setsid().is_ok() {
            fs::write("/proc/self/autogroup", "-20").ok();
        }
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let pair = |name: &str, path: &Option<PathBuf>| {
            path.iter().flat_map(|p| [name.to_owned(), p.display().to_string()]).collect::<Vec<_>>()
        };
        [pair("--netns", &self.netns), pair("--cgroup", &self.cgroup)].concat()
    }

    /// This program with other arguments, to be run at the place.
    pub fn command(&self, verb: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(verb).args(self.arguments()).stdin(Stdio::null());
        Ok(command)
    }

    /// Answers at `listen` until dropped.
    pub fn serve(&self, listen: SocketAddr, cpu: usize) -> anyhow::Result<Server> {
        let mut command = self.command("serve")?;
        command.args(["--listen", &listen.to_string(), "--cpu", &cpu.to_string()]);
        let mut server = Server { child: command.stdout(Stdio::piped()).spawn()? };
        let mut line = String::new();
        let stdout = server.child.stdout.as_mut().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "listening" {
            bail!("the server at {listen} did not start");
        }
        Ok(server)
    }

    /// One turn of exchanges with `to`.
    pub fn ask(&self, to: SocketAddr, mode: Mode, turns: &Turns) -> anyhow::Result<Summary> {
        let mode = match mode {
            Mode::Rr => "rr",
            Mode::Crr => "crr",
            Mode::Connect => "connect",
        };
        let seconds = turns.span.as_secs_f64().to_string();
        let mut command = self.command("ask")?;
        command.args(["--to", &to.to_string(), "--mode", mode]);
        command.args(["--seconds", &seconds, "--cpu", &turns.cpu.to_string()]);
        let out = command.stderr(Stdio::inherit()).output()?;
        if !out.status.success() {
            bail!("exchanges with {to} failed");
        }
        Ok(serde_json::from_slice(&out.stdout)?)
    }
}

// === impl Server ===

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
