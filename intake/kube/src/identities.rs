//! Claims numbers for label sets.
//!
//! The object named by the number is the claim: creating it is atomic, so two nodes that ask for the same labels at
//! the same moment end up with the same number, and two that ask for different labels never do.
//!
//! Numbers that nobody uses are collected in two steps, so that nobody is left with a number that is gone or another's:
//!
//! ```text
//!   unused for a while ── mark ──► marked for a while ── remove (only if it is the same mark) ──► gone
//!        ▲                           │
//!        └── claim removes the mark ─┘     each step only if the object is as it was read (resourceVersion)
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use pleopod_intake::crd::{LABELS_HASH, PleopodIdentitySpec, UNUSED_SINCE};
use pleopod_intake::identity::{candidates, hash_text};
use pleopod_intake::read::identity::number;
use pleopod_model::{IdentityId, Labels};
use serde_json::{Value, json};
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
    remembered: Duration,
}

/// How often an object that others change is tried.
const TRIES: u32 = 5;

// === impl Identities ===

impl Identities {
    /// Claims through this client.
    pub fn new(client: Client) -> Self {
        Self { api: Api::all(client), recent: Mutex::default(), remembered: REMEMBERED }
    }

    /// Remembers answers for no longer than this; numbers must not be collected sooner.
    #[must_use]
    pub fn remembering(self, most: Duration) -> Self {
        Self { remembered: self.remembered.min(most), ..self }
    }

    /// The number of a label set: the one it has, or a new one.
    pub async fn claim(&self, labels: &Labels) -> Result<IdentityId, Error> {
        let mut recent = self.recent.lock().await;
        recent.retain(|_, (_, at)| at.elapsed() < self.remembered);
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

    /// The same, without asking what was answered a moment ago: for labels whose number is known and has a mark.
    pub async fn claim_anew(&self, labels: &Labels) -> Result<IdentityId, Error> {
        self.recent.lock().await.remove(labels);
        self.claim(labels).await
    }

    /// The lowest number that stands for these labels already.
    async fn find(&self, labels: &Labels) -> Result<Option<IdentityId>, Error> {
        let selector = format!("{LABELS_HASH}={}", hash_text(labels));
        let doing = || format!("looking for the PleopodIdentity with {selector}");
        for _ in 0..TRIES {
            let list = answer(doing, self.api.list(&ListParams::default().labels(&selector))).await?;
            let ours = list.items.iter().filter(|o| stands_for(o, labels));
            let Some((id, object)) =
                ours.filter_map(|o| Some((number(&o.name_any())?, o))).min_by_key(|(id, _)| *id)
            else {
                return Ok(None);
            };
            if self.use_again(object).await? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Removes the mark of an object that is taken into use. `false` when it was changed or removed meanwhile.
    async fn use_again(&self, object: &PleopodIdentity) -> Result<bool, Error> {
        if !object.annotations().contains_key(UNUSED_SINCE) {
            return Ok(true);
        }
        self.annotate(object, Value::Null).await
    }

    /// Sets or removes the mark if the object is as it was read.
    async fn annotate(&self, object: &PleopodIdentity, mark: Value) -> Result<bool, Error> {
        let name = object.name_any();
        let patch = json!({ "metadata": {
            "resourceVersion": object.resource_version(),
            "annotations": { UNUSED_SINCE: mark },
        }});
        let doing = || format!("changing the mark of PleopodIdentity {name}");
        changed(answer(doing, self.api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))).await)
    }

    /// Marks a number as unused, unless it is marked already. `false` when it was changed or removed meanwhile.
    pub async fn mark(&self, id: IdentityId) -> Result<bool, Error> {
        let Some(object) = self.read(id).await? else { return Ok(false) };
        if object.annotations().contains_key(UNUSED_SINCE) {
            return Ok(true);
        }
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        self.annotate(&object, Value::String(now)).await
    }

    /// Removes a number that still has the mark `mark`. `false` when it has not, or was changed or removed meanwhile.
    pub async fn remove(&self, id: IdentityId, mark: &str) -> Result<bool, Error> {
        let Some(object) = self.read(id).await? else { return Ok(false) };
        if object.annotations().get(UNUSED_SINCE).map(String::as_str) != Some(mark) {
            return Ok(false);
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: object.resource_version(),
                uid: object.uid(),
            }),
            ..DeleteParams::default()
        };
        let doing = || format!("removing PleopodIdentity {id}");
        changed(answer(doing, self.api.delete(&id.to_string(), &params)).await)
    }

    async fn read(&self, id: IdentityId) -> Result<Option<PleopodIdentity>, Error> {
        answer(|| format!("reading PleopodIdentity {id}"), self.api.get_opt(&id.to_string())).await
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
                // Removed in between: it may be ours after all.
                let Some(there) = answer(doing, self.api.get_opt(&name)).await? else { continue };
                if !stands_for(&there, labels) {
                    // Another set has it: the next number.
                    break;
                }
                if self.use_again(&there).await? {
                    return Ok(id);
                }
            }
        }
        Err(Error::NoIdentity(Box::new(labels.clone())))
    }
}

/// Whether a change was made; an object that is another by now, or gone, is no error.
fn changed<T>(outcome: Result<T, Error>) -> Result<bool, Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(Error::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(s) if s.is_conflict()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn stands_for(object: &PleopodIdentity, labels: &Labels) -> bool {
    Labels::from(object.spec.fields.labels.clone()) == *labels
}
