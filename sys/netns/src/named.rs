//! Names of namespaces under `/run/netns`, shared with `ip netns`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::{Error, Netns, Result};

/// Where named namespaces live.
pub const DIRECTORY: &str = "/run/netns";

/// Path of the namespace called `name`.
pub fn path_of(name: &str) -> Result<PathBuf> {
    let plain =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']) && name.len() < 255;
    if !plain {
        return Err(Error::Name { name: name.into() });
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Whether a namespace is mounted at `name`. A leftover empty file is not one.
pub fn exists(name: &str) -> bool {
    path_of(name).is_ok_and(|path| is_mounted(&path))
}

/// Makes a namespace and its name. Fails with `AlreadyExists` when the name is taken; a leftover file without a
/// mount (a crash between the two) is used again.
pub fn create(name: &str) -> Result<Netns> {
    let path = path_of(name)?;
    let fail = |what| move |source| Error::Create { name: name.into(), what, source };
    prepare_directory().map_err(fail("prepare /run/netns"))?;
    match OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && !is_mounted(&path) => {}
        Err(e) => return Err(fail("make its file")(e)),
    }
    let target = path.clone();
    let made = std::thread::Builder::new()
        .name("netns".into())
        .spawn(move || -> io::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(())
        })
        .map_err(|source| Error::Thread { source })?
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Err(e) = made {
        // The file was ours; without it a later create can try again.
        let _ = fs::remove_file(&path);
        return Err(fail("mount it")(e));
    }
    Netns::open(path)
}

/// Removes a name. The namespace itself goes when nothing is left in it. Nothing there: done already.
pub fn delete(name: &str) -> Result<()> {
    let path = path_of(name)?;
    let fail = |source| Error::Delete { name: name.into(), source };
    while is_mounted(&path) {
        umount2(&path, MntFlags::MNT_DETACH).map_err(|errno| fail(errno.into()))?;
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(fail(e)),
        _ => Ok(()),
    }
}

/// Names of every namespace mounted under `/run/netns`, sorted.
pub fn list() -> Result<Vec<String>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::List { source }),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| is_mounted(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// A namespace file sits on nsfs, so its device differs from the directory's.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    matches!((device(path), device(Path::new(DIRECTORY))), (Ok(a), Ok(b)) if a != b)
}

/// Makes `/run/netns` a shared mount point, as `ip netns add` does, so that names made here are seen in other mount
/// namespaces and names removed there do not stay busy here.
fn prepare_directory() -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let share =
        || mount(None::<&str>, DIRECTORY, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Err(nix::errno::Errno::EINVAL) => {
            mount(
                Some(DIRECTORY),
                DIRECTORY,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
            share()?;
            Ok(())
        }
        other => Ok(other?),
    }
}
