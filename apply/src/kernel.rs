//! The maps of the loaded object as this room uses them.

use std::io;

use pleopod_abi::node::NodeValue;
use pleopod_sys_bpf::{Loaded, Map, TypedMap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Error;
use crate::mirror::{Backing, Mirror};
use crate::tables::Tables;
use crate::targets::services::{Maps, Services, Sizes};

impl<K, V> Backing<K, V> for TypedMap<K, V>
where
    K: IntoBytes + FromBytes + Immutable + Copy,
    V: IntoBytes + FromBytes + Immutable + Copy,
{
    fn read(&self) -> io::Result<Vec<(K, V)>> {
        self.rows()
    }

    fn write(&mut self, rows: &[(K, V)]) -> Vec<(usize, io::Error)> {
        TypedMap::write(self, rows)
    }

    fn remove(&mut self, keys: &[K]) -> Vec<(usize, io::Error)> {
        self.delete(keys)
    }
}

/// An array of the kernel as a map of its entries that are not zero.
struct Array<V>(TypedMap<u32, V>);

impl<V> Backing<u32, V> for Array<V>
where
    V: IntoBytes + FromBytes + Immutable + Copy + Send,
{
    fn read(&self) -> io::Result<Vec<(u32, V)>> {
        let mut rows = self.0.rows()?;
        rows.retain(|(_, value)| value.as_bytes().iter().any(|byte| *byte != 0));
        Ok(rows)
    }

    fn write(&mut self, rows: &[(u32, V)]) -> Vec<(usize, io::Error)> {
        self.0.write(rows)
    }

    fn remove(&mut self, keys: &[u32]) -> Vec<(usize, io::Error)> {
        self.0.write(&keys.iter().map(|key| (*key, V::new_zeroed())).collect::<Vec<_>>())
    }
}

fn typed<K, V>(map: Map) -> Result<TypedMap<K, V>, Error>
where
    K: IntoBytes + FromBytes + Immutable + Copy,
    V: IntoBytes + FromBytes + Immutable + Copy,
{
    Ok(TypedMap::new(map).map_err(pleopod_sys_bpf::Error::from)?)
}

/// Services over the maps that `open` opens by name; not read yet. Maglev tables have `maglev` places, a prime.
pub fn services(open: &dyn Fn(&'static str) -> Result<Map, Error>, maglev: u32) -> Result<Services, Error> {
    let entries = |name| open(name).map(|map| map.facts().max_entries);
    let sizes = Sizes {
        table: entries("pleo_lb_table")?,
        backends: entries("pleo_lb_be")?,
        frontends: entries("pleo_lb_addr")?,
        maglev,
    };
    Ok(Services::new(Maps {
        frontends: Box::new(typed(open("pleo_lb_fe")?)?),
        table: Box::new(Array(typed(open("pleo_lb_table")?)?)),
        backends: Box::new(Array(typed(open("pleo_lb_be")?)?)),
        addresses: Box::new(Array(typed(open("pleo_lb_addr")?)?)),
        sources: Box::new(typed(open("pleo_lb_src")?)?),
        sizes,
    }))
}

/// The synced tables over the maps of `loaded`, holding what the kernel holds. Maglev tables have `maglev` places, a prime.
pub fn tables(loaded: &Loaded, maglev: u32) -> Result<Tables, Error> {
    let mut tables = Tables {
        endpoints: Mirror::new("endpoints", Box::new(loaded.typed("pleo_endpoints")?)),
        namespaces: Mirror::new("netns", Box::new(loaded.typed("pleo_netns")?)),
        ipcache: Mirror::new("ipcache", Box::new(loaded.typed("pleo_ipcache")?)),
        prefixes: Mirror::new("ipc_lpm", Box::new(loaded.typed("pleo_ipc_lpm")?)),
        services: services(
            &|name| loaded.map(name)?.try_clone().map_err(|source| Error::Map { map: name, source }),
            maglev,
        )?,
    };
    tables.load().map_err(|source| Error::Map { map: "of a synced table", source })?;
    Ok(tables)
}

/// Tells the programs the facts about the node. Until this is done they leave everything to the stack.
pub fn set_node(loaded: &Loaded, node: &NodeValue) -> Result<(), Error> {
    let map: TypedMap<u32, NodeValue> = loaded.typed("pleo_node")?;
    map.set(&0, node).map_err(|source| Error::Map { map: "pleo_node", source })
}
