//! Rows of `pleo_ipcache` (single addresses) and `pleo_ipc_lpm` (prefixes).

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use pleopod_abi::Addr16;
use pleopod_abi::ipcache::{IpcacheKey, IpcacheLpmKey, IpcacheValue, ipcache_flags};
use pleopod_model::IdentityId;
use pleopod_model::desired::{IpcacheEntry, IpcacheSource};

/// The rows of both maps.
pub fn ipcache(
    entries: &BTreeMap<IpNet, IpcacheEntry>,
) -> (HashMap<IpcacheKey, IpcacheValue>, HashMap<IpcacheLpmKey, IpcacheValue>) {
    let (mut exact, mut prefixes) = (HashMap::new(), HashMap::new());
    for (net, entry) in entries {
        let value = IpcacheValue {
            identity: entry.identity.0,
            flags: flags(entry),
            tunnel_endpoint: entry.tunnel_endpoint.map_or(Addr16::UNSPECIFIED, Addr16::from_ip),
        };
        if net.prefix_len() == net.max_prefix_len() {
            exact.insert(IpcacheKey { addr: Addr16::from_ip(net.addr()) }, value);
        } else {
            prefixes.insert(lpm_key(*net), value);
        }
    }
    (exact, prefixes)
}

/// An API server that no Node object names is outside the cluster.
fn flags(entry: &IpcacheEntry) -> u32 {
    let outside = entry.identity == IdentityId::KUBE_APISERVER && entry.source == IpcacheSource::Reserved;
    if outside { ipcache_flags::OUTSIDE } else { 0 }
}

/// IPv4 prefixes count from bit 96, where the v4-mapped form holds the address.
fn lpm_key(net: IpNet) -> IpcacheLpmKey {
    let base = match net {
        IpNet::V4(_) => 96,
        IpNet::V6(_) => 0,
    };
    IpcacheLpmKey { prefixlen: base + u32::from(net.prefix_len()), addr: Addr16::from_ip(net.network()) }
}

/// `172.16.1.111/32`.
pub fn key_text(key: &IpcacheKey) -> String {
    format!("{}/{}", key.addr, if key.addr.is_v4() { 32 } else { 128 })
}

/// `0.0.0.0/0`.
pub fn lpm_key_text(key: &IpcacheLpmKey) -> String {
    if key.addr.is_v4() && key.prefixlen >= 96 {
        format!("{}/{}", key.addr, key.prefixlen - 96)
    } else {
        format!("{}/{}", key.addr, key.prefixlen)
    }
}

/// `identity=39126 encryptkey=0 tunnelendpoint=192.168.10.101, flags=<none>`, as Cilium writes it.
pub fn value_text(value: &IpcacheValue) -> String {
    let tunnel = if value.tunnel_endpoint.is_unspecified() {
        "0.0.0.0".to_owned()
    } else {
        value.tunnel_endpoint.to_string()
    };
    let flags = match value.flags {
        0 => "<none>".to_owned(),
        ipcache_flags::OUTSIDE => "outside".to_owned(),
        other => format!("0x{other:x}"),
    };
    format!("identity={} encryptkey=0 tunnelendpoint={tunnel}, flags={flags}", value.identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_beyond_the_cluster_is_outside_and_one_on_a_node_is_not() {
        let entry =
            |source| IpcacheEntry { identity: IdentityId::KUBE_APISERVER, tunnel_endpoint: None, source };
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let rows = BTreeMap::from([
            (net("203.0.113.6/32"), entry(IpcacheSource::Reserved)),
            (net("192.168.10.10/32"), entry(IpcacheSource::Node)),
        ]);
        let (exact, prefixes) = ipcache(&rows);
        let flags = |text: &str| {
            exact[&IpcacheKey { addr: Addr16::from_ip(text.parse().expect("an address")) }].flags
        };
        assert_eq!((flags("203.0.113.6"), flags("192.168.10.10")), (ipcache_flags::OUTSIDE, 0));
        assert!(prefixes.is_empty());
    }
}
