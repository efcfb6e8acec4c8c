//! Rights: a service account may do what its roles say, and nothing else.

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_what_counts() {
    let c = Cluster::start();
    let who = "system:serviceaccount:default:agent";
    c.kubectl("create sa agent").await;
    let said = c.run(who, &["get", "pods"], "").await;
    assert!(
        said.err.contains(r#"pods is forbidden: User "system:serviceaccount:default:agent" cannot list resource "pods" in API group "" in the namespace "default""#),
        "{}",
        said.err
    );
    c.kubectl("create clusterrole watcher --verb=get,list,watch --resource=pods,services").await;
    c.kubectl("create clusterrolebinding w --clusterrole=watcher --serviceaccount=default:agent").await;
    assert_eq!(c.run(who, &["get", "pods,svc", "-A"], "").await.code, 0);
    assert_ne!(c.run(who, &["delete", "svc", "kubernetes"], "").await.code, 0);
    assert_ne!(c.run(who, &["get", "secrets"], "").await.code, 0);
    c.kubectl("create role one --verb=get --resource=configmaps --resource-name=kube-root-ca.crt").await;
    c.kubectl("create rolebinding o --role=one --serviceaccount=default:agent").await;
    assert_eq!(c.run(who, &["get", "cm", "kube-root-ca.crt"], "").await.code, 0);
    assert_ne!(c.run(who, &["get", "cm", "other"], "").await.code, 0);
    assert_ne!(c.run(who, &["get", "cm", "kube-root-ca.crt", "-n", "kube-system"], "").await.code, 0);
    let one = c.run(who, &["get", "cm", "--field-selector=metadata.name=kube-root-ca.crt"], "").await;
    assert_ne!(one.code, 0, "the role only lets it get");
    c.kubectl("create role two --verb=list,watch --resource=configmaps --resource-name=kube-root-ca.crt")
        .await;
    c.kubectl("create rolebinding t --role=two --serviceaccount=default:agent").await;
    let one = c.run(who, &["get", "cm", "--field-selector=metadata.name=kube-root-ca.crt"], "").await;
    assert_eq!(one.code, 0, "{}", one.err);
    assert_ne!(c.run(who, &["get", "cm"], "").await.code, 0);
    let yes = c.run(who, &["auth", "can-i", "list", "pods"], "").await;
    assert_eq!(yes.out, "yes\n", "{}", yes.err);
    assert_eq!(c.run(who, &["auth", "can-i", "create", "pods"], "").await.out, "no\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_nobody_gave_out() {
    let c = Cluster::start();
    let said = c.run("admin", &["get", "pods", "--token=made-up"], "").await;
    assert!(said.err.contains("Unauthorized") || said.err.contains("must be logged in"), "{}", said.err);
}
