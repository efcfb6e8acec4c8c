//! Results in the shape of the version asked for.

use pleopod_api::agent::CniAddReply;
use serde_json::{Map, Value, json};

use crate::input::{NetConf, VERSIONS};

/// The ADD result. Interface 0 is the host side, interface 1 the pod's.
pub fn add_result(conf: &NetConf, reply: &CniAddReply, ifname: &str, netns: &str) -> String {
    let since_1_1 = conf.at_least("1.1.0");
    let interface = |name: &str, mac: &str, sandbox: Option<&str>| {
        let mut object = Map::new();
        object.insert("name".into(), name.into());
        object.insert("mac".into(), mac.into());
        if since_1_1 {
            object.insert("mtu".into(), reply.mtu.into());
        }
        if let Some(sandbox) = sandbox {
            object.insert("sandbox".into(), sandbox.into());
        }
        Value::Object(object)
    };
    let ips: Vec<Value> = reply
        .addresses
        .iter()
        .map(|a| {
            let mut object = Map::new();
            if !conf.at_least("1.0.0") {
                // Before 1.0.0 every address says its family.
                object.insert("version".into(), if a.address.contains(':') { "6" } else { "4" }.into());
            }
            object.insert("interface".into(), 1.into());
            object.insert("address".into(), a.address.clone().into());
            object.insert("gateway".into(), a.gateway.clone().into());
            Value::Object(object)
        })
        .collect();
    let routes: Vec<Value> = reply
        .routes
        .iter()
        .map(|r| {
            let mut object = Map::new();
            object.insert("dst".into(), r.destination.clone().into());
            if !r.gateway.is_empty() {
                object.insert("gw".into(), r.gateway.clone().into());
            }
            if since_1_1 && r.mtu != 0 {
                object.insert("mtu".into(), r.mtu.into());
            }
            Value::Object(object)
        })
        .collect();
    json!({
        "cniVersion": conf.cni_version,
        "interfaces": [
            interface(&reply.host_ifname, &reply.host_mac, None),
            interface(ifname, &reply.pod_mac, Some(netns)),
        ],
        "ips": ips,
        "routes": routes,
        "dns": {},
    })
    .to_string()
}

/// The VERSION result.
pub fn versions(cni_version: &str) -> String {
    json!({ "cniVersion": cni_version, "supportedVersions": VERSIONS }).to_string()
}
