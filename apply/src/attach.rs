//! Which program belongs at which hook, and putting it there.
//!
//! Links are pinned: they outlive the agent, and the next agent puts its programs under the same links. An interface
//! that already has its programs is therefore never without. Kernels before 6.6 have no such links for interfaces; there a
//! filter of tc does the same and is the kernel's without a pin ([`Attach`]).

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pleopod_abi::maps::{PROGRAMS, ProgramKind};
use pleopod_sys_bpf::{Direction, Links, Loaded, Place};
use pleopod_sys_link::{Filter, Link, Netlink, Way};

use crate::Error;
use crate::base::Base;
use crate::expedite::Expedite;

/// How programs come to interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// By tcx where the kernel has it, else by tc.
    #[default]
    Auto,
    /// By links of tcx (kernel commit e420bed02507, 6.6).
    Tcx,
    /// By filters of `clsact`.
    Tc,
}

/// The programs of this agent and the links they go under.
#[derive(Debug)]
pub struct Hooks {
    links: Links,
    programs: HashMap<&'static str, Program>,
    expedite: Expedite,
    attach: Attach,
    /// Whether interfaces get filters of tc, as asked for or found out.
    by_tc: AtomicBool,
    netlink: Mutex<Netlink>,
    /// Filters of an agent that had no tcx.
    earlier: Mutex<BTreeSet<(u32, Way)>>,
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
    /// `ens5 tcx/ingress`, `ens5 tc/ingress`, `cgroup connect4`; with `(gone)` when the interface or cgroup is.
    pub hook: String,
    /// The kernel's number of the program.
    pub program_id: u32,
    /// The kernel's number of the link; 0 for a filter of tc, which has none.
    pub link_id: u32,
}

// === impl Hooks ===

impl Hooks {
    /// Over the programs of `loaded`, for interfaces of this thread's network namespace. Nothing is attached yet.
    pub fn new(loaded: &Loaded, attach: Attach) -> Result<Self, Error> {
        let mut programs = HashMap::new();
        for (name, _) in PROGRAMS {
            let fd = loaded.program(name)?.try_clone_to_owned();
            let fd = fd.map_err(|source| Error::Map { map: name, source })?;
            programs.insert(*name, Program { fd, id: loaded.program_facts(name)?.id });
        }
        let expedite = Expedite::start(loaded.pins()).map_err(|source| Error::Thread { source })?;
        let mut netlink = Netlink::open()?;
        let earlier = filters(&mut netlink)?.into_iter().map(|(_, f)| (f.ifindex, f.way)).collect();
        Ok(Self {
            links: Links::open(loaded.pins())?,
            programs,
            expedite,
            attach,
            by_tc: AtomicBool::new(attach == Attach::Tc),
            netlink: Mutex::new(netlink),
            earlier: Mutex::new(earlier),
        })
    }

    /// Whether interfaces get filters of tc. Known for certain once a program was attached.
    pub fn is_by_tc(&self) -> bool {
        self.by_tc.load(Ordering::Relaxed)
    }

    /// Puts the programs of the node's own interfaces back if they are filters, which anybody who clears an interface's
    /// queueing disciplines takes away. Does nothing for links.
    pub fn renew(&self, base: &Base, uplinks: &[Link]) -> Result<(), Error> {
        if !self.is_by_tc() {
            return Ok(());
        }
        self.base(base)?;
        uplinks.iter().try_for_each(|uplink| self.uplink(uplink))
    }

    /// The host side of a pod. Both programs, or an error and the pod must not be opened.
    pub fn pod(&self, ifname: &str, ifindex: u32) -> Result<(), Error> {
        self.at("from_pod", ifname, ifindex, Direction::Ingress)?;
        self.at("to_pod", ifname, ifindex, Direction::Egress)?;
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
        self.at("to_host", &host.name, host.index, Direction::Ingress)?;
        self.at("from_host", &host.name, host.index, Direction::Egress)?;
        self.at("to_host", &net.name, net.index, Direction::Ingress)?;
        Ok(())
    }

    /// An uplink.
    pub fn uplink(&self, uplink: &Link) -> Result<(), Error> {
        self.at("from_uplink", &uplink.name, uplink.index, Direction::Ingress)?;
        self.at("to_uplink", &uplink.name, uplink.index, Direction::Egress)?;
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
        let mut netlink = held(&self.netlink);
        hooks.extend(filters(&mut netlink)?.into_iter().map(|(ifname, filter)| Hook {
            program: self.name_of(filter.program_id).to_owned(),
            hook: format!("{ifname} tc/{}", filter.way.name()),
            program_id: filter.program_id,
            link_id: 0,
        }));
        hooks.sort_by(|a, b| a.hook.cmp(&b.hook));
        Ok(hooks)
    }

    fn at(&self, name: &str, ifname: &str, ifindex: u32, direction: Direction) -> Result<(), Error> {
        self.expedite.hurry();
        let program = self.program(name)?;
        let way = match direction {
            Direction::Ingress => Way::Ingress,
            Direction::Egress => Way::Egress,
        };
        if !self.is_by_tc() {
            match self.links.attach_tcx(program, name, ifname, ifindex, direction) {
                Err(e) if self.attach == Attach::Auto && e.is_unsupported() => {}
                other => {
                    other?;
                    if held(&self.earlier).remove(&(ifindex, way)) {
                        held(&self.netlink).detach_filter(ifindex, way)?;
                    }
                    return Ok(());
                }
            }
        }
        held(&self.netlink).attach_filter(program, &format!("{FILTER_PREFIX}{name}"), ifindex, way)?;
        self.by_tc.store(true, Ordering::Relaxed);
        // Of an agent that had tcx. Removed last: seen twice is better than not at all.
        Ok(self.links.detach_tcx_from(ifname, direction)?)
    }

    fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let missing = || pleopod_sys_bpf::Error::NoProgram { name: name.into(), kind: "loaded" };
        Ok(self.programs.get(name).ok_or_else(missing)?.fd.as_fd())
    }

    fn name_of(&self, id: u32) -> &'static str {
        self.programs.iter().find(|(_, program)| program.id == id).map_or("?", |(name, _)| name)
    }
}

/// What comes before a program's name in that of its filter.
const FILTER_PREFIX: &str = "pleo_";

/// Our filters in the namespace of `netlink`, each with the name of its interface.
pub(crate) fn filters(netlink: &mut Netlink) -> Result<Vec<(String, Filter)>, Error> {
    let names: HashMap<u32, String> =
        netlink.links()?.into_iter().map(|link| (link.index, link.name)).collect();
    let all: Vec<u32> = names.keys().copied().collect();
    let ours = netlink.filters(&all)?.into_iter().filter(|filter| filter.name.starts_with(FILTER_PREFIX));
    Ok(ours.map(|filter| (names.get(&filter.ifindex).cloned().unwrap_or_default(), filter)).collect())
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
