//! Errors as the CNI specification numbers them.

use std::fmt;

use serde_json::json;

/// CNI error codes used here (specification 1.1.0, section "Error").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The configuration's `cniVersion` is not one we speak.
    IncompatibleVersion = 1,
    /// The container is not known, or not as ADD left it.
    UnknownContainer = 3,
    /// A `CNI_*` variable is missing or wrong.
    InvalidEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// Not JSON, or not of the expected shape.
    Decode = 6,
    /// The network configuration asks for something wrong.
    InvalidConfig = 7,
    /// Nothing is wrong with the call: try it again later.
    TryAgainLater = 11,
    /// STATUS: the plugin cannot serve ADD.
    NotAvailable = 50,
    /// The agent refused; our own, above the reserved range.
    Refused = 100,
}

/// An error with the code a runtime acts on and the sentence a person reads.
#[derive(Debug)]
pub struct Error {
    code: Code,
    msg: String,
}

// === impl Error ===

impl Error {
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into() }
    }

    /// The same sentence with another number.
    pub fn numbered(self, code: Code) -> Self {
        Self { code, ..self }
    }

    #[cfg(test)]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The error object for standard output.
    pub fn to_json(&self, cni_version: &str) -> String {
        json!({ "cniVersion": cni_version, "code": self.code as u32, "msg": self.msg }).to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.msg, self.code as u32)
    }
}
