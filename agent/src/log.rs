//! The agent's log: one line an event on standard error, as text or JSON.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging as the configuration says.
pub fn start(config: &Config) -> anyhow::Result<()> {
    // The client logs each request that failed; what was being done, and that it is done again, is told by ourselves.
    let quiet = "kube_client::client::builder=off".parse()?;
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("config: log is {:?}", config.log))?
        .add_directive(quiet);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// An error with what it was caused by, on one line. A cause that the words before hold already is left out: errors of our
/// own rooms say theirs.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("enter network namespace /etc/passwd: {source}")]
    struct Ours {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let ours = || Ours { source: std::io::Error::from_raw_os_error(22) };
        let plain = anyhow::Error::from(ours());
        assert_eq!(one_line(&plain), "enter network namespace /etc/passwd: Invalid argument (os error 22)");
        let context = anyhow::Error::from(ours()).context("pod default/netpod");
        assert_eq!(
            one_line(&context),
            "pod default/netpod: enter network namespace /etc/passwd: Invalid argument (os error 22)"
        );
    }
}
