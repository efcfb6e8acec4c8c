//! One map of the kernel: rows as bytes ([`Map`]) or as records of `pleopod-abi` ([`TypedMap`]).

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya_obj::generated::bpf_map_info;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::raw::{self, Sizes};

/// The kernel's own "operation is not supported" (include/linux/errno.h), which libc does not name.
const ENOTSUPP: i32 = 524;

/// Rows moved by one batch call.
const BATCH: u32 = 1024;

/// An open map. Sizes come from the kernel, so no record of a wrong size ever reaches it.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    facts: MapFacts,
    sizes: Sizes,
}

/// What the kernel says a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFacts {
    /// Its id.
    pub id: u32,
    /// Its name, cut to 15 bytes by the kernel.
    pub name: String,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's).
    pub value_size: u32,
    /// Rows it can hold.
    pub max_entries: u32,
    /// `map_flags`.
    pub flags: u32,
}

/// A map whose keys are `K` and whose values are `V`.
#[derive(Debug)]
pub struct TypedMap<K, V> {
    map: Map,
    records: PhantomData<fn(K) -> V>,
}

/// A record of another size than the map's.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "map {name}: keys of {key} and values of {value} bytes were expected, the kernel's are {key_size} and {value_size}"
)]
pub struct SizeMismatch {
    name: String,
    key: usize,
    value: usize,
    key_size: u32,
    value_size: u32,
}

// === impl Map ===

impl Map {
    /// Takes an open map over.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let info: bpf_map_info = raw::info(fd.as_fd())?;
        let name =
            info.name.iter().map(|c| c.cast_unsigned()).take_while(|c| *c != 0).map(char::from).collect();
        let facts = MapFacts {
            id: info.id,
            name,
            kind: info.type_,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.map_flags,
        };
        // Per-CPU values come as one block, each CPU's rounded up to 8 bytes (kernel: kernel/bpf/syscall.c,
        // bpf_map_value_size). Types 5, 6, 10 and 21 are the per-CPU ones.
        let value = match info.type_ {
            5 | 6 | 10 | 21 => info.value_size.next_multiple_of(8) as usize * cpus()?,
            _ => info.value_size as usize,
        };
        Ok(Self { fd, sizes: Sizes { key: info.key_size as usize, value }, facts })
    }

    /// Opens a pinned map.
    pub fn open(pin: &Path) -> io::Result<Self> {
        Self::new(raw::obj_get(pin)?)
    }

    /// What it is.
    pub fn facts(&self) -> &MapFacts {
        &self.facts
    }

    /// Another handle of the same map.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, facts: self.facts.clone(), sizes: self.sizes })
    }

    /// The value at `key`; of all CPUs in a row for per-CPU maps.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.sizes.value];
        Ok(raw::map_lookup(self.fd.as_fd(), self.sizes, key, &mut value)?.then_some(value))
    }

    /// Writes one row.
    pub fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        raw::map_update(self.fd.as_fd(), self.sizes, key, value)
    }

    /// Removes one row; `false` when there is none.
    pub fn remove(&self, key: &[u8]) -> io::Result<bool> {
        raw::map_delete(self.fd.as_fd(), self.sizes, key)
    }

    /// Calls `f` for every row. Rows written or removed meanwhile may be seen or not; none is seen twice unless it was
    /// written twice.
    pub fn each(&self, mut f: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let batched = self.each_batched(&mut f);
        match batched {
            // Kernels without batch operations for this kind of map; nothing was read yet.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | ENOTSUPP)) => self.each_single(&mut f),
            other => other,
        }
    }

    fn each_batched(&self, f: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let Sizes { key, value } = self.sizes;
        let mut cursor: Option<Vec<u8>> = None;
        let mut next = vec![0u8; key.max(4)];
        let mut count = BATCH.min(self.facts.max_entries.max(1));
        loop {
            let mut keys = vec![0u8; key * count as usize];
            let mut values = vec![0u8; value * count as usize];
            let read = raw::map_lookup_batch(
                self.fd.as_fd(),
                self.sizes,
                cursor.as_deref(),
                &mut next,
                &mut keys,
                &mut values,
                count,
            );
            let (got, end) = match read {
                // One bucket holds more rows than there is room for.
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && count < self.facts.max_entries => {
                    count = count.saturating_mul(2).min(self.facts.max_entries);
                    continue;
                }
                other => other?,
            };
            for i in 0..got as usize {
                f(&keys[i * key..(i + 1) * key], &values[i * value..(i + 1) * value]);
            }
            if end {
                return Ok(());
            }
            cursor = Some(next.clone());
        }
    }

    fn each_single(&self, f: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut keys = Vec::new();
        let mut next = vec![0u8; self.sizes.key];
        let mut last: Option<Vec<u8>> = None;
        // Bounded: a map that others write to could otherwise lead in circles.
        for _ in 0..u64::from(self.facts.max_entries) * 2 {
            if !raw::map_next_key(self.fd.as_fd(), self.sizes, last.as_deref(), &mut next)? {
                break;
            }
            keys.push(next.clone());
            last = Some(next.clone());
        }
        for key in keys {
            if let Some(value) = self.get(&key)? {
                f(&key, &value);
            }
        }
        Ok(())
    }

    /// Writes `count` rows that stand one after the other in `keys` and `values`. Answers which failed, by position.
    fn write_rows(&self, keys: &[u8], values: &[u8], count: u32) -> Vec<(usize, io::Error)> {
        let Sizes { key, value } = self.sizes;
        let mut failed = Vec::new();
        let mut at = 0;
        while at < count {
            let (k, v) = (&keys[at as usize * key..], &values[at as usize * value..]);
            let (done, error) = if count - at == 1 {
                match self.set(k, v) {
                    Ok(()) => (1, None),
                    Err(e) => (0, Some(e)),
                }
            } else {
                raw::map_update_batch(self.fd.as_fd(), self.sizes, k, v, count - at)
            };
            at += done;
            if error.is_some() {
                // The batch stopped at this row, or the kernel knows no batches: the row by itself tells.
                let (k, v) = (&keys[at as usize * key..][..key], &values[at as usize * value..][..value]);
                if let Err(e) = self.set(k, v) {
                    failed.push((at as usize, e));
                }
                at += 1;
            }
        }
        failed
    }

    fn remove_rows(&self, keys: &[u8], count: u32) -> Vec<(usize, io::Error)> {
        let size = self.sizes.key;
        let mut failed = Vec::new();
        let mut at = 0;
        while at < count {
            let k = &keys[at as usize * size..];
            let (done, error) = if count - at == 1 {
                (0, Some(io::Error::from_raw_os_error(libc::ENOENT)))
            } else {
                raw::map_delete_batch(self.fd.as_fd(), self.sizes, k, count - at)
            };
            at += done;
            if error.is_some() {
                if let Err(e) = self.remove(&keys[at as usize * size..][..size]) {
                    failed.push((at as usize, e));
                }
                at += 1;
            }
        }
        failed
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// CPUs the kernel keeps per-CPU values for.
fn cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    parse_cpus(text.trim())
        .ok_or_else(|| io::Error::other(format!("/sys/devices/system/cpu/possible: {text:?}")))
}

/// `0-3,8` is five.
fn parse_cpus(text: &str) -> Option<usize> {
    text.split(',')
        .map(|range| match range.split_once('-') {
            Some((a, b)) => b.parse::<usize>().ok()?.checked_sub(a.parse().ok()?).map(|n| n + 1),
            None => range.parse::<usize>().ok().map(|_| 1),
        })
        .sum()
}

// === impl TypedMap ===

impl<K, V> TypedMap<K, V>
where
    K: IntoBytes + FromBytes + Immutable + Copy,
    V: IntoBytes + FromBytes + Immutable + Copy,
{
    /// The map with its records typed; refused when their sizes are not the map's.
    pub fn new(map: Map) -> Result<Self, SizeMismatch> {
        let sizes = Sizes { key: size_of::<K>(), value: size_of::<V>() };
        if sizes.key != map.sizes.key || sizes.value != map.sizes.value {
            return Err(SizeMismatch {
                name: map.facts.name.clone(),
                key: sizes.key,
                value: sizes.value,
                key_size: map.facts.key_size,
                value_size: map.facts.value_size,
            });
        }
        Ok(Self { map, records: PhantomData })
    }

    /// The map as bytes.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The value at `key`.
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let value = self.map.get(key.as_bytes())?;
        Ok(value.and_then(|v| V::read_from_bytes(&v).ok()))
    }

    /// Writes one row.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        self.map.set(key.as_bytes(), value.as_bytes())
    }

    /// Removes one row; `false` when there is none.
    pub fn remove(&self, key: &K) -> io::Result<bool> {
        self.map.remove(key.as_bytes())
    }

    /// Every row.
    pub fn rows(&self) -> io::Result<Vec<(K, V)>> {
        let mut rows = Vec::new();
        self.each(|k, v| rows.push((k, v)))?;
        Ok(rows)
    }

    /// Calls `f` for every row, see [`Map::each`].
    pub fn each(&self, mut f: impl FnMut(K, V)) -> io::Result<()> {
        self.map.each(|k, v| {
            // Sizes were compared when this was made.
            if let (Ok(k), Ok(v)) = (K::read_from_bytes(k), V::read_from_bytes(v)) {
                f(k, v);
            }
        })
    }

    /// Writes rows, in batches. Answers which failed, by position.
    pub fn write(&self, rows: &[(K, V)]) -> Vec<(usize, io::Error)> {
        let mut keys = Vec::with_capacity(size_of::<K>() * rows.len());
        let mut values = Vec::with_capacity(size_of::<V>() * rows.len());
        for (key, value) in rows {
            keys.extend_from_slice(key.as_bytes());
            values.extend_from_slice(value.as_bytes());
        }
        self.map.write_rows(&keys, &values, rows.len() as u32)
    }

    /// Removes rows, in batches; one that is not there is removed. Answers which failed, by position.
    pub fn delete(&self, keys: &[K]) -> Vec<(usize, io::Error)> {
        let mut bytes = Vec::with_capacity(size_of_val(keys));
        for key in keys {
            bytes.extend_from_slice(key.as_bytes());
        }
        self.map.remove_rows(&bytes, keys.len() as u32)
    }
}

impl fmt::Display for MapFacts {
    /// `type 1, key 16, value 24, 4096 entries, flags 0x1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key_size, value_size, max_entries, flags, .. } = self;
        write!(f, "type {kind}, key {key_size}, value {value_size}, {max_entries} entries, flags 0x{flags:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::parse_cpus;

    #[test]
    fn cpu_ranges_are_counted() {
        assert_eq!(parse_cpus("0-1"), Some(2));
        assert_eq!(parse_cpus("0"), Some(1));
        assert_eq!(parse_cpus("0-3,8"), Some(5));
        assert_eq!(parse_cpus("3-0"), None);
        assert_eq!(parse_cpus("x"), None);
    }
}
