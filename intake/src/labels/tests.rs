use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn pod(labels: &[(&str, &str)]) -> Pod {
    Pod { labels: map(labels), service_account: "default".into(), ..Pod::default() }
}

#[test]
fn a_pod_has_the_labels_people_know() {
    let namespace = map(&[("kubernetes.io/metadata.name", "default")]);
    let labels = of_pod("default", &namespace, &pod(&[("app", "netpod")]), "default");
    assert_eq!(
        labels.to_strings(),
        [
            "k8s:app=netpod",
            "k8s:io.kubernetes.pod.namespace=default",
            "k8s:io.pleopod.k8s.namespace.labels.kubernetes.io/metadata.name=default",
            "k8s:io.pleopod.k8s.policy.cluster=default",
            "k8s:io.pleopod.k8s.policy.serviceaccount=default",
        ]
    );
}

#[test]
fn copies_of_a_workload_share_their_labels() {
    let first =
        pod(&[("app", "web"), ("pod-template-hash", "55cb58b774"), ("apps.kubernetes.io/pod-index", "0")]);
    let second = pod(&[
        ("app", "web"),
        ("controller-revision-hash", "1"),
        ("statefulset.kubernetes.io/pod-name", "w-1"),
    ]);
    let none = BTreeMap::new();
    assert_eq!(of_pod("a", &none, &first, "c"), of_pod("a", &none, &second, "c"));
    assert_ne!(of_pod("a", &none, &first, "c"), of_pod("b", &none, &first, "c"));
}

#[test]
fn the_owner_of_a_pod_cannot_lie_about_its_namespace() {
    let liar = pod(&[
        ("io.kubernetes.pod.namespace", "kube-system"),
        ("io.pleopod.k8s.policy.serviceaccount", "admin"),
        ("io.pleopod.k8s.namespace.labels.team", "red"),
        ("app.kubernetes.io/name", "kept"),
    ]);
    let labels = of_pod("default", &BTreeMap::new(), &liar, "default");
    assert_eq!(
        labels.to_strings(),
        [
            "k8s:app.kubernetes.io/name=kept",
            "k8s:io.kubernetes.pod.namespace=default",
            "k8s:io.pleopod.k8s.policy.cluster=default",
            "k8s:io.pleopod.k8s.policy.serviceaccount=default",
        ]
    );
}
