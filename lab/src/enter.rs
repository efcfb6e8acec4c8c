//! The small single-threaded program that turns itself into a process of a node or of a container.
//!
//! Namespaces belong to threads, so this is never done in the daemon: `pleopod-lab enter SPEC` is run, which joins the
//! namespaces and the cgroup and then executes the command. A container has a pid namespace of its own, which only a
//! child can be born into; then there are two processes:
//!
//! ```text
//! daemon -> enter (joins the cgroup, new pid namespace, waits) -> enter --inner (root, hostname) => the command, pid 1
//! ```
//!
//! The outer one stays as the container's keeper: it passes signals on and exits as the command did.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use serde::{Deserialize, Serialize};

use crate::process::Owned;

pub mod root;
mod view;

/// The command could not be started at all: what runtimes exit with.
pub const CANNOT_START: u8 = 128;

/// A process to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Network namespace to join, by path.
    pub netns: Option<PathBuf>,
    /// cgroup to join, by path.
    pub cgroup: Option<PathBuf>,
    /// Hostname; given, a UTS namespace is made for it.
    pub hostname: Option<String>,
    /// Mounts and pids the process sees.
    pub place: Place,
    /// Terminal to become the controlling one.
    pub tty: Option<PathBuf>,
    /// Directory to start in.
    pub cwd: Option<PathBuf>,
    /// Variables; in a container these are all there are.
    pub env: Vec<(String, String)>,
    /// The command. In a container the first word may be a built-in workload's.
    pub argv: Vec<String>,
    /// The command is a built-in workload of this program.
    pub builtin: bool,
    /// Directory where `process.json` and, on failure, `start-error` are written.
    pub report: Option<PathBuf>,
}

/// What the process sees of the file system and of other processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Place {
    /// What the caller sees.
    Here,
    /// What the caller sees, without any mount of cgroup2, in a cgroup namespace that begins at the cgroup joined.
    WithoutCgroup2,
    /// A node's view: its own `/sys`, its bpffs in the usual place.
    Node(view::View),
    /// A container: a private copy of the machine's root, own pids.
    Container(root::Root),
    /// Where the process with this pid (in the host's pid namespace) is.
    Join(i32),
}

pub use view::View;

// === impl Entry ===

impl Entry {
    /// An entry that only runs `argv` in the namespace at `netns`.
    #[must_use]
    pub fn in_netns(netns: PathBuf, argv: Vec<String>) -> Self {
        Self {
            netns: Some(netns),
            cgroup: None,
            hostname: None,
            place: Place::Here,
            tty: None,
            cwd: None,
            env: Vec::new(),
            argv,
            builtin: false,
            report: None,
        }
    }

    /// Reads an entry from a file (a path with a leading slash) or from JSON text.
    ///
    /// # Errors
    /// When the file can't be read or the text isn't an entry.
    pub fn parse(spec: &str) -> anyhow::Result<Self> {
        if spec.starts_with('/') {
            let text = fs::read(spec).with_context(|| format!("reading the entry {spec}"))?;
            return serde_json::from_slice(&text).with_context(|| format!("entry {spec}"));
        }
        serde_json::from_str(spec).context("entry given as text")
    }

    /// A command that becomes this entry's process when spawned.
    ///
    /// # Errors
    /// When this program's own path is not known.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(own_program());
        command.arg("enter").arg(serde_json::to_string(self)?);
        Ok(command)
    }

    /// Becomes the process; the exit code is the command's. Returns without running it only on failure.
    #[must_use]
    pub fn become_it(&self, spec: &str, inner: bool) -> u8 {
        // Held open: once inside the container's root, the path leads nowhere.
        let report = self.report.as_deref().and_then(|dir| fs::File::open(dir).ok());
        let outcome = if inner { self.inner() } else { self.outer(spec) };
        match outcome {
            Ok(code) => code,
            Err(error) => {
                if let Some(report) = report {
                    let file = format!("/proc/self/fd/{}/start-error", report.as_raw_fd());
                    let _ = fs::write(file, format!("{error:#}"));
                }
                eprintln!("pleopod-lab: cannot start {}: {error:#}", self.argv.join(" "));
                CANNOT_START
            }
        }
    }

    fn outer(&self, spec: &str) -> anyhow::Result<u8> {
        if let Some(cgroup) = &self.cgroup {
            fs::create_dir_all(cgroup).with_context(|| format!("making cgroup {}", cgroup.display()))?;
            fs::write(cgroup.join("cgroup.procs"), "0")
                .with_context(|| format!("joining cgroup {}", cgroup.display()))?;
        }
        match &self.place {
            Place::Here => {
                self.join_netns()?;
                self.set_hostname()?;
                self.execute()
            }
            Place::WithoutCgroup2 => {
                self.join_netns()?;
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP)
                    .context("making namespaces")?;
                view::remove_cgroup2()?;
                self.execute()
            }
            Place::Node(view) => {
                self.join_netns()?;
                unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
                view.make()?;
                self.set_hostname()?;
                self.execute()
            }
            Place::Container(_) => {
                unshare(CloneFlags::CLONE_NEWPID).context("making a pid namespace")?;
                self.keep(spec)
            }
            Place::Join(pid) => {
                join(*pid, "pid", CloneFlags::CLONE_NEWPID)?;
                self.keep(spec)
            }
        }
    }

    /// Starts the inner process, passes signals on and exits as it does.
    fn keep(&self, spec: &str) -> anyhow::Result<u8> {
        let signals = SigSet::all();
        signals.thread_block().context("blocking signals")?;
        let arrived = SignalFd::new(&signals).context("watching signals")?;
        let mut child = Command::new(own_program())
            .args(["enter", "--inner", spec])
            .spawn()
            .context("starting the inner process")?;
        let pid = child.id().cast_signed();
        if let Some(report) = &self.report
            && let Some(owned) = Owned::of(pid)
        {
            owned.write(&report.join("process.json")).context("recording the process")?;
        }
        let status = loop {
            let signal = arrived.read_signal().context("reading a signal")?;
            let number = signal.map_or(0, |info| info.ssi_signo.cast_signed());
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => {
                    if let Some(status) = child.try_wait().context("waiting")? {
                        break status;
                    }
                }
                // The terminal sends these to the command by itself.
                Ok(
                    Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP | Signal::SIGTTOU | Signal::SIGTTIN,
                ) => {}
                Ok(signal) => {
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
                }
                Err(_) => {}
            }
        };
        take_terminal_back();
        Ok(code_of(status))
    }

    fn inner(&self) -> anyhow::Result<u8> {
        match &self.place {
            Place::Container(root) => {
                self.join_netns()?;
                let private = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
                unshare(private).context("making namespaces")?;
                self.set_hostname()?;
                self.attach_terminal()?;
                root.make().context("making the container's root")?;
            }
            Place::Join(pid) => {
                self.attach_terminal()?;
                join(*pid, "net", CloneFlags::CLONE_NEWNET)?;
                join(*pid, "uts", CloneFlags::CLONE_NEWUTS)?;
                join(*pid, "ipc", CloneFlags::CLONE_NEWIPC)?;
                join(*pid, "mnt", CloneFlags::CLONE_NEWNS)?;
            }
            Place::Here | Place::WithoutCgroup2 | Place::Node(_) => bail!("this place has no inner process"),
        }
        SigSet::all().thread_unblock().context("unblocking signals")?;
        self.execute()
    }

    fn join_netns(&self) -> anyhow::Result<()> {
        let Some(path) = &self.netns else { return Ok(()) };
        let handle = fs::File::open(path).with_context(|| format!("network namespace {}", path.display()))?;
        setns(handle, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("joining network namespace {}", path.display()))
    }

    fn set_hostname(&self) -> anyhow::Result<()> {
        let Some(name) = &self.hostname else { return Ok(()) };
        if !matches!(self.place, Place::Container(_)) {
            unshare(CloneFlags::CLONE_NEWUTS).context("making a UTS namespace")?;
        }
        nix::unistd::sethostname(name).with_context(|| format!("setting the hostname {name}"))
    }

    /// Makes `tty` the controlling terminal, or, on the caller's own terminal, takes its foreground.
    fn attach_terminal(&self) -> anyhow::Result<()> {
        let Some(path) = &self.tty else {
            if matches!(self.place, Place::Join(_)) && rustix::termios::isatty(io::stdin()) {
                let _ = nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0));
                let _ = rustix::termios::tcsetpgrp(io::stdin(), rustix::process::getpid());
            }
            return Ok(());
        };
        let shown = path.display();
        let terminal = fs::OpenOptions::new().read(true).write(true).open(path);
        let terminal = terminal.with_context(|| format!("terminal {shown}"))?;
        nix::unistd::setsid().context("making a session")?;
        rustix::process::ioctl_tiocsctty(&terminal).with_context(|| format!("taking terminal {shown}"))?;
        rustix::stdio::dup2_stdin(&terminal).context("stdin")?;
        rustix::stdio::dup2_stdout(&terminal).context("stdout")?;
        rustix::stdio::dup2_stderr(&terminal).context("stderr")?;
        Ok(())
    }

    /// Replaces this process by the command. Returns only when that failed: as an exit code for what a shell has one.
    fn execute(&self) -> anyhow::Result<u8> {
        let Some(first) = self.argv.first() else { bail!("no command") };
        let mut command = if self.builtin {
            let mut command = Command::new("/proc/self/exe");
            command.arg0(first);
            command
        } else {
            Command::new(first)
        };
        command.args(&self.argv[1..]);
        if matches!(self.place, Place::Container(_) | Place::Join(_)) {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        let error = command.exec();
        if matches!(self.place, Place::Container(_)) {
            bail!("exec: {first:?}: {}", plain(&error));
        }
        eprintln!("pleopod-lab: {first}: {}", plain(&error));
        Ok(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
    }
}

/// The error's own words, without the number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// This program, by a name that survives its file being replaced.
fn own_program() -> &'static Path {
    Path::new("/proc/self/exe")
}

fn join(pid: i32, which: &str, flag: CloneFlags) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/ns/{which}");
    let handle = fs::File::open(&path).with_context(|| format!("{path}: the container is gone"))?;
    setns(handle, flag).with_context(|| format!("joining {path}"))
}

/// After the command had the terminal's foreground, takes it for this process group again. All signals are blocked
/// here, so SIGTTOU does no harm.
fn take_terminal_back() {
    if rustix::termios::isatty(io::stdin()) {
        let _ = rustix::termios::tcsetpgrp(io::stdin(), rustix::process::getpgrp());
    }
}

/// The exit code a shell would report.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(1)
}
