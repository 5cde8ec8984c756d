//! Choices in a config that may be given by their name alone: `"karras"` for `{"karras": {}}`.
//!
//! A variant whose parameters all have defaults is written either way. The enum derives its serde
//! implementations with `remote = "Self"` (which makes them plain functions) and a `transform = by_name` of its schema.

use std::collections::BTreeMap;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, StrDeserializer};
use serde::de::{Error, IntoDeserializer};

/// `{name: {}}`, as a deserializer.
pub(crate) type WithoutParameters<'a, E> =
    MapAccessDeserializer<MapDeserializer<'a, std::iter::Once<(&'a str, BTreeMap<&'a str, ()>)>, E>>;

/// The two readings of a bare name: as it stands, and as a choice with no parameter given.
pub(crate) fn readings<'a, E: Error>(name: &'a str) -> (StrDeserializer<'a, E>, WithoutParameters<'a, E>) {
    let without_parameters = MapDeserializer::new(std::iter::once((name, BTreeMap::new())));
    (name.into_deserializer(), MapAccessDeserializer::new(without_parameters))
}

/// Adds the names that may stand alone to the alternatives of a schema.
pub(crate) fn allow_names(schema: &mut schemars::Schema, names: &[&str]) {
    let alternatives = schema.get_mut("oneOf").and_then(|alternatives| alternatives.as_array_mut());
    if let Some(alternatives) = alternatives {
        alternatives.extend(names.iter().map(|name| {
            schemars::json_schema!({
                "description": format!("`{name}` with its default parameters."), "type": "string", "const": name,
            })
            .into()
        }));
    }
}

/// Implements `Serialize` and `Deserialize` for a choice, and `by_name` for its schema.
macro_rules! choice {
    ($choice:ty, $names:expr) => {
        impl serde::Serialize for $choice {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$choice>::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $choice {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NameOrMap;

                impl<'de> serde::de::Visitor<'de> for NameOrMap {
                    type Value = $choice;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                        formatter.write_str("a name, or a name with its parameters")
                    }

                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                        let (bare, without_parameters) = $crate::choice::readings::<E>(name);
                        <$choice>::deserialize(bare).or_else(|_| <$choice>::deserialize(without_parameters))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                        <$choice>::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }

                deserializer.deserialize_any(NameOrMap)
            }
        }

        fn by_name(schema: &mut schemars::Schema) {
            $crate::choice::allow_names(schema, &$names);
        }
    };
}
pub(crate) use choice;
