//! The lease journal: what survives a restart of the agent.
//!
//! Two lines of JSON. The first says what the second is, so that a file cut short, changed or of another version is
//! told from a good one before anything of it is believed:
//!
//! ```text
//! {"format":"pleopod-leases","version":1,"checksum":"89e2c3...","length":1234}
//! {"addresses":[...],"leases":[...],...}
//! ```
//!
//! The checksum is 64-bit FNV-1a over the second line without its newline. It finds damage, not malice.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ids::EndpointIds;
use crate::{Config, Ipam, JournalError, Lease, Owner, Timestamp};

/// Version of the second line.
pub const VERSION: u32 = 1;
const FORMAT: &str = "pleopod-leases";

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    checksum: String,
    length: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Books {
    addresses: Vec<Held>,
    endpoint_ids: Vec<HeldId>,
    next_endpoint_id: u16,
    leases: Vec<Lease>,
    pools: Vec<PoolBooks>,
}

#[derive(Serialize, Deserialize)]
struct Held {
    address: IpAddr,
    owner: Owner,
}

#[derive(Serialize, Deserialize)]
struct HeldId {
    id: u16,
    owner: Owner,
}

#[derive(Serialize, Deserialize)]
struct PoolBooks {
    cidr: IpNet,
    next: String,
    freed: Vec<(IpAddr, Timestamp)>,
}

// === impl Ipam ===

impl Ipam {
    /// The journal as bytes, to be written whole (temporary file, then rename).
    pub fn journal(&self) -> Vec<u8> {
        let books = Books {
            addresses: self
                .used
                .iter()
                .map(|(address, owner)| Held { address: *address, owner: owner.clone() })
                .collect(),
            endpoint_ids: self.ids.iter().map(|(id, owner)| HeldId { id, owner: owner.clone() }).collect(),
            next_endpoint_id: self.ids.next(),
            leases: self.leases.values().cloned().collect(),
            pools: self
                .pools
                .iter()
                .map(|p| PoolBooks { cidr: p.cidr(), next: p.next().to_string(), freed: p.freed().collect() })
                .collect(),
        };
        // Plain structs with string keys: serialising into memory cannot fail.
        let body = serde_json::to_vec(&books).unwrap_or_default();
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            checksum: format!("{:016x}", checksum(&body)),
            length: body.len(),
        };
        let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&body);
        bytes.push(b'\n');
        bytes
    }

    /// Reads a journal. Every lease in it is marked `restored`; `cidrs` are today's, the journal's own say only where
    /// the search for free addresses stood.
    pub fn restore(bytes: &[u8], config: Config, cidrs: &[IpNet]) -> Result<Self, JournalError> {
        let books = open(bytes)?;
        let all: Vec<IpNet> = books.pools.iter().map(|p| p.cidr).collect();
        let mut ipam = Self::new(config, &all);
        for (pool, books) in ipam.pools.iter_mut().zip(&books.pools) {
            let next =
                books.next.parse().map_err(|_| damaged(format!("{:?} is not an offset", books.next)))?;
            pool.set_next(next);
            for (address, at) in &books.freed {
                pool.release(*address, *at);
            }
        }
        for held in books.addresses {
            ipam.used.insert(held.address, held.owner);
        }
        ipam.ids = EndpointIds::new(books.next_endpoint_id);
        for held in books.endpoint_ids {
            ipam.ids.take(held.id, held.owner).map_err(|e| JournalError::Contradiction(e.to_string()))?;
        }
        for mut lease in books.leases {
            lease.restored = true;
            ipam.adopt(lease).map_err(|e| JournalError::Contradiction(e.to_string()))?;
        }
        ipam.set_cidrs(cidrs);
        Ok(ipam)
    }
}

fn open(bytes: &[u8]) -> Result<Books, JournalError> {
    if bytes.is_empty() {
        return Err(damaged("the file is empty"));
    }
    let mut lines = bytes.splitn(2, |b| *b == b'\n');
    let (head, rest) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let header: Header = serde_json::from_slice(head).map_err(|e| damaged(format!("header: {e}")))?;
    if header.format != FORMAT {
        return Err(damaged(format!("format {:?}, expected {FORMAT:?}", header.format)));
    }
    if header.version != VERSION {
        return Err(JournalError::Version { found: header.version, supported: VERSION });
    }
    let body = rest.strip_suffix(b"\n").unwrap_or(rest);
    if body.len() != header.length {
        return Err(damaged(format!("{} bytes, expected {}", body.len(), header.length)));
    }
    let expected = u64::from_str_radix(&header.checksum, 16)
        .map_err(|_| damaged(format!("{:?} is not a checksum", header.checksum)))?;
    let found = checksum(body);
    if found != expected {
        return Err(JournalError::Checksum { expected, found });
    }
    serde_json::from_slice(body).map_err(|e| damaged(e.to_string()))
}

fn damaged(what: impl Into<String>) -> JournalError {
    JournalError::Damaged(what.into())
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
