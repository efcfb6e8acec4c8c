//! The one list of Debian packages, and their installation.

use anyhow::{Context, Result, bail};
use std::path::Path;

use super::Extent;
use crate::place::{self, Place};
use crate::steps::Step;

/// One Debian package.
struct Package {
    name: &'static str,
    /// What shows that it (or something as good) is there: a command, or a file when it begins with a slash.
    proof: &'static str,
    /// Who needs it: `Extent::Build` for building, `Extent::All` for tests, the lab and the benches.
    extent: Extent,
    /// What for.
    why: &'static str,
}

const fn build(name: &'static str, proof: &'static str, why: &'static str) -> Package {
    Package { name, proof, extent: Extent::Build, why }
}

const fn lab(name: &'static str, proof: &'static str, why: &'static str) -> Package {
    Package { name, proof, extent: Extent::All, why }
}

const PACKAGES: &[Package] = &[
    build("gcc", "cc", "linker of every Rust program; compiles ring"),
    build("libc6-dev", "/usr/include/stdio.h", "headers for ring"),
    build("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "cargo and rustup download over TLS"),
    lab("iproute2", "ip", "people and tests look at links, routes and neighbours as the kernel has them"),
    lab("bpftool", "bpftool", "the walk and tests list programs, links and maps without our own code"),
    lab("tcpdump", "tcpdump", "the walk and tests see what is on the wire"),
    lab("strace", "strace", "the walk shows connect() and getpeername() of a Service address"),
    lab("curl", "curl", "client in pods and on outside hosts"),
    lab("iputils-ping", "ping", "client in pods and on outside hosts"),
    lab("traceroute", "traceroute", "time-exceeded messages reach pods"),
    lab("bind9-dnsutils", "dig", "asks the cluster's DNS in pods"),
    lab("socat", "socat", "TCP and UDP ends that behave badly on purpose"),
    lab("netcat-openbsd", "nc", "netshoot's plain client"),
    lab("net-tools", "route", "netshoot's older commands: route, arp, netstat, ifconfig"),
    lab("procps", "ps", "processes of pods; sysctl"),
    lab("iptables", "iptables-save", "a test that no rule of ours exists"),
    lab("nftables", "nft", "the same, and one of the paths the benches compare with"),
    lab("iperf3", "iperf3", "long transfers under faults; benches"),
    lab("kubernetes-client", "kubectl", "stock kubectl drives the lab"),
];

/// Installs the packages whose proof is missing, all at once.
pub fn install(place: &Place, extent: Extent, step: Step) -> Result<()> {
    let wanted = PACKAGES.iter().filter(|p| extent == Extent::All || p.extent == Extent::Build);
    let (there, missing): (Vec<&Package>, Vec<&Package>) = wanted.partition(|p| p.is_there(place));
    if missing.is_empty() {
        step.done(&format!("all {} there", there.len()));
        return Ok(());
    }
    for package in &missing {
        step.note(&format!("{} is missing ({}: {})", package.proof, package.name, package.why));
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    let names = names.join(" ");
    if place.which("apt-get").is_none() {
        bail!("this machine has no apt-get: install what Debian calls {names} and run setup again");
    }
    if !place::is_root() {
        bail!("installing {names} takes root: run `cargo xtask setup` as root, or `apt-get install {names}`");
    }
    // A machine whose lists are stale or absent can't resolve names. Failing here is no reason to stop: they may suffice.
    step.doing("apt-get update");
    if let Err(error) = place::run(apt(place).args(["-q", "update"])) {
        step.note(&format!("{error:#}; going on with the lists this machine has"));
    }
    step.doing(&format!("apt-get install {names}"));
    place::run(
        apt(place).args(["-qy", "install", "--no-install-recommends"]).args(missing.iter().map(|p| p.name)),
    )
    .with_context(|| format!("Debian packages {names}"))?;
    if let Some(package) = missing.iter().find(|p| !p.is_there(place)) {
        bail!("{} is installed but {} is still not there", package.name, package.proof);
    }
    step.done(&format!("{} installed, {} were there", missing.len(), there.len()));
    Ok(())
}

impl Package {
    fn is_there(&self, place: &Place) -> bool {
        if self.proof.starts_with('/') {
            Path::new(self.proof).exists()
        } else {
            place.which(self.proof).is_some()
        }
    }
}

/// `apt-get` that never asks, and whose chatter goes to standard error, where progress goes.
fn apt(place: &Place) -> std::process::Command {
    let mut command = place.command("apt-get");
    // Another apt may hold the lock, as on a machine that has just booted.
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null())
        .stdout(std::io::stderr());
    command
}
