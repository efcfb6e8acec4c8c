use serde_json::json;

use super::*;

fn object(name: &str, v: i64) -> Value {
    json!({"metadata": {"name": name, "namespace": "d"}, "v": v})
}

fn put(s: &Store, name: &str, v: i64) -> u64 {
    s.write(|tx| tx.put(&"things".into(), object(name, v)).rv)
}

fn after(s: &Store, rv: u64) -> Vec<(Change, u64)> {
    match s.after("things", rv, 100) {
        Next::Events(e) => e.iter().map(|e| (e.change, e.rv)).collect(),
        Next::Gone(_) => panic!("the history should reach back to {rv}"),
    }
}

#[test]
fn every_change_has_a_version_of_its_own() {
    let s = Store::new(100);
    let from = s.version();
    let (a, b, c) = (put(&s, "a", 1), put(&s, "b", 1), put(&s, "a", 2));
    assert!(from < a && a < b && b < c);
    let gone = s.write(|tx| tx.remove("things", "d", "b")).expect("it was there");
    assert_eq!(gone.rv, c + 1, "a delete is a change");
    assert_eq!(
        after(&s, from),
        [(Change::Added, a), (Change::Added, b), (Change::Modified, c), (Change::Deleted, gone.rv)]
    );
    assert_eq!(after(&s, b), [(Change::Modified, c), (Change::Deleted, gone.rv)]);
    assert_eq!(after(&s, gone.rv), []);
}

#[test]
fn what_falls_out_of_the_window_is_gone() {
    let s = Store::new(2);
    let from = s.version();
    let first = put(&s, "a", 1);
    put(&s, "a", 2);
    assert_eq!(after(&s, from).len(), 2);
    put(&s, "a", 3);
    assert!(matches!(s.after("things", from, 10), Next::Gone(f) if f == first));
    assert_eq!(after(&s, first).len(), 2, "who has seen the forgotten one misses nothing");
}

#[test]
fn compaction_forgets_everything_also_of_what_comes_later() {
    let s = Store::new(100);
    let from = put(&s, "a", 1);
    s.compact();
    assert!(matches!(s.after("things", from, 10), Next::Gone(_)));
    s.write(|tx| tx.put(&"others".into(), object("x", 1)));
    assert!(matches!(s.after("others", from, 10), Next::Gone(_)));
    let now = s.version();
    assert_eq!(after(&s, now), []);
}

#[test]
fn a_list_of_a_namespace_is_only_that_namespace() {
    let s = Store::new(10);
    s.write(|tx| {
        for ns in ["a", "ab", "b"] {
            tx.put(&"things".into(), json!({"metadata": {"name": "x", "namespace": ns}}));
        }
    });
    assert_eq!(s.list("things", Some("a")).0.len(), 1);
    assert_eq!(s.list("things", None).0.len(), 3);
}
