//! Reviews: who am I, may I, is this token good.

use serde_json::{Value, json};

use super::{Deed, User, allowed, rules_for};
use crate::core::Core;
use crate::meta::{list, text};

/// Answers a review object by filling in its status.
pub fn review(core: &Core, caller: &User, kind: &str, mut v: Value) -> Value {
    let status = match kind {
        "TokenReview" => match core.auth.who(text(&v, "/spec/token")) {
            Some(u) => {
                json!({"authenticated": true, "user": u.to_json(), "audiences": v.pointer("/spec/audiences")})
            }
            None => json!({"authenticated": false, "error": "invalid bearer token"}),
        },
        "SelfSubjectReview" => json!({"userInfo": caller.to_json()}),
        "SelfSubjectRulesReview" => rules(core, caller, text(&v, "/spec/namespace")),
        _ => {
            let user = if kind == "SelfSubjectAccessReview" { caller.clone() } else { subject(&v) };
            json!({"allowed": allowed(core, &user, &deed(&v))})
        }
    };
    v["status"] = status;
    crate::meta::default(crate::meta::map(&mut v, "metadata"), "creationTimestamp", Value::Null);
    v
}

fn subject(v: &Value) -> User {
    let mut u = User::named(text(v, "/spec/user"));
    u.groups.extend(list(v, "/spec/groups").iter().filter_map(|g| g.as_str().map(str::to_owned)));
    u
}

fn deed(v: &Value) -> Deed {
    let at = |p: &str| text(v, &format!("/spec/resourceAttributes/{p}")).to_owned();
    if v.pointer("/spec/nonResourceAttributes").is_some() {
        return Deed {
            verb: text(v, "/spec/nonResourceAttributes/verb").into(),
            path: Some(text(v, "/spec/nonResourceAttributes/path").into()),
            ..Deed::default()
        };
    }
    let sub = at("subresource");
    let resource = if sub.is_empty() { at("resource") } else { format!("{}/{sub}", at("resource")) };
    Deed {
        verb: at("verb"),
        group: at("group"),
        resource,
        namespace: at("namespace"),
        name: at("name"),
        path: None,
    }
}

fn rules(core: &Core, user: &User, ns: &str) -> Value {
    let mut all = rules_for(core, user, ns);
    if user.is_master() {
        all.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        all.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let (urls, resources): (Vec<Value>, Vec<Value>) =
        all.into_iter().partition(|r| r.get("nonResourceURLs").is_some());
    json!({"resourceRules": resources, "nonResourceRules": urls, "incomplete": false})
}
