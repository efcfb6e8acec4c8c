//! The maps of the loaded object as this room uses them.

use std::io;

use pleopod_abi::node::NodeValue;
use pleopod_sys_bpf::{Loaded, TypedMap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Error;
use crate::mirror::{Backing, Mirror};
use crate::tables::Tables;
use crate::targets::services::Services;

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

/// The synced tables over the maps of `loaded`, holding what the kernel holds.
pub fn tables(loaded: &Loaded) -> Result<Tables, Error> {
    let mut tables = Tables {
        endpoints: Mirror::new("endpoints", Box::new(loaded.typed("pleo_endpoints")?)),
        namespaces: Mirror::new("netns", Box::new(loaded.typed("pleo_netns")?)),
        ipcache: Mirror::new("ipcache", Box::new(loaded.typed("pleo_ipcache")?)),
        prefixes: Mirror::new("ipc_lpm", Box::new(loaded.typed("pleo_ipc_lpm")?)),
        services: Services::new(
            Box::new(loaded.typed("pleo_lb_fe")?),
            Box::new(loaded.typed("pleo_lb_slot")?),
        ),
    };
    tables.load().map_err(|source| Error::Map { map: "of a synced table", source })?;
    Ok(tables)
}

/// Tells the programs the facts about the node. Until this is done they leave everything to the stack.
pub fn set_node(loaded: &Loaded, node: &NodeValue) -> Result<(), Error> {
    let map: TypedMap<u32, NodeValue> = loaded.typed("pleo_node")?;
    map.set(&0, node).map_err(|source| Error::Map { map: "pleo_node", source })
}
