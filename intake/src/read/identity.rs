//! PleopodIdentities: a number for a set of labels.

use pleopod_model::{IdentityId, Labels};

use super::{Complaints, Read};
use crate::Kind;
use crate::crd::UNUSED_SINCE;
use crate::object::IdentityObject;

/// Reads one PleopodIdentity; its name is the number.
pub fn read(object: &IdentityObject) -> Read<(IdentityId, Labels)> {
    let complaints = Complaints::about(Kind::PleopodIdentity, &object.metadata);
    let Some(id) = number(object.metadata.name.as_deref().unwrap_or_default()) else {
        let hint = "delete it; the agents make the objects they need";
        return complaints.bad("metadata.name", "the name is not a number from 256 to 65535", hint);
    };
    if object.spec.labels.is_empty() {
        let hint = "delete it; the agents make the objects they need";
        return complaints.bad("spec.labels", "an identity without labels stands for nobody", hint);
    }
    complaints.good((id, Labels::from(object.spec.labels.clone())))
}

/// What [`UNUSED_SINCE`] says, if it is there.
pub fn mark(object: &IdentityObject) -> Option<String> {
    object.metadata.annotations.as_ref()?.get(UNUSED_SINCE).cloned()
}

/// The number that an object's name is, if it is one in canonical form.
pub fn number(name: &str) -> Option<IdentityId> {
    let id: u32 = name.parse().ok()?;
    let canonical = id.to_string() == name;
    (canonical && (IdentityId::FIRST_CLUSTER..=IdentityId::LAST_CLUSTER).contains(&id))
        .then_some(IdentityId(id))
}
