//! Byte strings as postcard has them (length, bytes), moved whole instead of byte by byte as
//! serde does a `Vec<u8>` by itself.

use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    Ok(<&[u8]>::deserialize(from)?.to_vec())
}

/// The same for a list of them.
pub(super) mod list {
    use super::{Deserialize, Deserializer, SerializeSeq, Serializer};

    struct One<'a>(&'a [u8]);

    impl serde::Serialize for One<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(self.0)
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(
        list: &[Vec<u8>],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sequence = to.serialize_seq(Some(list.len()))?;
        for bytes in list {
            sequence.serialize_element(&One(bytes))?;
        }
        sequence.end()
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<&[u8]>::deserialize(from)?;
        Ok(list.into_iter().map(<[u8]>::to_vec).collect())
    }
}
