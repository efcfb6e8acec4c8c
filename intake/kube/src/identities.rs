//! Claims numbers for label sets.
//!
//! The object named by the number is the claim: creating it is atomic, so two nodes that ask for the same labels at
//! the same moment end up with the same number, and two that ask for different labels never do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use pleopod_intake::crd::{LABELS_HASH, PleopodIdentitySpec};
use pleopod_intake::identity::{candidates, hash_text};
use pleopod_intake::read::identity::number;
use pleopod_model::{IdentityId, Labels};
use tokio::sync::Mutex;

use crate::Error;
use crate::crd::{IdentitySpec, PleopodIdentity};
use crate::error::answer;

/// How long an answer counts before the watch must have delivered the object.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The identities of the cluster, as far as claiming goes. The store's own look-up
/// ([`Store::identity_of`](pleopod_intake::Store::identity_of)) comes first and costs nothing.
#[derive(Debug)]
pub struct Identities {
    api: Api<PleopodIdentity>,
    /// Held while claiming: a burst of pods with the same labels asks once.
    recent: Mutex<HashMap<Labels, (IdentityId, Instant)>>,
}

// === impl Identities ===

impl Identities {
    /// Claims through this client.
    pub fn new(client: Client) -> Self {
        Self { api: Api::all(client), recent: Mutex::default() }
    }

    /// The number of a label set: the one it has, or a new one.
    pub async fn claim(&self, labels: &Labels) -> Result<IdentityId, Error> {
        let mut recent = self.recent.lock().await;
        recent.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        if let Some((id, _)) = recent.get(labels) {
            return Ok(*id);
        }
        let id = match self.find(labels).await? {
            Some(id) => id,
            None => self.create(labels).await?,
        };
        recent.insert(labels.clone(), (id, Instant::now()));
        Ok(id)
    }

    /// The lowest number that stands for these labels already.
    async fn find(&self, labels: &Labels) -> Result<Option<IdentityId>, Error> {
        let selector = format!("{LABELS_HASH}={}", hash_text(labels));
        let doing = || format!("looking for the PleopodIdentity with {selector}");
        let list = answer(doing, self.api.list(&ListParams::default().labels(&selector))).await?;
        Ok(list.items.iter().filter(|o| stands_for(o, labels)).filter_map(|o| number(&o.name_any())).min())
    }

    async fn create(&self, labels: &Labels) -> Result<IdentityId, Error> {
        let spec = IdentitySpec { fields: PleopodIdentitySpec { labels: labels.to_strings() } };
        for id in candidates(labels) {
            let name = id.to_string();
            let mut object = PleopodIdentity::new(&name, spec.clone());
            object.labels_mut().insert(LABELS_HASH.into(), hash_text(labels));
            loop {
                let doing = || format!("creating PleopodIdentity {name}");
                match answer(doing, self.api.create(&PostParams::default(), &object)).await {
                    Ok(_) => return Ok(id),
                    Err(Error::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(s) if s.is_already_exists()) =>
                        {}
                    Err(error) => return Err(error),
                }
                let doing = || format!("reading PleopodIdentity {name}");
                match answer(doing, self.api.get_opt(&name)).await? {
                    Some(there) if stands_for(&there, labels) => return Ok(id),
                    // Another set has it: the next number.
                    Some(_) => break,
                    // Removed in between: it may be ours after all.
                    None => {}
                }
            }
        }
        Err(Error::NoIdentity(Box::new(labels.clone())))
    }
}

fn stands_for(object: &PleopodIdentity, labels: &Labels) -> bool {
    Labels::from(object.spec.fields.labels.clone()) == *labels
}
