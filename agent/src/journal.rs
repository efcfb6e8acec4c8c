//! The lease journal's file: written whole before an answer leaves, read once at start.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ipnet::IpNet;
use pleopod_ipam::{Config, Ipam, JournalError};
use rustix::fs::{CWD, RenameFlags};

/// Where the leases of this node are kept.
#[derive(Clone, Debug)]
pub struct JournalFile {
    path: PathBuf,
}

/// What reading the journal gave.
#[derive(Debug)]
pub enum Restored {
    /// No file: a node that never had a pod, or one that rebooted with a clean state directory.
    Nothing,
    /// The leases as they were.
    Leases(Ipam),
    /// The file is there and can't be used: the reason, and where it was put aside.
    Unusable { reason: JournalError, aside: PathBuf },
}

// === impl JournalFile ===

impl JournalFile {
    /// The journal in `state_dir`, which is made when missing (mode 0700).
    pub fn open(state_dir: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .with_context(|| format!("state: making {}", state_dir.display()))?;
        Ok(Self { path: state_dir.join("leases.json") })
    }

    /// Writes all leases: into a second file that then changes places with the first, so that a reader sees the old ones or the
    /// new ones. Changing places, where rename would replace: ext4 takes a replaced or emptied file for one that must not be lost
    /// and writes to the disk at once, on the time of whoever waits for the lease.
    ///
    /// Not synced to disk: a process that dies loses nothing, and a machine that dies loses its pods with it.
    pub fn save(&self, ipam: &Ipam) -> anyhow::Result<()> {
        let temporary = self.path.with_extension("tmp");
        let write = || -> std::io::Result<()> {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&temporary)?;
            let bytes = ipam.journal();
            file.write_all(&bytes)?;
            file.set_len(bytes.len() as u64)?;
            // The first time there is nothing to change places with, and some file systems cannot.
            rustix::fs::renameat_with(CWD, &temporary, CWD, &self.path, RenameFlags::EXCHANGE)
                .or_else(|_| rustix::fs::rename(&temporary, &self.path))?;
            Ok(())
        };
        write().with_context(|| format!("state: writing {}", self.path.display()))
    }

    /// Reads the leases. A file that can't be used is put aside, never written over: it may be the only record there is.
    pub fn load(&self, config: Config, cidrs: &[IpNet]) -> anyhow::Result<Restored> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Restored::Nothing),
            Err(e) => return Err(e).with_context(|| format!("state: reading {}", self.path.display())),
        };
        match Ipam::restore(&bytes, config, cidrs) {
            Ok(ipam) => Ok(Restored::Leases(ipam)),
            Err(reason) => {
                let aside = match reason {
                    JournalError::Version { found, .. } => format!("version-{found}.json"),
                    _ => "damaged.json".to_owned(),
                };
                let aside = self.path.with_extension(aside);
                fs::rename(&self.path, &aside)
                    .with_context(|| format!("state: putting {} aside", self.path.display()))?;
                Ok(Restored::Unusable { reason, aside })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use pleopod_ipam::{Attachment, Timestamp};
    use pleopod_model::ObjectName;

    use super::*;

    fn cidrs() -> Vec<IpNet> {
        vec!["172.16.0.0/24".parse().expect("a prefix")]
    }

    #[test]
    fn leases_come_back_as_they_were_and_the_file_is_for_root_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = JournalFile::open(&dir.path().join("state")).expect("open");
        assert!(matches!(file.load(Config::default(), &cidrs()), Ok(Restored::Nothing)));
        let mut ipam = Ipam::new(Config::default(), &cidrs());
        let attachment = Attachment::new("c0ffee", "eth0");
        let pod = ObjectName::new("default", "netpod");
        let address = ipam.lease(&attachment, pod, "u1", Timestamp(1)).expect("a lease").addresses.clone();
        file.save(&ipam).expect("save");
        let mode = fs::metadata(&file.path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let Ok(Restored::Leases(back)) = file.load(Config::default(), &cidrs()) else {
            panic!("not restored")
        };
        let lease = back.get(&attachment).expect("the lease");
        assert_eq!((lease.addresses.clone(), lease.restored), (address, true));
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = JournalFile::open(dir.path()).expect("open");
        fs::write(&file.path, b"{\"format\":\"pleopod-leases\"").expect("write");
        let Ok(Restored::Unusable { aside, reason }) = file.load(Config::default(), &cidrs()) else {
            panic!("taken for good")
        };
        assert!(matches!(reason, JournalError::Damaged(_)), "{reason}");
        assert!(aside.ends_with("leases.damaged.json"));
        assert_eq!(fs::read(aside).expect("kept"), b"{\"format\":\"pleopod-leases\"");
        assert!(!file.path.exists());
    }

    #[test]
    fn a_journal_of_another_version_is_not_called_damaged() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = JournalFile::open(dir.path()).expect("open");
        file.save(&Ipam::new(Config::default(), &cidrs())).expect("save");
        let text =
            fs::read_to_string(&file.path).expect("the file").replace("\"version\":1", "\"version\":7");
        fs::write(&file.path, &text).expect("write");
        let Ok(Restored::Unusable { aside, reason }) = file.load(Config::default(), &cidrs()) else {
            panic!("taken for ours")
        };
        assert_eq!(reason.to_string(), "the lease journal has version 7, this agent reads 1");
        assert!(aside.ends_with("leases.version-7.json"));
        assert_eq!(fs::read_to_string(aside).expect("kept"), text);
    }
}
