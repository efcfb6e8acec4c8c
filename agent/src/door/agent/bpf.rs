//! Maps for people: what the kernel holds, decoded.

use pleopod_abi::ct::{CtState, ct_flags};
use pleopod_abi::maps::{ALL, MapKind, MapSpec};
use pleopod_abi::nat::nat_dir;
use pleopod_abi::time::beats;
use pleopod_api::agent as wire;
use pleopod_apply::encode;
use pleopod_apply::tables::NAMES;
use tonic::Status;

use super::map_row;
use crate::core::Core;

/// Every map of the object.
pub fn maps(core: &mut Core) -> Vec<wire::Map> {
    ALL.iter().filter_map(|spec| map(core, spec)).collect()
}

fn map(core: &Core, spec: &MapSpec) -> Option<wire::Map> {
    let map = core.hands.loaded().map(spec.name).ok()?;
    let facts = map.facts();
    let name = short(spec.name);
    let synced = NAMES.contains(&name);
    let entries = match spec.kind {
        // Every place of an array is taken; a ring buffer has no entries.
        MapKind::Array | MapKind::PerCpuArray => facts.max_entries,
        MapKind::RingBuf => 0,
        _ if synced => core.hands.tables().rows(name).map_or(0, |rows| rows.len() as u32),
        _ => {
            let mut count = 0;
            map.each(|_, _| count += 1).ok();
            count
        }
    };
    let kind = match spec.kind {
        MapKind::Hash => "hash",
        MapKind::Array => "array",
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
        synced,
        id: facts.id,
    })
}

fn short(name: &str) -> &str {
    name.strip_prefix("pleo_").unwrap_or(name)
}

/// The rows of one table: with their state where there is a desired side, as the kernel has them where there is none.
pub fn rows(core: &mut Core, name: &str) -> Result<Vec<wire::MapRow>, Status> {
    if name == "routes" {
        return Ok(core.hands.routes().rows().into_iter().map(map_row).collect());
    }
    // `ipcache` is one table to people, whichever of the two maps a prefix is in.
    if name == "ipcache" {
        let of = |table| core.hands.tables().rows(table).unwrap_or_default();
        return Ok(of("ipcache").into_iter().chain(of("ipc_lpm")).map(map_row).collect());
    }
    if let Some(rows) = core.hands.tables().rows(name) {
        return Ok(rows.into_iter().map(map_row).collect());
    }
    let plain = |cells: Vec<Vec<String>>, columns: &[&str], keys: usize| {
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
    };
    match name {
        "ct" => Ok(plain(ct(core)?, CT, 5)),
        "nat" => Ok(plain(nat(core)?, NAT, 6)),
        "frag" => Ok(plain(frag(core)?, FRAG, 4)),
        "lb_rev" => Ok(plain(reverse(core)?, REVERSE, 4)),
        "metrics" => Ok(plain(metrics(core), METRICS, 3)),
        _ => {
            let mut known: Vec<&str> = ALL.iter().map(|s| short(s.name)).collect();
            known.retain(|name| !WITHOUT_ROWS.contains(name));
            Err(Status::not_found(format!(
                "there is no map {name:?} with rows; there are {}",
                known.join(", ")
            )))
        }
    }
}

/// Maps that hold nothing a person could read. `routes` is the node's routes; the map of that name only caches them.
const WITHOUT_ROWS: &[&str] = &["events", "node", "scratch"];
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
const LB: &[&str] = &["service_address", "backend_address", "id"];
const CONFIG: &[&str] = &["key", "value"];

/// `pleopod bpf TABLE list`.
pub fn dump(core: &mut Core, table: &str) -> Result<wire::DumpBpfReply, Status> {
    let two = |name: &str| {
        let rows = core.hands.tables().rows(name).unwrap_or_default();
        rows.into_iter().map(|r| vec![r.key, r.value]).collect::<Vec<_>>()
    };
    let (columns, rows) = match table {
        "endpoint" => (ENDPOINT, two("endpoints")),
        "ipcache" => (IPCACHE, two("ipcache").into_iter().chain(two("ipc_lpm")).collect()),
        "ct" => (CT, ct(core)?),
        "nat" => (NAT, nat(core)?),
        "frag" => (FRAG, frag(core)?),
        "metrics" => (METRICS, metrics(core)),
        "lb" => (LB, lb(core)),
        "config" => (CONFIG, config(core)),
        _ => return Err(Status::not_found(format!("there is no table {table:?}"))),
    };
    let rows = rows.into_iter().map(|cells| wire::BpfRow { cells }).collect();
    Ok(wire::DumpBpfReply { columns: columns.iter().map(ToString::to_string).collect(), rows })
}

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

fn ct(core: &Core) -> Result<Vec<Vec<String>>, Status> {
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
    core.hands.connections().ct.each(each).map_err(unreadable("pleo_ct"))?;
    rows.sort();
    Ok(rows)
}

fn nat(core: &Core) -> Result<Vec<Vec<String>>, Status> {
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
    core.hands.connections().nat.each(each).map_err(unreadable("pleo_nat"))?;
    rows.sort();
    Ok(rows)
}

fn frag(core: &Core) -> Result<Vec<Vec<String>>, Status> {
    let mut rows = Vec::new();
    let each = |k: pleopod_abi::frag::FragKey, v: pleopod_abi::frag::FragValue| {
        rows.push(vec![
            k.src.to_string(),
            k.dst.to_string(),
            k.id.to_string(),
            proto(k.proto),
            v.sport.to_string(),
            v.dport.to_string(),
            left(v.expires),
        ]);
    };
    core.hands.connections().frag.each(each).map_err(unreadable("pleo_frag"))?;
    rows.sort();
    Ok(rows)
}

fn reverse(core: &Core) -> Result<Vec<Vec<String>>, Status> {
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
    core.hands.connections().reverse.each(each).map_err(unreadable("pleo_lb_rev"))?;
    rows.sort();
    Ok(rows)
}

fn metrics(core: &Core) -> Vec<Vec<String>> {
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

/// Frontends with their backends as the slots hold them, in the shape of `cilium bpf lb list`.
fn lb(core: &Core) -> Vec<Vec<String>> {
    let services = &core.hands.tables().services;
    let mut rows = Vec::new();
    for (key, value) in services.frontends().rows() {
        let frontend = encode::service::frontend_key_text(key);
        if value.backend_count == 0 {
            rows.push(vec![frontend.clone(), "(no backend: refused)".into(), value.service_id.to_string()]);
        }
        for slot in 0..value.backend_count {
            let held =
                services.slots().get(&pleopod_abi::lb::LbSlotKey { service_id: value.service_id, slot });
            let backend = held.map_or_else(|| "(missing)".into(), encode::service::slot_value_text);
            rows.push(vec![frontend.clone(), backend, value.service_id.to_string()]);
        }
    }
    rows.sort();
    rows
}

/// What the programs were loaded with.
fn config(core: &Core) -> Vec<Vec<String>> {
    core.hands.bpf_config().into_iter().map(|(k, v)| vec![k.to_owned(), v]).collect()
}
