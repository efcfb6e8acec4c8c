//! Kernel settings of the calling thread's network namespace.

use std::fs;
use std::io;

use crate::Error;

/// Where the settings are. `/proc/sys` is read-only in a container without all privileges; `deploy/daemonset.yaml` mounts
/// the node's at the second place. Either shows the settings of the namespace the caller is in.
const PLACES: [&str; 2] = ["/proc/sys", "/mnt/proc/sys"];

/// Sets `key` (`net/ipv4/ip_forward`) when it has another value. `false`: it had the value already.
///
/// A setting of a protocol that is switched off in the kernel is not there; that is no error when `optional`.
pub(crate) fn set(key: &str, value: &str, optional: bool) -> Result<bool, Error> {
    let path = format!("/proc/sys/{key}");
    match fs::read_to_string(&path) {
        Ok(now) if now.trim() == value => return Ok(false),
        Err(e) if optional && e.kind() == io::ErrorKind::NotFound => return Ok(false),
        _ => {}
    }
    let mut refused = None;
    for place in PLACES {
        match fs::write(format!("{place}/{key}"), value) {
            Ok(()) => return Ok(true),
            Err(source) => refused = refused.or(Some(source)),
        }
    }
    refused.map_or(Ok(true), |source| Err(Error::Sysctl { path, source }))
}
