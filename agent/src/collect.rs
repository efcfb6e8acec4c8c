//! Collects identities that nobody uses any more. Every agent does, and there is no leader to lose: each waits a little longer
//! or shorter than the others, so usually one of them makes a change and the others see it.
//!
//! First a mark, then, as much later again, the removal. Who uses a number takes its mark away: an agent that has it in a
//! lease as soon as it sees the mark, and one that takes it into use before it does
//! ([`Identities`], docs/decisions/0010-identities-are-collected-in-two-steps.md).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pleopod_intake_kube::Identities;
use pleopod_model::IdentityId;
use tokio::time::Instant;

use crate::core::Handle;

/// What one agent remembers of unused identities.
#[derive(Debug)]
pub struct Collecting {
    /// How long each step waits on this node.
    patience: Duration,
    /// How often it looks.
    look: Duration,
    seen: BTreeMap<IdentityId, Seen>,
}

/// Since when this agent has seen it so. A clock that is set, here or where the mark was made, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    unused: Instant,
    mark: Option<(String, Instant)>,
}

/// What to do with an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Mark,
    /// If it still has this mark.
    Remove(String),
}

// === impl Collecting ===

impl Collecting {
    /// For the agent of `node`: each step waits for `after`, and up to half as long again, by the node's name.
    pub fn new(node: &str, after: Duration) -> Self {
        let hash = node
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let longer = after.mul_f64(f64::from(hash) / f64::from(u32::MAX) / 2.0);
        Self { patience: after + longer, look: after / 8, seen: BTreeMap::new() }
    }

    /// Collects until the core is gone.
    pub async fn run(mut self, core: Handle, identities: Arc<Identities>) {
        loop {
            tokio::time::sleep(self.look).await;
            let Ok(unused) = core.inspect(|core| core.unused_identities()).await else { return };
            let Some(unused) = unused else { continue };
            for (id, act) in self.look_at(Instant::now(), &unused) {
                let done = match &act {
                    Act::Mark => identities.mark(id).await,
                    Act::Remove(mark) => identities.remove(id, mark).await,
                };
                match (done, act) {
                    (Ok(true), Act::Mark) => tracing::debug!(identity = %id, "nobody uses it; marked"),
                    (Ok(true), Act::Remove(_)) => tracing::info!(identity = %id, "nobody used it; removed"),
                    (Ok(false), _) => {
                        tracing::debug!(identity = %id, "it changed meanwhile; looked at again")
                    }
                    (Err(error), _) => {
                        // The API server is away or refuses: the others would fare no better.
                        tracing::warn!(%error, "collecting unused identities; tried again later");
                        break;
                    }
                }
            }
        }
    }

    /// What is due now, of those that are unused now with the marks they have now.
    fn look_at(
        &mut self,
        now: Instant,
        unused: &BTreeMap<IdentityId, Option<String>>,
    ) -> Vec<(IdentityId, Act)> {
        self.seen.retain(|id, _| unused.contains_key(id));
        let mut due = Vec::new();
        for (id, mark) in unused {
            let seen = self.seen.entry(*id).or_insert(Seen { unused: now, mark: None });
            if seen.mark.as_ref().map(|(text, _)| text) != mark.as_ref() {
                seen.mark = mark.clone().map(|text| (text, now));
            }
            let long = |since: &Instant| now.duration_since(*since) >= self.patience;
            match &seen.mark {
                None if long(&seen.unused) => due.push((*id, Act::Mark)),
                Some((text, since)) if long(since) => due.push((*id, Act::Remove(text.clone()))),
                _ => {}
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(100);

    fn unused(all: &[(u32, Option<&str>)]) -> BTreeMap<IdentityId, Option<String>> {
        all.iter().map(|(id, mark)| (IdentityId(*id), mark.map(str::to_owned))).collect()
    }

    #[test]
    fn marked_when_unused_for_long_and_removed_as_long_after() {
        let mut agent = Collecting::new("n", AFTER);
        assert!((AFTER..=AFTER * 3 / 2).contains(&agent.patience), "{agent:?}");
        let step = AFTER * 3 / 2;
        let start = Instant::now();
        let mut at = |n: u32, all: &[(u32, Option<&str>)]| {
            let due = agent.look_at(start + step * n, &unused(all));
            due.into_iter().map(|(id, act)| (id.0, act)).collect::<Vec<_>>()
        };
        assert_eq!(at(0, &[(300, None), (301, None)]), []);
        assert_eq!(at(1, &[(300, None), (301, None), (302, None)]), [(300, Act::Mark), (301, Act::Mark)]);
        // 301 came into use; the mark of 300 arrives and has to age as this agent sees it.
        assert_eq!(at(2, &[(300, Some("m")), (302, None)]), [(302, Act::Mark)]);
        assert_eq!(at(2, &[(300, Some("m")), (301, None)]), []);
        assert_eq!(
            at(3, &[(300, Some("m")), (301, None)]),
            [(300, Act::Remove("m".into())), (301, Act::Mark)]
        );
        // Another mark is another story.
        assert_eq!(at(4, &[(300, Some("n"))]), []);
        assert_eq!(at(5, &[(300, Some("n"))]), [(300, Act::Remove("n".into()))]);
    }

    #[test]
    fn agents_wait_differently() {
        let patience = |node: &str| Collecting::new(node, AFTER).patience;
        assert_ne!(patience("k8s-w1"), patience("k8s-w2"));
    }
}
