//! What the server answers when it cannot do as asked: `metav1.Status` with the code, the reason and
//! the sentence a user of a real cluster knows.

use serde_json::{Value, json};

/// A refusal, in the terms of the Kubernetes API.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Machine readable reason, as in `metav1.StatusReason`.
    pub reason: &'static str,
    /// The sentence for a person.
    pub message: String,
    /// `metav1.StatusDetails`, when there are any.
    pub details: Option<Value>,
}

/// One complaint about one field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, as `spec.ports[0].port`.
    pub field: String,
    /// `FieldValueRequired`, `FieldValueInvalid`, ... as in `metav1.CauseType`.
    pub cause: &'static str,
    /// What is said about the field.
    pub detail: String,
}

/// Result of an API operation.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

// === impl FieldError ===

impl FieldError {
    /// The field is not there and must be.
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let detail = if why.is_empty() { "Required value".into() } else { format!("Required value: {why}") };
        Self { field: field.into(), cause: "FieldValueRequired", detail }
    }

    /// The field holds something it cannot hold.
    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            field: field.into(),
            cause: "FieldValueInvalid",
            detail: format!("Invalid value: {}: {why}", shown(value)),
        }
    }

    /// The field holds none of the values it may hold.
    pub fn unsupported(field: impl Into<String>, value: &Value, may: &[&str]) -> Self {
        let may = may.iter().map(|m| format!("{m:?}")).collect::<Vec<_>>().join(", ");
        let detail = format!("Unsupported value: {}: supported values: {may}", shown(value));
        Self { field: field.into(), cause: "FieldValueNotSupported", detail }
    }

    /// The same thing stands twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            field: field.into(),
            cause: "FieldValueDuplicate",
            detail: format!("Duplicate value: {}", shown(value)),
        }
    }

    /// The field may not be set, or not be changed, here.
    pub fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self { field: field.into(), cause: "FieldValueForbidden", detail: format!("Forbidden: {why}") }
    }
}

fn shown(v: &Value) -> String {
    match v {
        Value::Object(_) | Value::Array(_) => v.to_string(),
        other => other.to_string(),
    }
}

// === impl ApiError ===

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let mut d = serde_json::Map::new();
        if !name.is_empty() {
            d.insert("name".into(), name.into());
        }
        if !group.is_empty() {
            d.insert("group".into(), group.into());
        }
        if !kind.is_empty() {
            d.insert("kind".into(), kind.into());
        }
        self.details = Some(Value::Object(d));
        self
    }

    /// 404: no such object. `resource` is the plural, with `.group` behind it outside the core group.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", qualified(group, plural)))
            .about(group, plural, name)
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        let mut e = Self::new(404, "NotFound", "the server could not find the requested resource");
        e.details = Some(json!({}));
        e
    }

    /// 409: the name is taken.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", qualified(group, plural)))
            .about(group, plural, name)
    }

    /// 409: the object is not what the caller thinks it is.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {what} {name:?}: {why}"))
            .about(group, plural, name)
    }

    /// 409: the resourceVersion sent is not the current one.
    pub fn stale(group: &str, plural: &str, name: &str) -> Self {
        Self::conflict(
            group,
            plural,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 of a server-side apply: other managers own these fields.
    pub fn apply_conflict(causes: Vec<(String, String)>) -> Self {
        let lines: Vec<String> =
            causes.iter().map(|(who, field)| format!("conflict with {who}: {field}")).collect();
        let message = match lines.as_slice() {
            [one] => format!("Apply failed with 1 conflict: {one}"),
            many => {
                let mut by: Vec<(String, Vec<String>)> = Vec::new();
                for (who, field) in &causes {
                    match by.iter_mut().find(|(w, _)| w == who) {
                        Some((_, fs)) => fs.push(field.clone()),
                        None => by.push((who.clone(), vec![field.clone()])),
                    }
                }
                let body: Vec<String> = by
                    .iter()
                    .map(|(who, fs)| {
                        format!(
                            "conflicts with {who}:\n{}",
                            fs.iter().map(|f| format!("- {f}")).collect::<Vec<_>>().join("\n")
                        )
                    })
                    .collect();
                format!("Apply failed with {} conflicts: {}", many.len(), body.join("\n"))
            }
        };
        let causes: Vec<Value> = causes
            .into_iter()
            .map(|(who, field)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {who}"), "field": field})
            })
            .collect();
        let mut e = Self::new(409, "Conflict", message);
        e.details = Some(json!({ "causes": causes }));
        e
    }

    /// 422: the object breaks the rules of its kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let what = qualified(group, kind);
        let say: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.detail)).collect();
        let all = match say.as_slice() {
            [one] => one.clone(),
            _ => format!("[{}]", say.join(", ")),
        };
        let mut e =
            Self::new(422, "Invalid", format!("{what} {name:?} is invalid: {all}")).about(group, kind, name);
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.cause, "message": e.detail, "field": e.field}))
            .collect();
        if let Some(Value::Object(d)) = &mut e.details {
            d.insert("causes".into(), causes.into());
        }
        e
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: nobody we know.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: known, and not allowed.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        let shown = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        Self::new(403, "Forbidden", format!("{what}{shown} is forbidden: {why}")).about(group, plural, name)
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(why: &str) -> Self {
        Self::new(403, "Forbidden", format!("forbidden: {why}")).about("", "", "")
    }

    /// 405: the resource does not know this verb.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// 410: the history asked for is no longer there.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415: a content type the server does not read.
    pub fn unsupported_media(got: &str, may: &[&str]) -> Self {
        let may = may.join(", ");
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {may} (got {got:?})"
            ),
        )
    }

    /// 429: an eviction that a disruption budget holds back.
    pub fn too_many(message: impl Into<String>) -> Self {
        let mut e = Self::new(429, "TooManyRequests", message);
        e.details = Some(json!({"causes": [{"reason": "DisruptionBudget", "message": e.message.clone()}]}));
        e
    }

    /// 500: our fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {}", message.into()))
    }

    /// 503: the part that could answer is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The error as the `metav1.Status` object a client gets.
    pub fn to_status(&self) -> Value {
        let mut v = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        if let Some(d) = &self.details {
            v["details"] = d.clone();
        }
        v["code"] = self.code.into();
        v
    }
}

fn qualified(group: &str, what: &str) -> String {
    if group.is_empty() { what.to_owned() } else { format!("{what}.{group}") }
}
