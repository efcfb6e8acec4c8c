//! Unix sockets with tight modes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use tokio::net::UnixListener;

/// Listens at `path`, for root only (mode 0600). A socket left behind by an agent before is replaced: the node lock
/// says that nobody listens there any more.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("socket: replacing {}", path.display())),
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("socket: listening at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("socket: setting the mode of {}", path.display()))?;
    Ok(listener)
}
