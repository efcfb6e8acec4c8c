use serde_json::json;

use super::*;

fn field(n: u8, body: &[u8]) -> Vec<u8> {
    let mut b = vec![n << 3 | 2, u8::try_from(body.len()).expect("short")];
    b.extend_from_slice(body);
    b
}

fn number(n: u8, v: u8) -> Vec<u8> {
    vec![n << 3, v]
}

fn object(api: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn a_service() {
    let meta = [field(1, b"s"), field(3, b"")].concat();
    let label = field(11, &[field(1, b"app"), field(2, b"web")].concat());
    let target = field(4, &[number(1, 1), number(2, 0), field(3, b"http")].concat());
    let port = [field(1, b"p"), number(3, 80), target, number(5, 0)].concat();
    let spec = [field(1, &port), field(4, b"ClusterIP")].concat();
    let body = object("v1", "Service", &[field(1, &[meta, label].concat()), field(2, &spec)].concat());
    let want = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "s", "labels": {"app": "web"}},
        "spec": {"ports": [{"name": "p", "port": 80, "targetPort": "http"}], "type": "ClusterIP"},
    });
    assert_eq!(decode(&body), Some(want));
}

#[test]
fn a_zero_that_means_something() {
    let spec = [number(1, 0), number(5, 0)].concat();
    let got = decode(&object("apps/v1", "Deployment", &field(2, &spec))).expect("readable");
    assert_eq!(got["spec"], json!({"replicas": 0}));
}

#[test]
fn fields_of_an_inlined_message_are_fields_of_the_outer_one() {
    let volume = [field(1, b"v"), field(2, &field(2, &[]))].concat();
    let got = decode(&object("v1", "Pod", &field(2, &field(1, &volume)))).expect("readable");
    assert_eq!(got["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}]));
}

#[test]
fn text_that_breaks_off_is_no_object() {
    let whole = object("v1", "Service", &field(1, &field(1, b"name")));
    for n in 0..whole.len() {
        // Some prefixes are complete messages of less; none may panic.
        let _ = decode(&whole[..n]);
    }
    assert_eq!(decode(&object("v1", "NoSuchKind", &[])), None);
    assert_eq!(decode(b"k8s\0\xff\xff\xff\xff"), None);
}
