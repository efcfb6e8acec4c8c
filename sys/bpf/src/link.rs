//! Programs at their hooks, as links that are pinned: they stay when the process goes, and the next one puts its own
//! program under the same link, so that no packet ever finds the hook empty.
//!
//! Pins live in `<bpffs>/pleopod/links/NAME`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::raw::{self, LinkFacts, Place, Target};

/// Which way packets go at a tcx hook, seen from the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What the interface received.
    Ingress,
    /// What it is about to send.
    Egress,
}

/// How a program came to its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// A new link.
    Created,
    /// The link was there; its program was replaced in place.
    Updated,
}

/// The pinned links of one node.
#[derive(Clone, Debug)]
pub struct Links {
    dir: PathBuf,
}

/// A pinned link as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Name of the pin.
    pub name: String,
    /// What the kernel says.
    pub facts: LinkFacts,
}

// enum bpf_attach_type
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;

/// The attach type of a socket hook by the name of its program, as `enum bpf_attach_type` numbers them.
fn cgroup_attach_type(hook: &str) -> Option<u32> {
    Some(match hook {
        "sock_connect4" => 10,
        "sock_connect6" => 11,
        "sock_sendmsg4" => 14,
        "sock_sendmsg6" => 15,
        "sock_recvmsg4" => 19,
        "sock_recvmsg6" => 20,
        "sock_getpeer4" => 29,
        "sock_getpeer6" => 30,
        _ => return None,
    })
}

// === impl Direction ===

impl Direction {
    fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => TCX_INGRESS,
            Self::Egress => TCX_EGRESS,
        }
    }

    /// `ingress` or `egress`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

// === impl Links ===

impl Links {
    /// The links pinned under `pins` (`<bpffs>/pleopod`).
    pub fn open(pins: &Path) -> Result<Self, Error> {
        let dir = pins.join("links");
        fs::create_dir_all(&dir).map_err(Error::path("making", &dir))?;
        Ok(Self { dir })
    }

    /// Puts `program` at an interface of this thread's network namespace. The pin is called `<ifname>-<direction>`.
    pub fn attach_tcx(
        &self,
        program: BorrowedFd<'_>,
        name: &str,
        ifname: &str,
        ifindex: u32,
        direction: Direction,
    ) -> Result<Attached, Error> {
        let attach_type = direction.attach_type();
        let wanted = Place::Tcx { ifindex, attach_type };
        let target = format!("{ifname} tcx/{}", direction.name());
        let pin = self.dir.join(tcx_pin(ifname, direction));
        self.attach(&pin, program, name, target, wanted, Target::Interface(ifindex), attach_type)
    }

    /// Puts a socket program at a cgroup2 directory. Its name says the hook (`sock_connect4`, ...) and is the pin's.
    pub fn attach_cgroup(
        &self,
        program: BorrowedFd<'_>,
        name: &str,
        cgroup: &Path,
    ) -> Result<Attached, Error> {
        let target = cgroup.display().to_string();
        let attach_type = cgroup_attach_type(name)
            .ok_or_else(|| Error::NoProgram { name: name.into(), kind: "cgroup/sock_addr" })?;
        let dir = fs::File::open(cgroup).map_err(Error::path("opening cgroup", cgroup))?;
        // The kernel's id of a cgroup is its directory's inode number.
        let cgroup_id = dir.metadata().map_err(Error::path("reading cgroup", cgroup))?.ino();
        let wanted = Place::Cgroup { cgroup_id, attach_type };
        self.attach(
            &self.dir.join(name),
            program,
            name,
            target,
            wanted,
            Target::Cgroup(dir.as_fd()),
            attach_type,
        )
    }

    #[allow(clippy::too_many_arguments)]
    fn attach(
        &self,
        pin: &Path,
        program: BorrowedFd<'_>,
        name: &str,
        target: String,
        wanted: Place,
        at: Target<'_>,
        attach_type: u32,
    ) -> Result<Attached, Error> {
        let failed = |source| Error::Attach { program: name.to_owned(), target: target.clone(), source };
        match open_pin(pin)? {
            Some((link, facts)) if facts.place == wanted => {
                raw::link_update(link.as_fd(), program).map_err(failed)?;
                return Ok(Attached::Updated);
            }
            // A link of an interface or cgroup that is gone, or of another that had the name before.
            Some(_) => fs::remove_file(pin).map_err(Error::path("removing link", pin))?,
            None => {}
        }
        let link = raw::link_create(program, at, attach_type).map_err(failed)?;
        raw::obj_pin(link.as_fd(), pin).map_err(Error::path("pinning link", pin))?;
        Ok(Attached::Created)
    }

    /// Every pinned link, sorted by name.
    pub fn list(&self) -> Result<Vec<Pinned>, Error> {
        let mut links = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::path("listing", &self.dir))? {
            let entry = entry.map_err(Error::path("listing", &self.dir))?;
            if let Some((_, facts)) = open_pin(&entry.path())? {
                links.push(Pinned { name: entry.file_name().to_string_lossy().into_owned(), facts });
            }
        }
        links.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(links)
    }

    /// Takes the programs off an interface. An interface that has none is fine.
    pub fn detach_tcx(&self, ifname: &str) -> Result<(), Error> {
        self.detach_tcx_from(ifname, Direction::Ingress)?;
        self.detach_tcx_from(ifname, Direction::Egress)
    }

    /// Takes the program off one hook of an interface. One that has none is fine.
    pub fn detach_tcx_from(&self, ifname: &str, direction: Direction) -> Result<(), Error> {
        self.remove(&tcx_pin(ifname, direction))
    }

    /// Removes one pin, and with it the link. One that is not there is fine.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let pin = self.dir.join(name);
        match fs::remove_file(&pin) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::path("removing link", &pin)(e)),
            _ => Ok(()),
        }
    }

    /// Removes the pins of links whose interface or cgroup is gone. Answers their names.
    pub fn sweep(&self) -> Result<Vec<String>, Error> {
        let mut swept = Vec::new();
        for link in self.list()? {
            if matches!(link.facts.place, Place::Tcx { ifindex: 0, .. } | Place::Cgroup { cgroup_id: 0, .. })
            {
                self.remove(&link.name)?;
                swept.push(link.name);
            }
        }
        Ok(swept)
    }
}

fn tcx_pin(ifname: &str, direction: Direction) -> String {
    format!("{ifname}-{}", direction.name())
}

fn open_pin(pin: &Path) -> Result<Option<(OwnedFd, LinkFacts)>, Error> {
    let link = match raw::obj_get(pin) {
        Ok(link) => link,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::path("opening link", pin)(e)),
    };
    let facts = raw::link_facts(link.as_fd()).map_err(Error::path("reading link", pin))?;
    Ok(Some((link, facts)))
}

/// Removes every pin below `pins` (`<bpffs>/pleopod`), links first: after this no program of ours sees a packet.
pub fn uninstall(pins: &Path) -> Result<(), Error> {
    for part in ["links", "maps"] {
        let dir = pins.join(part);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::path("listing", &dir)(e)),
        };
        for entry in entries {
            let path = entry.map_err(Error::path("listing", &dir))?.path();
            fs::remove_file(&path).map_err(Error::path("removing", &path))?;
        }
    }
    match fs::remove_dir_all(pins) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::path("removing", pins)(e)),
        _ => Ok(()),
    }
}
