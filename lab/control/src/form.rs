//! In which form an answer shows objects: in full, as metadata only, or as rows of a table.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::resource::Resource;
use crate::store::Stored;
use crate::table::{self, Include};

mod convert;
pub use convert::{incoming, outgoing};

/// The form asked for by `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The objects.
    Full,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `Table`.
    Table(Include),
}

// === impl Form ===

impl Form {
    /// Chooses by the first media type of `accept` that the server can make.
    pub fn negotiate(accept: &str, include: Option<&str>) -> Self {
        let include = match include {
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            _ => Include::Metadata,
        };
        for media in accept.split(',') {
            let mut parts = media.split(';').map(str::trim);
            if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*" | "")) {
                continue;
            }
            return match parts.find_map(|p| p.strip_prefix("as=")) {
                Some("Table") => Self::Table(include),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Self::Metadata,
                _ => Self::Full,
            };
        }
        Self::Full
    }

    /// The object as field selectors see it.
    pub fn shown<'a>(&self, v: &'a Value, r: &Resource) -> Cow<'a, Value> {
        if &*r.shelf == "events" { outgoing(v, r, "v1") } else { Cow::Borrowed(v) }
    }

    /// The text of one object. `header` is cleared once column definitions have been given.
    pub fn one(&self, o: &Stored, r: &Resource, version: &str, header: &mut bool) -> Bytes {
        match self {
            Self::Full => match outgoing(&o.value, r, version) {
                Cow::Borrowed(_) => o.json().clone(),
                Cow::Owned(v) => Bytes::from(v.to_string()),
            },
            Self::Metadata => Bytes::from(table::partial(&o.value).to_string()),
            Self::Table(include) => {
                let v = outgoing(&o.value, r, version);
                let meta = json!({"resourceVersion": o.rv.to_string()});
                let t = table::table(r, version, std::iter::once(v.as_ref()), *include, *header, meta);
                *header = false;
                Bytes::from(t.to_string())
            }
        }
    }

    /// The text of a list. `meta` is the metadata of the list.
    pub fn many<'a>(
        &self,
        all: impl Iterator<Item = &'a Stored>,
        r: &Resource,
        version: &str,
        meta: Value,
    ) -> Bytes {
        match self {
            Self::Table(include) => {
                let shown: Vec<Cow<'_, Value>> = all.map(|o| outgoing(&o.value, r, version)).collect();
                let t = table::table(r, version, shown.iter().map(AsRef::as_ref), *include, true, meta);
                Bytes::from(t.to_string())
            }
            _ => {
                let (kind, api) = match self {
                    Self::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
                    _ => (r.list_kind.as_str(), r.api_version(version)),
                };
                let mut b = BytesMut::new();
                b.put_slice(
                    format!(
                        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{meta},\"items\":[",
                        json!(kind),
                        json!(api)
                    )
                    .as_bytes(),
                );
                let mut header = false;
                for (i, o) in all.enumerate() {
                    if i > 0 {
                        b.put_u8(b',');
                    }
                    b.put_slice(&self.one(o, r, version, &mut header));
                }
                b.put_slice(b"]}");
                b.freeze()
            }
        }
    }
}
