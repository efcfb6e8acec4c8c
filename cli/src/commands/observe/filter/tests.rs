use super::*;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn either_end_makes_two_filters() {
    let flags = Filter { pod: strings(&["netpod"]), port: vec![80], ..Default::default() };
    let list = filters(&flags).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(
        (&list[0].source_pod[..], &list[0].source_port[..]),
        (&strings(&["netpod"])[..], &strings(&["80"])[..])
    );
    assert_eq!(list[1].destination_pod, ["netpod"]);
    assert_eq!(list[1].destination_port, ["80"]);
    assert!(list[0].destination_pod.is_empty() && list[1].source_pod.is_empty());
}

#[test]
fn both_ends_make_one_filter() {
    let flags = Filter {
        from_pod: strings(&["netpod"]),
        to_namespace: strings(&["kube-system"]),
        verdict: vec![2],
        ..Default::default()
    };
    let list = filters(&flags).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].source_pod, ["netpod"]);
    assert_eq!(list[0].destination_pod, ["kube-system/"]);
    assert_eq!(list[0].verdict, [2]);
}

#[test]
fn no_flag_takes_everything() {
    assert!(filters(&Filter::default()).unwrap().is_empty());
}

#[test]
fn a_namespace_beside_a_pod_names_the_pods_namespace() {
    let flags =
        Filter { pod: strings(&["coredns"]), namespace: strings(&["kube-system"]), ..Default::default() };
    assert_eq!(filters(&flags).unwrap()[0].source_pod, ["kube-system/coredns"]);
}

#[test]
fn unclear_flags_are_refused() {
    let flags = Filter { pod: strings(&["a"]), from_pod: strings(&["b"]), ..Default::default() };
    assert!(
        matches!(filters(&flags), Err(Failure::Usage(text)) if text.starts_with("--pod cannot be combined"))
    );
    let flags = Filter { ip: strings(&["10.0.0.0/33"]), ..Default::default() };
    assert!(matches!(filters(&flags), Err(Failure::Usage(text)) if text.contains("from 0 to 32")));
    let flags = Filter { ip: strings(&["webpod"]), ..Default::default() };
    assert!(matches!(filters(&flags), Err(Failure::Usage(_))));
}

#[test]
fn event_types_have_names() {
    assert_eq!(event_type("drop").unwrap().r#type, 1);
    let to_endpoint = event_type("trace:to-endpoint").unwrap();
    assert_eq!((to_endpoint.r#type, to_endpoint.match_sub_type, to_endpoint.sub_type), (4, true, 0));
    assert_eq!(event_type("trace:to-network").unwrap().sub_type, 11);
    assert!(event_type("nonsense").is_err());
    assert!(event_type("trace:nonsense").is_err());
}
