use super::*;
use crate::scene::{self, ip};

#[test]
fn addresses_have_names() {
    let lookup = scene::lookup();
    let netpod = lookup.peer_of(ip(scene::NETPOD)).unwrap();
    assert_eq!(netpod.pod, Some(ObjectName::new("default", "netpod")));
    assert_eq!((netpod.endpoint, netpod.identity), (416, 39126));
    assert_eq!(&netpod.labels[..], ["k8s:app=netpod"]);
    let webpod = lookup.peer_of(ip(scene::WEBPOD1)).unwrap();
    assert_eq!((webpod.endpoint, webpod.identity), (0, 25054));
    assert_eq!(&lookup.peer_of(ip(scene::NODE)).unwrap().labels[..], ["reserved:host"]);
    assert!(lookup.peer_of(ip(scene::WORLD)).is_none());
}

#[test]
fn services_have_names_also_at_a_port_they_do_not_serve() {
    let lookup = scene::lookup();
    let name = |port, protocol| lookup.service_of(ip(scene::KUBE_DNS), port, protocol).map(|n| n.to_string());
    assert_eq!(name(53, 17).as_deref(), Some("kube-system/kube-dns"));
    assert_eq!(name(54, 6).as_deref(), Some("kube-system/kube-dns"));
    assert!(lookup.service_of(ip(scene::WORLD), 53, 17).is_none());
}

#[test]
fn namespaces_and_interfaces_of_local_pods_are_known() {
    let lookup = scene::lookup();
    assert_eq!(lookup.endpoint_of_namespace(scene::NETNS), Some(416));
    assert_eq!(lookup.endpoint(416).unwrap().addresses, [ip(scene::NETPOD)]);
    assert_eq!(lookup.interface(10).map(|n| &**n), Some("lxc7408fc78b9ff"));
}
