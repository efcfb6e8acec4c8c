//! Loads the object: checks what is pinned, creates what is not, loads every program with its configuration.
//!
//! Pins live in `<bpffs>/pleopod/maps/NAME`. A pinned map is used again only when the kernel says that its type, sizes,
//! capacity and flags are those this binary expects, and when the layout version beside it is ours; anything else would
//! let programs read records of another shape. A map that differs is replaced by an empty one, and that is told.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_prog_info;
use pleopod_abi::maps::{ALL, MapSpec, call};
use pleopod_abi::{Config, LAYOUT};
use zerocopy::IntoBytes;

use crate::map::{Map, TypedMap};
use crate::raw::{self, TestRun};
use crate::{Error, object};

/// The layout of the maps.
const LAYOUT_MARK: &str = "layout";
/// The set of programs that was placed in `pleo_calls` last.
const CALLS_MARK: &str = "calls";

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Directory on bpffs that holds our pins (`<bpffs>/pleopod`); made when missing.
    pub pins: PathBuf,
    /// The programs' read-only data.
    pub config: Config,
    /// Capacities that differ from the table in `pleopod_abi::maps`: map name, entries.
    pub max_entries: Vec<(&'static str, u32)>,
}

/// What became of one pinned map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// There was none.
    Created,
    /// It is as expected and is used again.
    Reused,
    /// It was of another shape and was replaced by an empty one.
    Replaced {
        /// What differs.
        why: String,
    },
}

/// The loaded object. Programs and maps live as long as this value, maps also in their pins.
pub struct Loaded {
    programs: HashMap<String, OwnedFd>,
    maps: HashMap<String, Map>,
    reuse: Vec<(&'static str, Reuse)>,
    pins: PathBuf,
    // Holds the read-only data map.
    _ebpf: Ebpf,
}

/// Facts about a loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its id.
    pub id: u32,
    /// Instructions the verifier walked, over all paths.
    pub verified_insns: u32,
    /// Bytes after translation.
    pub xlated_len: u32,
    /// Bytes of machine code.
    pub jited_len: u32,
}

// === impl Loaded ===

impl Loaded {
    /// Loads the object that is built into this binary.
    pub fn load(options: &LoadOptions) -> Result<Self, Error> {
        let bytes = object::object()?;
        let dir = options.pins.join("maps");
        make_private_dir(&options.pins)?;
        make_private_dir(&dir)?;
        let entries = |spec: &MapSpec| {
            let own = options.max_entries.iter().find(|(name, _)| *name == spec.name);
            own.map_or(spec.max_entries, |(_, n)| *n)
        };
        let mut reuse = Vec::new();
        for spec in ALL {
            reuse.push((spec.name, check_pin(&dir.join(spec.name), spec, entries(spec), &options.pins)?));
        }
        let mut loader = EbpfLoader::new();
        let btf = aya::Btf::from_sys_fs().ok();
        let set = next_set(&options.pins);
        let config = Config { calls: set * call::SET, ..options.config };
        loader.btf(btf.as_ref()).override_global("CONFIG", config.as_bytes(), true);
        let paths: Vec<(&MapSpec, PathBuf)> = ALL.iter().map(|s| (s, dir.join(s.name))).collect();
        for (spec, path) in &paths {
            loader.map_max_entries(spec.name, entries(spec)).map_pin_path(spec.name, path.as_path());
        }
        let mut ebpf = loader.load(bytes).map_err(|e| Error::Load(chain(&e)))?;
        mark_number(&options.pins, LAYOUT_MARK, LAYOUT)?;
        let programs = load_programs(&mut ebpf)?;
        let mut maps = HashMap::new();
        for spec in ALL {
            let path = dir.join(spec.name);
            let map = Map::open(&path).map_err(Error::path("opening pinned map", &path))?;
            maps.insert(spec.name.to_owned(), map);
        }
        let loaded = Self { programs, maps, reuse, pins: options.pins.clone(), _ebpf: ebpf };
        loaded.place_calls(set)?;
        Ok(loaded)
    }

    /// Puts the programs that others go on in where those of this set look for them.
    fn place_calls(&self, set: u32) -> Result<(), Error> {
        let calls = self.map("pleo_calls")?;
        for (name, place) in call::ALL {
            let fd = self.program(name)?.as_raw_fd().cast_unsigned();
            let key = set * call::SET + place;
            calls
                .set(&key.to_ne_bytes(), &fd.to_ne_bytes())
                .map_err(Error::kernel(format!("placing {name}")))?;
        }
        mark_number(&self.pins, CALLS_MARK, set)
    }

    /// What became of each pinned map.
    pub fn reuse(&self) -> &[(&'static str, Reuse)] {
        &self.reuse
    }

    /// Where our pins are.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// A program by its name.
    pub fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let program = self.programs.get(name);
        program.map(AsFd::as_fd).ok_or_else(|| Error::NoProgram { name: name.into(), kind: "loaded" })
    }

    /// What the kernel says of a program.
    pub fn program_facts(&self, name: &str) -> Result<ProgramFacts, Error> {
        let info: bpf_prog_info =
            raw::info(self.program(name)?).map_err(Error::kernel(format!("reading program {name}")))?;
        Ok(ProgramFacts {
            id: info.id,
            verified_insns: info.verified_insns,
            xlated_len: info.xlated_prog_len,
            jited_len: info.jited_prog_len,
        })
    }

    /// A map by its name.
    pub fn map(&self, name: &str) -> Result<&Map, Error> {
        self.maps.get(name).ok_or_else(|| Error::NoMap(name.into()))
    }

    /// A map by its name with its records typed; a handle of its own.
    pub fn typed<K, V>(&self, name: &str) -> Result<TypedMap<K, V>, Error>
    where
        K: zerocopy::IntoBytes + zerocopy::FromBytes + zerocopy::Immutable + Copy,
        V: zerocopy::IntoBytes + zerocopy::FromBytes + zerocopy::Immutable + Copy,
    {
        let map = self.map(name)?.try_clone().map_err(Error::kernel(format!("map {name}")))?;
        Ok(TypedMap::new(map)?)
    }

    /// Runs a program over a packet without a wire (BPF_PROG_TEST_RUN). `ctx` as the program's type wants it, or empty.
    pub fn test_run(&self, name: &str, packet: &[u8], ctx: &[u8], repeat: u32) -> Result<TestRun, Error> {
        raw::prog_test_run(self.program(name)?, packet, ctx, repeat)
            .map_err(Error::kernel(format!("running {name}")))
    }
}

/// The set after the one that was placed last: programs of that one are still attached, and go on in their own.
fn next_set(pins: &Path) -> u32 {
    read_number(pins, CALLS_MARK).map_or(0, |set| (set + 1) % call::SETS)
}

/// Loads every program of the object.
fn load_programs(ebpf: &mut Ebpf) -> Result<HashMap<String, OwnedFd>, Error> {
    let mut programs = HashMap::new();
    let names: Vec<String> = ebpf.programs().map(|(n, _)| n.to_owned()).collect();
    for name in names {
        let refused =
            |e: &dyn std::error::Error| Error::Program { name: name.clone(), why: last_lines(&chain(e)) };
        let fd = match ebpf.program_mut(&name) {
            Some(Program::SchedClassifier(p)) => {
                p.load().map_err(|e| refused(&e))?;
                p.fd().and_then(|fd| Ok(fd.try_clone()?))
            }
            Some(Program::CgroupSockAddr(p)) => {
                p.load().map_err(|e| refused(&e))?;
                p.fd().and_then(|fd| Ok(fd.try_clone()?))
            }
            _ => return Err(Error::NoProgram { name, kind: "tcx or cgroup/sock_addr" }),
        };
        let fd = fd.map_err(|e| refused(&e))?;
        let fd = fd.as_fd().try_clone_to_owned().map_err(Error::kernel(format!("program {name}")))?;
        programs.insert(name, fd);
    }
    Ok(programs)
}

/// Looks at what is pinned at `path`. What can't be used again is removed, so that the loader creates it anew.
fn check_pin(path: &Path, spec: &MapSpec, entries: u32, pins: &Path) -> Result<Reuse, Error> {
    let map = match Map::open(path) {
        Ok(map) => map,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Reuse::Created),
        Err(e) => return Err(Error::path("opening pinned map", path)(e)),
    };
    let found = map.facts();
    let wanted = crate::MapFacts {
        kind: spec.kind as u32,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: entries,
        flags: spec.flags,
        ..found.clone()
    };
    // The kernel adds flags of its own to some kinds (LPM tries must be NO_PREALLOC); ours must at least be among them.
    let alike = crate::MapFacts { flags: found.flags, ..wanted.clone() };
    let layout = read_number(pins, LAYOUT_MARK);
    let why = if *found != alike || found.flags & spec.flags != spec.flags {
        format!("pinned: {found}; expected: {wanted}")
    } else if layout != Some(LAYOUT) {
        match layout {
            Some(other) => format!("pinned by layout {other}, this is layout {LAYOUT}"),
            None => "pinned by an unknown layout".to_owned(),
        }
    } else {
        return Ok(Reuse::Reused);
    };
    fs::remove_file(path).map_err(Error::path("removing pinned map", path))?;
    Ok(Reuse::Replaced { why })
}

/// bpffs holds directories and pins only, so a number is the name of a directory: `layout-1`, `calls-0`.
fn read_number(pins: &Path, what: &str) -> Option<u32> {
    let names = fs::read_dir(pins).ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names.filter_map(|n| n.strip_prefix(what)?.strip_prefix('-')?.parse().ok()).max()
}

fn mark_number(pins: &Path, what: &str, number: u32) -> Result<(), Error> {
    if let Some(old) = read_number(pins, what).filter(|old| *old != number) {
        let path = pins.join(format!("{what}-{old}"));
        fs::remove_dir(&path).map_err(Error::path("removing", &path))?;
    }
    make_private_dir(&pins.join(format!("{what}-{number}")))
}

fn make_private_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::path("making", path))
}

/// An error with everything it was caused by, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The end of a verifier log says why; the beginning can be thousands of lines.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
