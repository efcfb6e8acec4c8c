//! `pleopod-agent install`, `uninstall` and `pause`: what the DaemonSets of `deploy/` run beside the agent.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pleopod_sys_bpf::mount;

/// Name of the plugin beside `pleopod-agent`, and in the runtime's directory.
const PLUGIN: &str = "pleopod-cni";
/// Name of the conflist; runtimes take the first in alphabetical order.
const CONFLIST: &str = "05-pleopod.conflist";
/// The conflist as it is installed. Runtimes of CNI 1.1 take the newest of `cniVersions` and call STATUS and GC then; older
/// ones do not know the list and go by `cniVersion`.
const CONFLIST_TEXT: &str = include_str!("../../deploy/05-pleopod.conflist");

/// Makes a node ready for the agent: mounts, plugin, conflist.
#[derive(Debug, clap::Args)]
pub struct Install {
    /// Where bpffs is to be.
    #[arg(long, default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
    /// Where cgroup2 is to be mounted when the node has none.
    #[arg(long, default_value = "/run/pleopod/cgroup2")]
    pub cgroup2: PathBuf,
    /// The runtime's directory of plugins.
    #[arg(long, default_value = "/opt/cni/bin")]
    pub cni_bin: PathBuf,
    /// The runtime's directory of conflists.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf: PathBuf,
}

/// Takes everything of Pleopod off a node.
#[derive(Debug, clap::Args)]
pub struct Uninstall {
    /// Where bpffs is.
    #[arg(long, default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
    /// The runtime's directory of plugins.
    #[arg(long, default_value = "/opt/cni/bin")]
    pub cni_bin: PathBuf,
    /// The runtime's directory of conflists.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf: PathBuf,
    /// Directory of the leases.
    #[arg(long, default_value = "/var/lib/pleopod")]
    pub state_dir: PathBuf,
    /// Directory of the sockets.
    #[arg(long, default_value = "/run/pleopod")]
    pub run_dir: PathBuf,
}

/// Mounts what is missing, then plugin, then conflist: a runtime that sees the conflist finds the plugin.
pub fn install(install: &Install) -> anyhow::Result<()> {
    if mount::ensure_bpffs(&install.bpffs)? {
        println!("mounted bpffs at {}", install.bpffs.display());
    }
    match mount::find_cgroup2()? {
        Some(path) => println!("cgroup2 is at {}", path.display()),
        None => {
            mount::ensure_cgroup2(&install.cgroup2)?;
            println!("mounted cgroup2 at {}", install.cgroup2.display());
        }
    }
    let own = std::env::current_exe().context("finding this program")?;
    let plugin = own.with_file_name(PLUGIN);
    let bytes = fs::read(&plugin).with_context(|| format!("reading {}", plugin.display()))?;
    replace(&install.cni_bin.join(PLUGIN), &bytes, 0o755)?;
    replace(&install.cni_conf.join(CONFLIST), CONFLIST_TEXT.as_bytes(), 0o644)
}

/// Conflist first, so that no new pod comes; then what the kernel holds; then what is on disk. Nothing at all while an
/// agent runs.
pub fn uninstall(uninstall: &Uninstall) -> anyhow::Result<()> {
    let pins = uninstall.bpffs.join("pleopod");
    let _lock = match pins.exists() {
        true => Some(crate::lock::take(&pins, &uninstall.run_dir)?),
        false => None,
    };
    remove(&uninstall.cni_conf.join(CONFLIST))?;
    remove(&uninstall.cni_bin.join(PLUGIN))?;
    let removed = pleopod_apply::uninstall::uninstall(&pins)?;
    if removed.programs {
        println!("removed programs and maps under {}", pins.display());
    }
    println!("removed {} pod interfaces", removed.pods);
    for route in removed.routes {
        println!("removed route {route}");
    }
    if removed.base {
        println!("removed {}", pleopod_apply::base::HOST_IFNAME);
    }
    // A killed agent leaves the files it was writing.
    for name in ["leases.json", "leases.tmp", "leases.damaged.json", crate::remembered::FILE, "node.tmp"] {
        remove(&uninstall.state_dir.join(name))?;
    }
    for file in std::fs::read_dir(&uninstall.state_dir).into_iter().flatten().flatten() {
        // Journals of other versions, put aside.
        if file.file_name().to_string_lossy().starts_with("leases.version-") {
            remove(&file.path())?;
        }
    }
    for name in ["agent.sock", "hubble.sock", "agent.pid"] {
        remove(&uninstall.run_dir.join(name))?;
    }
    Ok(())
}

/// Sleeps until told to end, so that a DaemonSet whose work is its init container counts as ready.
pub fn pause() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?.recv().await;
        Ok(())
    })
}

/// Writes beside, then renames: a plugin that runs at this moment keeps its file.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let doing = || format!("installing {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(doing)?;
    }
    let temporary = path.with_extension("pleopod-tmp");
    let write = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        std::io::Write::write_all(&mut file, bytes)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
        fs::rename(&temporary, path)
    };
    write().with_context(doing)?;
    println!("installed {}", path.display());
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => println!("removed {}", path.display()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("removing {}", path.display())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_runtimes_are_offered_1_1_and_old_ones_what_they_know() {
        let conflist: serde_json::Value = serde_json::from_str(CONFLIST_TEXT).expect("JSON");
        assert_eq!(conflist["cniVersion"], "1.0.0");
        assert_eq!(conflist["cniVersions"], serde_json::json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
        assert_eq!(conflist["plugins"][0]["type"], PLUGIN);
    }
}
