//! Ends UDP sockets that would go on sending to a backend that is no longer there.
//!
//! A connected UDP socket keeps the backend that connect() gave it. When that backend leaves its Service the socket has
//! to learn of it: it is destroyed, its owner gets an error and connects anew. TCP connections notice by themselves.
//!
//! Only sockets that came to the backend through a Service are ended: `pleo_lb_rev` knows them by cookie. One that
//! connected to the pod's own address is none of our business.

use std::collections::HashSet;
use std::net::SocketAddr;

use pleopod_abi::lb::{LbReverseKey, LbReverseValue};
use pleopod_abi::{Addr16, Be16};
use pleopod_model::intent::Protocol;
use pleopod_sys_bpf::TypedMap;
use pleopod_sys_link::{SockDiag, Transport};
use pleopod_sys_netns::Netns;

use crate::Error;
use crate::encode::service::BackendKey;

/// Ends the UDP sockets of the calling thread's namespace, and of each of `pods`, that a Service gave one of `removed`.
/// Answers how many were ended, and the namespaces where it failed. One that is gone has no sockets left.
pub fn end_stale(
    removed: &[BackendKey],
    pods: &[Netns],
    reverse: &TypedMap<LbReverseKey, LbReverseValue>,
) -> (usize, Vec<Error>) {
    let gone: HashSet<SocketAddr> = removed
        .iter()
        .filter(|(_, protocol)| *protocol == Protocol::Udp)
        .map(|(address, _)| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .collect();
    if gone.is_empty() {
        return (0, Vec::new());
    }
    let mut ended = 0;
    let mut errors = Vec::new();
    let mut note = |result: Result<usize, Error>| match result {
        Ok(count) => ended += count,
        Err(error) => errors.push(error),
    };
    note(end_here(&gone, reverse));
    for pod in pods {
        note(pod.run(|| end_here(&gone, reverse)).unwrap_or_else(|error| Err(error.into())));
    }
    (ended, errors)
}

fn end_here(
    gone: &HashSet<SocketAddr>,
    reverse: &TypedMap<LbReverseKey, LbReverseValue>,
) -> Result<usize, Error> {
    let mut diag = SockDiag::open()?;
    let mut translated = Vec::new();
    let ended = diag.destroy_where(Transport::Udp, |peer, cookie| {
        if !gone.contains(&peer) {
            return false;
        }
        let key = LbReverseKey {
            cookie,
            addr: Addr16::from_ip(peer.ip()),
            port: Be16::new(peer.port()),
            proto: Protocol::Udp.number(),
            _pad: [0; 5],
        };
        let ours = matches!(reverse.get(&key), Ok(Some(_)));
        if ours {
            translated.push(key);
        }
        ours
    })?;
    // The sockets are gone; what is left of them is only clutter, so a failure here does not matter.
    reverse.delete(&translated);
    Ok(ended)
}
