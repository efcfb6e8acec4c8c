//! An instance of the object of its own for each test.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, PerCpuArray, ProgramArray},
    programs::{CgroupSockAddr, Program},
};
use pleopod_abi::{Config, DropReason, ForwardReason, maps, metrics::*};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The object with small maps and this configuration; programs are not loaded yet.
pub fn object(config: &Config) -> Ebpf {
    let mut loader = EbpfLoader::new();
    loader.override_global("CONFIG", config.as_bytes(), true);
    for spec in maps::ALL {
        match spec.kind {
            maps::MapKind::RingBuf => loader.map_max_entries(spec.name, 1 << 16),
            maps::MapKind::Array | maps::MapKind::PerCpuArray | maps::MapKind::ProgArray => &mut loader,
            _ => loader.map_max_entries(spec.name, 1024),
        };
    }
    loader.load(pleopod_sys_bpf::object::object().expect("built with the BPF toolchain")).expect("the object")
}

/// Loads the programs that others go on in, and puts them where they look for them.
pub fn place_calls(ebpf: &mut Ebpf) {
    for (name, place) in maps::call::ALL {
        load(ebpf, name);
        let Some(Program::SchedClassifier(program)) = ebpf.program(name) else { panic!("no program {name}") };
        let fd = program.fd().expect("loaded").try_clone().expect("a descriptor");
        let mut calls = ProgramArray::try_from(ebpf.map_mut("pleo_calls").unwrap()).unwrap();
        calls.set(place, &fd, 0).unwrap();
    }
}

/// Loads one program and returns the number of instructions that the verifier walked.
pub fn load(ebpf: &mut Ebpf, name: &str) -> u32 {
    let program = ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}"));
    let loaded = match program {
        Program::SchedClassifier(p) => p.load(),
        Program::CgroupSockAddr(p) => p.load(),
        _ => panic!("{name} is of an unexpected type"),
    };
    if let Err(error) = loaded {
        let mut text = format!("{name}: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        let tail: String = text.chars().rev().take(6000).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("{tail}");
    }
    program.info().expect("info").verified_instruction_count().expect("verified instructions")
}

/// The socket program of that name, loaded.
pub fn sock<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut CgroupSockAddr {
    load(ebpf, name);
    ebpf.program_mut(name).unwrap().try_into().unwrap()
}

/// Puts an entry into a hash map.
pub fn put<K: IntoBytes + Immutable, V: IntoBytes + Immutable>(
    ebpf: &mut Ebpf,
    map: &str,
    key: &K,
    value: &V,
) {
    let map = ebpf.map_mut(map).unwrap_or_else(|| panic!("no map {map}"));
    update(map, key.as_bytes(), value.as_bytes());
}

macro_rules! sized {
    ($map:expr, $key:expr, $value:expr; $(($k:literal, $v:literal))*) => {
        match ($key.len(), $value.len()) {
            $(($k, $v) => {
                let key: [u8; $k] = $key.try_into().unwrap();
                let value: [u8; $v] = $value.try_into().unwrap();
                HashMap::<_, [u8; $k], [u8; $v]>::try_from($map).unwrap().insert(key, value, 0).unwrap()
            })*
            (k, v) => panic!("no shape for {k} and {v} bytes"),
        }
    };
}

fn update(map: &mut Map, key: &[u8], value: &[u8]) {
    sized!(map, key, value; (16, 24) (8, 40) (20, 28) (32, 24) (40, 32) (40, 24) (40, 8))
}

/// All entries of a hash map.
pub fn dump<K: FromBytes, V: FromBytes, const N: usize, const M: usize>(
    ebpf: &Ebpf,
    map: &str,
) -> Vec<(K, V)> {
    let map = HashMap::<_, [u8; N], [u8; M]>::try_from(ebpf.map(map).unwrap()).unwrap();
    map.iter()
        .map(|entry| entry.unwrap())
        .map(|(k, v)| (K::read_from_bytes(&k).unwrap(), V::read_from_bytes(&v).unwrap()))
        .collect()
}

/// Sets an entry of an array.
pub fn set<V: IntoBytes + Immutable>(ebpf: &mut Ebpf, map: &str, index: u32, value: &V) {
    fn put<const N: usize>(map: &mut Map, index: u32, value: &[u8]) {
        let value: [u8; N] = value.try_into().expect("the size");
        Array::<_, [u8; N]>::try_from(map).unwrap().set(index, value, 0).unwrap();
    }
    let map = ebpf.map_mut(map).unwrap_or_else(|| panic!("no map {map}"));
    match value.as_bytes() {
        bytes if bytes.len() == 4 => put::<4>(map, index, bytes),
        bytes if bytes.len() == 20 => put::<20>(map, index, bytes),
        bytes if bytes.len() == 24 => put::<24>(map, index, bytes),
        bytes => put::<40>(map, index, bytes),
    }
}

/// Packets counted under an index, over all CPUs.
pub fn metric(ebpf: &Ebpf, index: u32) -> u64 {
    let map = PerCpuArray::<_, [u8; 16]>::try_from(ebpf.map("pleo_metrics").unwrap()).unwrap();
    map.get(&index, 0).unwrap().iter().map(|v| MetricValue::read_from_bytes(v).unwrap().packets).sum()
}

/// All counters that are not zero, for people.
pub fn metrics(ebpf: &Ebpf) -> String {
    let mut text = String::new();
    for index in 0..METRICS_LEN {
        let packets = metric(ebpf, index);
        if packets == 0 {
            continue;
        }
        let (reason, direction) = metric_of_index(index).expect("an index");
        let name = DropReason::from_u8(reason)
            .map(DropReason::name)
            .or(ForwardReason::from_u8(reason).map(ForwardReason::name))
            .or(counter::ALL.iter().find(|c| c.0 == reason).map(|c| c.1))
            .unwrap_or("?");
        text += &format!("{name} {} {packets}\n", direction.name());
    }
    text
}
