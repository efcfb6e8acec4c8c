//! Rows of `pleo_endpoints` and `pleo_netns`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use pleopod_abi::Addr16;
use pleopod_abi::endpoint::{EndpointKey, EndpointValue, NetnsKey, NetnsValue, endpoint_flags};
use pleopod_model::Mac;
use pleopod_model::desired::{Desired, Endpoint};

/// The rows of `pleo_endpoints`.
pub fn endpoints(endpoints: &BTreeMap<IpAddr, Endpoint>) -> HashMap<EndpointKey, EndpointValue> {
    endpoints
        .iter()
        .map(|(ip, endpoint)| (EndpointKey { addr: Addr16::from_ip(*ip) }, value(endpoint)))
        .collect()
}

fn value(endpoint: &Endpoint) -> EndpointValue {
    match endpoint {
        Endpoint::Host { identity } => {
            EndpointValue { identity: identity.0, flags: endpoint_flags::HOST, ..EndpointValue::default() }
        }
        Endpoint::Pod(pod) => EndpointValue {
            ifindex: pod.ifindex,
            identity: pod.identity.0,
            id: pod.id,
            flags: 0,
            mac: pod.mac.0,
            node_mac: pod.node_mac.0,
        },
    }
}

/// The rows of `pleo_netns`: each namespace with the addresses of the endpoint that lives in it.
pub fn namespaces(desired: &Desired) -> HashMap<NetnsKey, NetnsValue> {
    let mut by_id: HashMap<u16, NetnsValue> = HashMap::new();
    for (ip, endpoint) in &desired.endpoints {
        let Endpoint::Pod(pod) = endpoint else { continue };
        let row = by_id.entry(pod.id).or_insert(NetnsValue {
            identity: pod.identity.0,
            id: pod.id,
            flags: 0,
            addr4: Addr16::UNSPECIFIED,
            addr6: Addr16::UNSPECIFIED,
        });
        match ip {
            IpAddr::V4(_) => row.addr4 = Addr16::from_ip(*ip),
            IpAddr::V6(_) => row.addr6 = Addr16::from_ip(*ip),
        }
    }
    let row = |(cookie, id): (&u64, &u16)| Some((NetnsKey { cookie: *cookie }, *by_id.get(id)?));
    desired.namespaces.iter().filter_map(row).collect()
}

/// `172.16.0.230:0`, as `cilium bpf endpoint list` writes a key.
pub fn key_text(key: &EndpointKey) -> String {
    format!("{}:0", key.addr)
}

/// `id=416 sec_id=39126 flags=0x0000 ifindex=10 mac=92:EF:... nodemac=5E:B5:...`, or `(localhost)`.
pub fn value_text(value: &EndpointValue) -> String {
    if value.flags & endpoint_flags::HOST != 0 {
        return "(localhost)".to_owned();
    }
    format!(
        "id={} sec_id={} flags=0x{:04x} ifindex={} mac={:#} nodemac={:#}",
        value.id,
        value.identity,
        value.flags,
        value.ifindex,
        Mac(value.mac),
        Mac(value.node_mac)
    )
}

/// `cookie=4242`.
pub fn netns_key_text(key: &NetnsKey) -> String {
    format!("cookie={}", key.cookie)
}

/// `id=416 sec_id=39126 ipv4=172.16.0.230 ipv6=-`.
pub fn netns_value_text(value: &NetnsValue) -> String {
    let address = |a: Addr16| if a.is_unspecified() { "-".to_owned() } else { a.to_string() };
    format!(
        "id={} sec_id={} ipv4={} ipv6={}",
        value.id,
        value.identity,
        address(value.addr4),
        address(value.addr6)
    )
}
