//! What can go wrong between us and the API server.

use std::time::Duration;

use pleopod_model::Labels;

/// A request failed. The message says what was being done; [`Error::is_retryable`] whether doing it again may help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client can be made from what was given.
    #[error("can't connect to the API server: {0}")]
    Connect(String),
    /// The API server refused or could not be reached.
    #[error("{doing}: {}", describe(source))]
    Api {
        /// What was being done, on which object.
        doing: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{doing}: no answer from the API server within {} s", after.as_secs())]
    Timeout {
        /// What was being done, on which object.
        doing: String,
        /// How long was waited.
        after: Duration,
    },
    /// Every identity number is taken.
    #[error("no identity number is free for the labels {}; remove PleopodIdentities that nobody uses", .0.to_strings().join(", "))]
    NoIdentity(Box<Labels>),
}

// === impl Error ===

impl Error {
    /// Whether the same request may succeed later: the server was away or busy, not unwilling.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NoIdentity(_) => false,
            Self::Timeout { .. } => true,
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code >= 500 || status.code == 429 || status.code == 409,
                _ => true,
            },
        }
    }

    /// Whether the server does not know the object (or its kind).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(source.as_ref(), kube::Error::Api(s) if s.is_not_found()))
    }
}

/// Longest wait for one answer. Watches have their own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for an answer, and says what was being done if there is none.
pub(crate) async fn answer<T>(
    doing: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Api { doing: doing(), source: Box::new(source) }),
        Err(_) => Err(Error::Timeout { doing: doing(), after: PATIENCE }),
    }
}

/// One line for people: the server's own message, or the chain of causes.
pub(crate) fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return if status.message.is_empty() {
            format!("the API server answered {}", status.code)
        } else {
            status.message.clone()
        };
    }
    let text = match error {
        // Its own words say only that it is one.
        kube::Error::Service(cause) => chain(cause.as_ref()),
        other => chain(other),
    };
    // The TLS library closes this message with a link into its manual.
    match text.rfind(": https://") {
        Some(at) if text.ends_with("#unexpected-eof") => text[..at].to_owned(),
        _ => text,
    }
}

/// An error and its causes, leaving out those a message repeats.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
