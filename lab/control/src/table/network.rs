//! Rows of Services, their endpoints, and Ingresses.

use serde_json::Value;

use super::age;
use crate::meta::{int, list, name, text};

/// Headings of a Service.
pub const SERVICE: &str = "Name Type Cluster-IP External-IP Port(s) Age +Selector";

fn old(v: &Value) -> Value {
    age(text(v, "/metadata/creationTimestamp")).into()
}

fn none(s: String) -> String {
    if s.is_empty() { "<none>".into() } else { s }
}

/// Cells of a Service.
pub fn service(v: &Value) -> Vec<Value> {
    let kind = text(v, "/spec/type");
    let ip = if kind == "ExternalName" { "<none>" } else { text(v, "/spec/clusterIP") };
    let ports: Vec<String> = list(v, "/spec/ports")
        .iter()
        .map(|p| {
            let node = int(p, "/nodePort").filter(|n| *n > 0).map_or(String::new(), |n| format!(":{n}"));
            format!("{}{node}/{}", int(p, "/port").unwrap_or(0), text(p, "/protocol"))
        })
        .collect();
    vec![
        name(v).into(),
        kind.into(),
        none(ip.to_owned()).into(),
        external(v, kind).into(),
        none(ports.join(",")).into(),
        old(v),
        super::work::labels(v.pointer("/spec/selector")).into(),
    ]
}

fn external(v: &Value, kind: &str) -> String {
    let mut ips: Vec<String> = Vec::new();
    if kind == "ExternalName" {
        return none(text(v, "/spec/externalName").to_owned());
    }
    if kind == "LoadBalancer" {
        for i in list(v, "/status/loadBalancer/ingress") {
            let a = text(i, "/ip");
            ips.push(if a.is_empty() { text(i, "/hostname").to_owned() } else { a.to_owned() });
        }
    }
    ips.extend(list(v, "/spec/externalIPs").iter().filter_map(|i| i.as_str().map(str::to_owned)));
    if ips.is_empty() {
        return if kind == "LoadBalancer" { "<pending>" } else { "<none>" }.into();
    }
    ips.join(",")
}

/// The `ENDPOINTS` cell of an Endpoints object: three, then how many more.
pub fn endpoints(v: &Value) -> String {
    let subsets = list(v, "/subsets");
    let mut all = Vec::new();
    for s in subsets {
        for a in list(s, "/addresses") {
            let ip = text(a, "/ip");
            let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let ports = list(s, "/ports");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|p| format!("{host}:{}", int(p, "/port").unwrap_or(0))));
        }
    }
    some(&all)
}

fn some(all: &[String]) -> String {
    if all.is_empty() {
        return "<none>".into();
    }
    let shown = all.iter().take(3).cloned().collect::<Vec<_>>().join(",");
    if all.len() > 3 { format!("{shown} + {} more...", all.len() - 3) } else { shown }
}

/// Cells of an EndpointSlice.
pub fn slice(v: &Value) -> Vec<Value> {
    let ports: Vec<String> = list(v, "/ports")
        .iter()
        .map(|p| match int(p, "/port") {
            Some(n) => n.to_string(),
            None => "*".into(),
        })
        .collect();
    let addresses: Vec<String> = list(v, "/endpoints")
        .iter()
        .flat_map(|e| list(e, "/addresses").iter().filter_map(|a| a.as_str().map(str::to_owned)))
        .collect();
    let unset = |s: String| if s == "<none>" { "<unset>".to_owned() } else { s };
    vec![
        name(v).into(),
        text(v, "/addressType").into(),
        unset(some(&ports)).into(),
        unset(some(&addresses)).into(),
        old(v),
    ]
}

/// Cells of an Ingress.
pub fn ingress(v: &Value) -> Vec<Value> {
    let hosts: Vec<String> = list(v, "/spec/rules")
        .iter()
        .map(|r| text(r, "/host"))
        .filter(|h| !h.is_empty())
        .map(str::to_owned)
        .collect();
    let hosts = if hosts.is_empty() { "*".to_owned() } else { some(&hosts) };
    let at: Vec<&str> = list(v, "/status/loadBalancer/ingress")
        .iter()
        .map(|i| if text(i, "/ip").is_empty() { text(i, "/hostname") } else { text(i, "/ip") })
        .collect();
    let ports = if list(v, "/spec/tls").is_empty() { "80" } else { "80, 443" };
    let class = none(text(v, "/spec/ingressClassName").to_owned());
    vec![name(v).into(), class.into(), hosts.into(), at.join(",").into(), ports.into(), old(v)]
}
