//! Which addresses are the node's: those of its Node object, and those that node ports are to answer at.

use pleopod_model::desired::NodePortAddresses;

use super::Core;
use crate::log::one_line;

impl Core {
    /// Looks at the node's addresses; when they changed, the next pass follows.
    pub fn look_over_addresses(&mut self) {
        let mut addresses = self.hands.node().to_vec();
        if let NodePortAddresses::Within(prefixes) = &self.facts.services.node_port_addresses {
            match self.hands.addresses() {
                Ok(all) => addresses.extend(
                    all.into_iter().filter(|address| prefixes.iter().any(|net| net.contains(address))),
                ),
                Err(error) => {
                    tracing::warn!(error = one_line(&error), "reading the node's addresses");
                    return;
                }
            }
            // The Node says which is the first.
            let mut seen = std::collections::BTreeSet::new();
            addresses.retain(|address| seen.insert(*address));
        }
        if addresses != self.facts.addresses {
            tracing::debug!(from = ?self.facts.addresses, to = ?addresses, "addresses that are the node's");
            self.facts.addresses = addresses;
            self.todo.tables = true;
        }
    }
}
