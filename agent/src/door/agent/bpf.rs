//! Maps for people: what the kernel holds, decoded.
//!
//! A map can have half a million entries. The core gives copies and handles, which is quick; walking a map and writing
//! it in words is left over as a [`Rest`], for a thread that nobody waits for but whoever asked.

use std::collections::BTreeMap;

use pleopod_abi::ct::{CtState, ct_flags};
use pleopod_abi::lb::{LbBackend, frontend_flags};
use pleopod_abi::maps::{ALL, MapKind, MapSpec};
use pleopod_abi::nat::nat_dir;
use pleopod_abi::time::beats;
use pleopod_api::agent as wire;
use pleopod_apply::ct::Connections;
use pleopod_apply::encode;
use pleopod_apply::tables::NAMES;
use tonic::Status;

use super::map_row;
use crate::core::Core;

/// What is left to do of an answer when the core has done its part.
pub type Rest<T> = Box<dyn FnOnce() -> Result<T, Status> + Send>;

/// Every map of the object.
pub fn maps(core: &mut Core) -> Rest<Vec<wire::Map>> {
    let connections = core.hands.connections();
    let mut maps: Vec<wire::Map> = ALL.iter().filter_map(|spec| map(core, spec)).collect();
    Box::new(move || {
        for map in &mut maps {
            map.entries = written(&connections, &map.name).unwrap_or(map.entries);
        }
        Ok(maps)
    })
}

fn map(core: &Core, spec: &MapSpec) -> Option<wire::Map> {
    let map = core.hands.loaded().map(spec.name).ok()?;
    let facts = map.facts();
    let name = short(spec.name);
    let entries = match spec.kind {
        // Every place of an array is taken; a ring buffer has no entries.
        MapKind::Array | MapKind::PerCpuArray => facts.max_entries,
        MapKind::RingBuf | MapKind::ProgArray => 0,
        // What the programs write is counted by walking it.
        _ => core.hands.tables().count(name) as u32,
    };
    let kind = match spec.kind {
        MapKind::Hash => "hash",
        MapKind::Array => "array",
        MapKind::ProgArray => "prog_array",
        MapKind::PerCpuArray => "percpu_array",
        MapKind::LruHash => "lru_hash",
        MapKind::LpmTrie => "lpm_trie",
        MapKind::RingBuf => "ringbuf",
    };
    Some(wire::Map {
        name: name.into(),
        kernel_name: spec.name.into(),
        r#type: kind.into(),
        entries,
        max_entries: facts.max_entries,
        key_size: facts.key_size,
        value_size: facts.value_size,
        errors: core.hands.tables().errors(name) as u32,
        synced: NAMES.contains(&name),
        id: facts.id,
    })
}

/// Entries of a map that the programs write.
fn written(connections: &Connections, name: &str) -> Option<u32> {
    let mut count = 0;
    let walked = match name {
        "ct" => connections.ct.each(|_, _| count += 1),
        "nat" => connections.nat.each(|_, _| count += 1),
        "frag" => connections.frag.each(|_, _| count += 1),
        "lb_rev" => connections.reverse.each(|_, _| count += 1),
        _ => return None,
    };
    // What was counted before it failed is better than nothing.
    let _ = walked;
    Some(count)
}

fn short(name: &str) -> &str {
    name.strip_prefix("pleo_").unwrap_or(name)
}

/// The rows of one table: with their state where there is a desired side, as the kernel has them where there is none.
pub fn rows(core: &mut Core, name: &str) -> Result<Rest<Vec<wire::MapRow>>, Status> {
    if name == NODE_ROUTES {
        let rows = core.hands.routes().rows();
        return Ok(Box::new(move || Ok(rows.into_iter().map(map_row).collect())));
    }
    // `ipcache` is one table to people, whichever of the two maps a prefix is in.
    let second = if name == "ipcache" { core.hands.tables().copy("ipc_lpm") } else { None };
    if let Some(copy) = core.hands.tables().copy(name) {
        let copies = std::iter::once(copy).chain(second);
        let copies: Vec<_> = copies.collect();
        return Ok(Box::new(move || Ok(copies.into_iter().flat_map(|c| c.rows()).map(map_row).collect())));
    }
    let connections = core.hands.connections();
    Ok(match name {
        "ct" => Box::new(move || Ok(plain(ct(&connections)?, CT, 5))),
        "nat" => Box::new(move || Ok(plain(nat(&connections)?, NAT, 6))),
        "frag" => Box::new(move || Ok(plain(frag(&connections)?, FRAG, 4))),
        "lb_rev" => Box::new(move || Ok(plain(reverse(&connections)?, REVERSE, 4))),
        "metrics" => {
            let rows = plain(metrics(core), METRICS, 3);
            Box::new(move || Ok(rows))
        }
        "routes" => {
            return Err(Status::not_found(format!(
                "map routes only remembers answers of the kernel's routing table for the programs; the node's routes are \
                 `pleopod map get {NODE_ROUTES}`"
            )));
        }
        _ => {
            let mut known: Vec<&str> = ALL.iter().map(|s| short(s.name)).collect();
            known.retain(|name| !WITHOUT_ROWS.contains(name));
            known.push(NODE_ROUTES);
            return Err(Status::not_found(format!(
                "there is no map {name:?} with rows; there are {}",
                known.join(", ")
            )));
        }
    })
}

fn plain(cells: Vec<Vec<String>>, columns: &[&str], keys: usize) -> Vec<wire::MapRow> {
    let part = |row: &[String], names: &[&str]| {
        names.iter().zip(row).map(|(n, c)| format!("{n}={c}")).collect::<Vec<_>>().join(" ")
    };
    cells
        .into_iter()
        .map(|row| wire::MapRow {
            key: part(&row[..keys], &columns[..keys]),
            value: part(&row[keys..], &columns[keys..]),
            ..wire::MapRow::default()
        })
        .collect()
}

/// The node's routes, which are in no map: kept in step like one.
const NODE_ROUTES: &str = "node-routes";
/// Maps that hold nothing a person could read.
const WITHOUT_ROWS: &[&str] = &["events", "node", "routes", "scratch"];
const ENDPOINT: &[&str] = &["ip_address", "local_endpoint_info"];
const IPCACHE: &[&str] = &["ip_prefix/address", "identity"];
const CT: &[&str] =
    &["proto", "a", "a_port", "b", "b_port", "state", "opened_by", "replied", "src_identity", "expires_s"];
const NAT: &[&str] = &[
    "proto",
    "direction",
    "source",
    "source_port",
    "destination",
    "destination_port",
    "address",
    "port",
    "expires_s",
];
const FRAG: &[&str] =
    &["source", "destination", "id", "proto", "source_port", "destination_port", "expires_s"];
const REVERSE: &[&str] =
    &["socket_cookie", "backend", "port", "proto", "service", "service_port", "service_id"];
const METRICS: &[&str] = &["kind", "reason", "direction", "packets", "bytes"];
const LB: &[&str] = &["service_address", "backend_address", "id", "clients"];
const CONFIG: &[&str] = &["key", "value"];

/// `pleopod bpf TABLE list`.
pub fn dump(core: &mut Core, table: &str) -> Result<Rest<wire::DumpBpfReply>, Status> {
    let two = |names: &[&str]| -> Rest<Cells> {
        let copies: Vec<_> = names.iter().filter_map(|name| core.hands.tables().copy(name)).collect();
        let cells = |row: pleopod_model::observed::Row| vec![row.key, row.value];
        Box::new(move || Ok(copies.into_iter().flat_map(|c| c.rows()).map(cells).collect()))
    };
    let connections = core.hands.connections();
    let ready = |cells: Cells| -> Rest<Cells> { Box::new(move || Ok(cells)) };
    let (columns, cells): (&[&str], Rest<Cells>) = match table {
        "endpoint" => (ENDPOINT, two(&["endpoints"])),
        "ipcache" => (IPCACHE, two(&["ipcache", "ipc_lpm"])),
        "ct" => (CT, Box::new(move || ct(&connections))),
        "nat" => (NAT, Box::new(move || nat(&connections))),
        "frag" => (FRAG, Box::new(move || frag(&connections))),
        "metrics" => (METRICS, ready(metrics(core))),
        "lb" => (LB, lb(core)),
        "config" => (CONFIG, ready(config(core))),
        _ => return Err(Status::not_found(format!("there is no table {table:?}"))),
    };
    let columns = columns.iter().map(ToString::to_string).collect();
    Ok(Box::new(move || {
        let rows = cells()?.into_iter().map(|cells| wire::BpfRow { cells }).collect();
        Ok(wire::DumpBpfReply { columns, rows })
    }))
}

/// Rows of a table in words.
type Cells = Vec<Vec<String>>;

fn unreadable(name: &'static str) -> impl FnOnce(std::io::Error) -> Status {
    move |e| Status::internal(format!("reading map {name}: {e}"))
}

fn proto(number: u8) -> String {
    match number {
        1 => "ICMP".into(),
        6 => "TCP".into(),
        17 => "UDP".into(),
        58 => "ICMPv6".into(),
        132 => "SCTP".into(),
        n => n.to_string(),
    }
}

/// Seconds until a beat; 0 when it has passed.
fn left(expires: u32) -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = beats(now.tv_sec.unsigned_abs() * 1_000_000_000);
    // A beat is 2^30 ns.
    (u64::from(expires.saturating_sub(now)) * 1_073_741_824 / 1_000_000_000).to_string()
}

fn ct(connections: &Connections) -> Result<Cells, Status> {
    let mut rows = Vec::new();
    let each = |k: pleopod_abi::ct::CtKey, v: pleopod_abi::ct::CtValue| {
        let opened_by = if v.flags & ct_flags::OPENED_BY_A != 0 { "a" } else { "b" };
        rows.push(vec![
            proto(k.proto),
            k.a.to_string(),
            k.a_port.to_string(),
            k.b.to_string(),
            k.b_port.to_string(),
            CtState::from_u8(v.state).map_or("?", CtState::name).to_owned(),
            opened_by.to_owned(),
            (v.flags & ct_flags::REPLIED != 0).to_string(),
            v.src_identity.to_string(),
            left(v.expires),
        ]);
    };
    connections.ct.each(each).map_err(unreadable("pleo_ct"))?;
    rows.sort();
    Ok(rows)
}

fn nat(connections: &Connections) -> Result<Cells, Status> {
    let mut rows = Vec::new();
    let each = |k: pleopod_abi::nat::NatKey, v: pleopod_abi::nat::NatValue| {
        rows.push(vec![
            proto(k.proto),
            if k.dir == nat_dir::OUT { "out" } else { "in" }.to_owned(),
            k.src.to_string(),
            k.sport.to_string(),
            k.dst.to_string(),
            k.dport.to_string(),
            v.addr.to_string(),
            v.port.to_string(),
            left(v.expires),
        ]);
    };
    connections.nat.each(each).map_err(unreadable("pleo_nat"))?;
    rows.sort();
    Ok(rows)
}

fn frag(connections: &Connections) -> Result<Cells, Status> {
    let mut rows = Vec::new();
    let each = |k: pleopod_abi::frag::FragKey, v: pleopod_abi::frag::FragValue| {
        rows.push(vec![
            k.src.to_string(),
            k.dst.to_string(),
            k.id.to_string(),
            proto(v.proto),
            v.sport.to_string(),
            v.dport.to_string(),
            left(v.expires),
        ]);
    };
    connections.frag.each(each).map_err(unreadable("pleo_frag"))?;
    rows.sort();
    Ok(rows)
}

fn reverse(connections: &Connections) -> Result<Cells, Status> {
    let mut rows = Vec::new();
    let each = |k: pleopod_abi::lb::LbReverseKey, v: pleopod_abi::lb::LbReverseValue| {
        rows.push(vec![
            k.cookie.to_string(),
            k.addr.to_string(),
            k.port.to_string(),
            proto(k.proto),
            v.addr.to_string(),
            v.port.to_string(),
            v.service_id.to_string(),
        ]);
    };
    connections.reverse.each(each).map_err(unreadable("pleo_lb_rev"))?;
    rows.sort();
    Ok(rows)
}

fn metrics(core: &Core) -> Cells {
    let row = |m: &pleopod_apply::metrics::Metric| {
        vec![
            m.kind.name().to_owned(),
            m.name.to_owned(),
            m.direction.name().to_owned(),
            m.packets.to_string(),
            m.bytes.to_string(),
        ]
    };
    core.hands.metrics().iter().map(row).collect()
}

/// Frontends with their backends as the tables hold them, in the shape of `cilium bpf lb list`. A backend that has several
/// places stands there once, with their number; where clients outside are served by others than clients inside, each row says
/// for whom it is.
fn lb(core: &Core) -> Rest<Cells> {
    let services = &core.hands.tables().services;
    let held = services.frontends().rows().iter();
    let frontends: Vec<_> = held
        .map(|(key, value)| (*key, *value, services.chosen(value.inside), services.chosen(value.outside)))
        .collect();
    Box::new(move || {
        let mut rows = Vec::new();
        for (key, value, inside, outside) in &frontends {
            let frontend = encode::service::frontend_key_text(key);
            let mut add = |said: Vec<String>, clients: &str| {
                let id = value.service_id.to_string();
                rows.extend(said.into_iter().map(|s| vec![frontend.clone(), s, id.clone(), clients.into()]));
            };
            let elsewhere = value.flags & frontend_flags::ELSEWHERE != 0;
            let why = match encode::service::address_of(key) {
                Some(_) => "(no such port: refused)",
                None if elsewhere => "(no backend here: dropped)",
                None => "(no backend: refused)",
            };
            let (inside, outside) = (lb_backends(inside, why), lb_backends(outside, why));
            if value.flags & frontend_flags::OUTSIDE_REFUSED != 0 {
                add(inside, "inside");
            } else if inside == outside {
                add(inside, "all");
            } else {
                add(inside, "inside");
                add(outside, "outside");
            }
        }
        rows.sort();
        Ok(rows)
    })
}

/// Each backend of a region once, or why there is none.
fn lb_backends(chosen: &[LbBackend], why: &str) -> Vec<String> {
    if chosen.is_empty() {
        return vec![why.to_owned()];
    }
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for backend in chosen {
        *places.entry(encode::service::backend_text(backend)).or_default() += 1;
    }
    let text = |(backend, places)| if places > 1 { format!("{backend} places={places}") } else { backend };
    places.into_iter().map(text).collect()
}

/// What the programs were loaded with.
fn config(core: &Core) -> Cells {
    core.hands.bpf_config().into_iter().map(|(k, v)| vec![k.to_owned(), v]).collect()
}
