//! The hash that tells pod templates apart, and the `ControllerRevision` objects that remember them.

use serde_json::{Value, json};

use super::change::{Change, controller_uid, owned_by, shelf};
use crate::meta;

/// A short word for a value: the same for the same value, whatever the order of its fields.
pub fn hash(v: &Value) -> String {
    let mut h = Fnv(0x811c_9dc5);
    walk(v, &mut h);
    h.0.to_string().bytes().map(|c| ALPHABET[usize::from(c) % ALPHABET.len()] as char).collect()
}

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a, 32 bit.
struct Fnv(u32);

impl Fnv {
    fn eat(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u32::from(*b)).wrapping_mul(0x0100_0193);
        }
    }
}

fn walk(v: &Value, h: &mut Fnv) {
    match v {
        Value::Object(m) => {
            let mut keys: Vec<&String> = m.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k).collect();
            keys.sort_unstable();
            h.eat(b"{");
            for k in keys {
                h.eat(k.as_bytes());
                h.eat(b":");
                walk(&m[k], h);
                h.eat(b",");
            }
            h.eat(b"}");
        }
        Value::Array(a) => {
            h.eat(b"[");
            for x in a {
                walk(x, h);
                h.eat(b",");
            }
            h.eat(b"]");
        }
        other => h.eat(other.to_string().as_bytes()),
    }
}

/// What a daemon set or stateful set runs now, and the objects to write so that `kubectl rollout undo` can go back.
pub struct Revision {
    /// Value of the `controller-revision-hash` label.
    pub hash: String,
    /// Name of the `ControllerRevision`.
    pub name: String,
    /// Wishes that keep the history.
    pub changes: Vec<Change>,
}

/// The revision of a workload's present template among the `ControllerRevision`s of its namespace.
pub fn current(workload: &Value, kind: &str, all: &[&Value]) -> Revision {
    let template = workload.pointer("/spec/template").cloned().unwrap_or_default();
    let hash = hash(&template);
    let name = format!("{}-{hash}", meta::name(workload));
    let uid = meta::uid(workload);
    let mut own: Vec<&Value> = all.iter().copied().filter(|r| controller_uid(r) == uid).collect();
    own.sort_by_key(|r| meta::int(r, "/revision").unwrap_or_default());
    let newest = own.last().and_then(|r| meta::int(r, "/revision")).unwrap_or_default();
    let mut changes = Vec::new();
    match own.iter().find(|r| meta::name(r) == name) {
        Some(r) if meta::int(r, "/revision") == Some(newest) => {}
        Some(r) => {
            let mut r = (*r).clone();
            r["revision"] = (newest + 1).into();
            changes.push(Change::Update { shelf: shelf::REVISIONS, object: r });
        }
        None => {
            let mut data = template.clone();
            data["$patch"] = "replace".into();
            let mut labels =
                workload.pointer("/spec/template/metadata/labels").cloned().unwrap_or_else(|| json!({}));
            labels["controller-revision-hash"] = hash.clone().into();
            changes.push(Change::Create {
                shelf: shelf::REVISIONS,
                object: json!({
                    "apiVersion": "apps/v1", "kind": "ControllerRevision",
                    "metadata": {
                        "name": name, "namespace": meta::namespace(workload), "labels": labels,
                        "ownerReferences": [owned_by(workload, "apps/v1", kind)],
                    },
                    "data": { "spec": { "template": data } },
                    "revision": newest + 1,
                }),
            });
        }
    }
    let keep =
        usize::try_from(meta::int(workload, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or(10) + 1;
    let old = own.iter().filter(|r| meta::name(r) != name).copied();
    let surplus = own.len().saturating_sub(keep);
    changes.extend(old.take(surplus).map(|r| Change::delete(shelf::REVISIONS, r)));
    Revision { hash, name, changes }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_nulls_do_not_matter() {
        let a = hash(&json!({"a": 1, "b": [true, "x"], "c": null}));
        assert_eq!(a, hash(&json!({"b": [true, "x"], "a": 1})));
        assert_ne!(a, hash(&json!({"b": ["x", true], "a": 1})));
        assert!(a.len() <= 10 && a.bytes().all(|c| ALPHABET.contains(&c)), "{a}");
    }

    #[test]
    fn going_back_gives_the_old_revision_a_new_number() {
        let mut ds =
            json!({"metadata": {"name": "d", "namespace": "n", "uid": "u"}, "spec": {"template": {"x": 1}}});
        let first = current(&ds, "DaemonSet", &[]);
        let [Change::Create { object: one, .. }] = &first.changes[..] else { panic!("{:?}", first.changes) };
        assert_eq!(one["revision"], 1);
        assert_eq!(current(&ds, "DaemonSet", &[one]).changes, []);
        ds["spec"]["template"]["x"] = 2.into();
        let second = current(&ds, "DaemonSet", &[one]);
        let [Change::Create { object: two, .. }] = &second.changes[..] else {
            panic!("{:?}", second.changes)
        };
        assert_eq!(two["revision"], 2);
        ds["spec"]["template"]["x"] = 1.into();
        let back = current(&ds, "DaemonSet", &[one, two]);
        let [Change::Update { object, .. }] = &back.changes[..] else { panic!("{:?}", back.changes) };
        assert_eq!((&object["revision"], meta::name(object)), (&json!(3), meta::name(one)));
    }
}
