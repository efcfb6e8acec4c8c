//! Names: which characters, how long.

use serde_json::Value;

use crate::error::FieldError;
use crate::meta;
use crate::resource::Resource;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// An RFC 1123 label.
pub fn is_label(s: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    s.len() <= 63
        && edge(s.chars().next())
        && edge(s.chars().last())
        && s.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// An RFC 1123 subdomain.
pub fn is_subdomain(s: &str) -> bool {
    s.len() <= 253
        && !s.is_empty()
        && s.split('.').all(|p| is_label(p) || (p.len() > 63 && is_label(&p[..63])))
}

/// An RFC 1035 label.
pub fn is_label_1035(s: &str) -> bool {
    is_label(s) && s.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Complains of a label that is none.
pub fn label(field: &str, s: &str, errors: &mut Vec<FieldError>) {
    if s.len() > 63 {
        errors.push(FieldError::invalid(field, &s.into(), "must be no more than 63 characters"));
    } else if !is_label(s) {
        errors.push(FieldError::invalid(field, &s.into(), LABEL));
    }
}

/// Checks `metadata.name` (or the base of a generated one) by the rule of the kind.
pub fn check(r: &Resource, v: &Value, errors: &mut Vec<FieldError>) {
    let generated = meta::name(v).is_empty();
    let (field, name) = if generated {
        ("metadata.generateName", meta::text(v, "/metadata/generateName").trim_end_matches(['-', '.']))
    } else {
        ("metadata.name", meta::name(v))
    };
    if generated && name.is_empty() {
        return;
    }
    let say = |why: &str| FieldError::invalid(field, &Value::from(name), why);
    if r.group == "rbac.authorization.k8s.io" {
        if name.contains(['/', '%']) || name == "." || name == ".." {
            errors.push(say("may not contain '/' or '%'"));
        }
        return;
    }
    match (r.group.as_str(), r.plural.as_str()) {
        ("", "services") if !is_label_1035(name) => {
            errors.push(say(if name.len() > 63 { "must be no more than 63 characters" } else { LABEL_1035 }));
        }
        ("", "services") => {}
        ("", "namespaces") => label(field, name, errors),
        _ if name.len() > 253 => errors.push(say("must be no more than 253 characters")),
        _ if !is_subdomain(name) => errors.push(say(SUBDOMAIN)),
        _ => {}
    }
}
