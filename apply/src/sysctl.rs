//! Kernel settings of the calling thread's network namespace.

use std::fs;
use std::io;

use crate::Error;

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
    fs::write(&path, value).map_err(|source| Error::Sysctl { path, source })?;
    Ok(true)
}
