//! Who is calling: bearer tokens, all of them given out by this process.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::random;

mod rbac;
mod review;
pub use rbac::{Deed, allowed, rules_for};
pub use review::review;

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// As `system:serviceaccount:default:default`.
    pub name: String,
    /// Groups, as `system:authenticated`.
    pub groups: Vec<String>,
    /// Stable id.
    pub uid: String,
}

/// The tokens given out.
pub struct Auth {
    by_token: RwLock<HashMap<String, User>>,
    by_user: RwLock<HashMap<String, String>>,
}

// === impl User ===

impl User {
    /// The user of a name, with the groups that follow from the name.
    pub fn named(name: &str) -> Self {
        let mut groups: Vec<String> = Vec::new();
        if name == "admin" || name == "kubernetes-admin" {
            groups.push("system:masters".into());
        } else if name.starts_with("system:node:") {
            groups.push("system:nodes".into());
        } else if let Some(rest) = name.strip_prefix("system:serviceaccount:") {
            groups.push("system:serviceaccounts".into());
            if let Some((ns, _)) = rest.split_once(':') {
                groups.push(format!("system:serviceaccounts:{ns}"));
            }
        }
        groups.push("system:authenticated".into());
        Self { name: name.into(), groups, uid: random::uuid() }
    }

    /// A caller without a token.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            uid: String::new(),
        }
    }

    /// May do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == "system:masters")
    }

    /// As `UserInfo` of a review.
    pub fn to_json(&self) -> Value {
        json!({"username": self.name, "uid": self.uid, "groups": self.groups})
    }
}

// === impl Auth ===

impl Auth {
    /// No tokens yet.
    pub fn new() -> Self {
        Self { by_token: RwLock::default(), by_user: RwLock::default() }
    }

    /// The caller behind a token.
    pub fn who(&self, token: &str) -> Option<User> {
        self.by_token.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// The token of a user, the same each time.
    pub fn token_for(&self, name: &str) -> String {
        let mut users = self.by_user.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(t) = users.get(name) {
            return t.clone();
        }
        let token = mint(name);
        users.insert(name.to_owned(), token.clone());
        self.by_token
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.clone(), User::named(name));
        token
    }

    /// The token of a service account.
    pub fn service_account(&self, ns: &str, name: &str) -> String {
        self.token_for(&format!("system:serviceaccount:{ns}:{name}"))
    }
}

/// A token with the outer form of a JWT, so that tools that look inside see whose it is. It is checked by
/// looking it up, so the third part is only random.
fn mint(name: &str) -> String {
    let b64 = |b: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(b);
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({"iss": "https://kubernetes.default.svc.cluster.local", "sub": name, "iat": now, "nbf": now,
        "exp": now + 365 * 86400, "aud": ["https://kubernetes.default.svc.cluster.local"]});
    let head = b64(br#"{"alg":"ES256","typ":"JWT"}"#);
    format!("{head}.{}.{}", b64(claims.to_string().as_bytes()), b64(&random::bytes::<32>()))
}
