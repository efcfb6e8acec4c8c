//! Programs that stand in for well-known images and print what those print.
//!
//! They are this same binary under another name: a container runs it with the image's program as its first word.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub mod dns;
mod echo;
pub mod http;
mod nginx;
mod whoami;

pub use nginx::serve_pages;

/// How long servers go on accepting once they are told to stop.
const LAME_DUCK: Duration = Duration::from_millis(500);

/// A built-in program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// `traefik/whoami`: says who it is and who asks.
    Whoami,
    /// `nginx`: the welcome page and the access log.
    Nginx,
    /// Sends back what it gets, over TCP and UDP.
    Echo,
    /// Does nothing until told to stop.
    Pause,
    /// Cluster DNS.
    Dns,
}

const ALL: [Workload; 5] =
    [Workload::Whoami, Workload::Nginx, Workload::Echo, Workload::Pause, Workload::Dns];

// === impl Workload ===

impl Workload {
    /// The program's path in the real image.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Whoami => "/whoami",
            Self::Nginx => "nginx",
            Self::Echo => "/echo",
            Self::Pause => "/pause",
            Self::Dns => "/coredns",
        }
    }

    /// The workload this process was started as, by its first word.
    #[must_use]
    pub fn of_program(first: &str) -> Option<Self> {
        let name = Path::new(first).file_name()?;
        ALL.into_iter().find(|workload| Path::new(workload.program()).file_name() == Some(name))
    }

    /// Runs until done or told to stop; the result is the exit code.
    #[must_use]
    pub fn run(self, args: &[String]) -> u8 {
        let name = self.program().trim_start_matches('/');
        if let Ok(name) = std::ffi::CString::new(name) {
            let _ = rustix::thread::set_name(&name);
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("{name}: {error}");
                return 1;
            }
        };
        let outcome = runtime.block_on(async {
            match self {
                Self::Whoami => whoami::run(args).await,
                Self::Nginx => nginx::run(args).await,
                Self::Echo => echo::run(args).await,
                Self::Pause => stopped().await,
                Self::Dns => dns::run(args).await,
            }
        });
        match outcome {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                1
            }
        }
    }
}

/// Waits for SIGTERM, SIGINT or SIGQUIT.
pub async fn stopped() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
    }
    Ok(())
}

/// Waits as [`stopped`], and then a moment longer: whoever chose this server just before it left the endpoints of its
/// Service is still served.
async fn leaving() -> anyhow::Result<()> {
    stopped().await?;
    tokio::time::sleep(LAME_DUCK).await;
    Ok(())
}

/// The value of `--name VALUE`, `--name=VALUE`, and the same with one dash.
fn flag<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    args.iter().enumerate().find_map(|(at, arg)| {
        let rest = arg.trim_start_matches('-');
        if rest.len() == arg.len() {
            return None;
        }
        match rest.split_once('=') {
            Some((key, value)) if key == name => Some(value),
            None if rest == name => args.get(at + 1).map(String::as_str),
            _ => None,
        }
    })
}

/// A port from a flag, a variable or the default.
fn port(args: &[String], name: &str, variable: &str, default: u16) -> anyhow::Result<u16> {
    let variable = std::env::var(variable).ok();
    let Some(text) = flag(args, name).or(variable.as_deref()) else { return Ok(default) };
    text.parse().map_err(|_| anyhow::anyhow!("--{name}: `{text}` is not a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_their_first_word() {
        assert_eq!(Workload::of_program("/whoami"), Some(Workload::Whoami));
        assert_eq!(Workload::of_program("/usr/sbin/nginx"), Some(Workload::Nginx));
        assert_eq!(Workload::of_program("target/debug/pleopod-lab"), None);
    }

    #[test]
    fn flags_come_in_every_form() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for text in ["--port 81", "-port 81", "--port=81", "--name x -port=81"] {
            assert_eq!(flag(&args(text), "port"), Some("81"), "{text}");
        }
        assert_eq!(flag(&args("port 81"), "port"), None);
    }
}
