//! Which program belongs at which hook, and putting it there.
//!
//! Links are pinned: they outlive the agent, and the next agent puts its programs under the same links. An interface
//! that already has its programs is therefore never without.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use pleopod_abi::maps::{PROGRAMS, ProgramKind};
use pleopod_sys_bpf::{Attached, Direction, Links, Loaded, Place};
use pleopod_sys_link::Link;

use crate::Error;
use crate::base::Base;
use crate::expedite::Expedite;

/// The programs of this agent and the links they go under.
#[derive(Debug)]
pub struct Hooks {
    links: Links,
    programs: HashMap<&'static str, Program>,
    expedite: Expedite,
}

#[derive(Debug)]
struct Program {
    fd: OwnedFd,
    id: u32,
}

/// A program at its hook, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hook {
    /// The program; `?` for one that this agent did not load.
    pub program: String,
    /// `ens5 tcx/ingress`, `cgroup connect4`; with `(gone)` when the interface or cgroup is.
    pub hook: String,
    /// The kernel's number of the program.
    pub program_id: u32,
    /// The kernel's number of the link.
    pub link_id: u32,
}

// === impl Hooks ===

impl Hooks {
    /// Over the programs of `loaded`. Nothing is attached yet.
    pub fn new(loaded: &Loaded) -> Result<Self, Error> {
        let mut programs = HashMap::new();
        for (name, _) in PROGRAMS {
            let fd = loaded.program(name)?.try_clone_to_owned();
            let fd = fd.map_err(|source| Error::Map { map: name, source })?;
            programs.insert(*name, Program { fd, id: loaded.program_facts(name)?.id });
        }
        let expedite = Expedite::start(loaded.pins()).map_err(|source| Error::Thread { source })?;
        Ok(Self { links: Links::open(loaded.pins())?, programs, expedite })
    }

    /// The host side of a pod. Both programs, or an error and the pod must not be opened.
    pub fn pod(&self, ifname: &str, ifindex: u32) -> Result<(), Error> {
        self.tcx("from_pod", ifname, ifindex, Direction::Ingress)?;
        self.tcx("to_pod", ifname, ifindex, Direction::Egress)?;
        Ok(())
    }

    /// Forgets the host side of a pod that is to be deleted. Call it after [`crate::pod::reaper::Reaper::remove`], which
    /// closes the interface: no packet may pass it without programs.
    pub fn release_pod(&self, ifname: &str) -> Result<(), Error> {
        self.expedite.hurry();
        Ok(self.links.detach_tcx(ifname)?)
    }

    /// `pleo_host` and `pleo_net`.
    pub fn base(&self, base: &Base) -> Result<(), Error> {
        let Base { host, net, .. } = base;
        self.tcx("to_host", &host.name, host.index, Direction::Ingress)?;
        self.tcx("from_host", &host.name, host.index, Direction::Egress)?;
        self.tcx("to_host", &net.name, net.index, Direction::Ingress)?;
        Ok(())
    }

    /// An uplink.
    pub fn uplink(&self, uplink: &Link) -> Result<(), Error> {
        self.tcx("from_uplink", &uplink.name, uplink.index, Direction::Ingress)?;
        self.tcx("to_uplink", &uplink.name, uplink.index, Direction::Egress)?;
        Ok(())
    }

    /// The socket programs, at a cgroup2 directory that all pods of the node and the node's own processes are under.
    pub fn sockets(&self, cgroup: &Path) -> Result<(), Error> {
        // What puts the Service's address back goes first: no socket is ever told a backend's.
        let (back, there): (Vec<_>, Vec<_>) = PROGRAMS
            .iter()
            .filter(|(_, kind)| *kind == ProgramKind::SockAddr)
            .partition(|(name, _)| name.starts_with("sock_recvmsg") || name.starts_with("sock_getpeer"));
        for (name, _) in back.into_iter().chain(there) {
            self.links.attach_cgroup(self.program(name)?, name, cgroup)?;
        }
        Ok(())
    }

    /// Removes pins of interfaces and cgroups that are gone. Answers their names.
    pub fn sweep(&self) -> Result<Vec<String>, Error> {
        Ok(self.links.sweep()?)
    }

    /// Every program at its hook.
    pub fn list(&self) -> Result<Vec<Hook>, Error> {
        let mut hooks: Vec<Hook> = self
            .links
            .list()?
            .into_iter()
            .map(|link| Hook {
                program: self.name_of(link.facts.prog_id).to_owned(),
                hook: hook_text(&link.name, &link.facts.place),
                program_id: link.facts.prog_id,
                link_id: link.facts.id,
            })
            .collect();
        hooks.sort_by(|a, b| a.hook.cmp(&b.hook));
        Ok(hooks)
    }

    fn tcx(&self, name: &str, ifname: &str, ifindex: u32, direction: Direction) -> Result<Attached, Error> {
        self.expedite.hurry();
        Ok(self.links.attach_tcx(self.program(name)?, name, ifname, ifindex, direction)?)
    }

    fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let missing = || pleopod_sys_bpf::Error::NoProgram { name: name.into(), kind: "loaded" };
        Ok(self.programs.get(name).ok_or_else(missing)?.fd.as_fd())
    }

    fn name_of(&self, id: u32) -> &'static str {
        self.programs.iter().find(|(_, program)| program.id == id).map_or("?", |(name, _)| name)
    }
}

fn hook_text(pin: &str, place: &Place) -> String {
    let gone = match place {
        Place::Tcx { ifindex: 0, .. } | Place::Cgroup { cgroup_id: 0, .. } => " (gone)",
        _ => "",
    };
    match (place, pin.rsplit_once('-')) {
        (Place::Tcx { .. }, Some((ifname, direction))) => format!("{ifname} tcx/{direction}{gone}"),
        (Place::Cgroup { .. }, _) => format!("cgroup {}{gone}", pin.trim_start_matches("sock_")),
        _ => pin.to_owned(),
    }
}
