//! Registries of elements beyond the built-in one.

use sonde_mplane::{Registries, Registry};

use crate::Section;

/// The built-in registry, and the files that a key lists: a list, or one alone.
#[must_use]
pub fn registries(section: &mut Section<'_, '_>, key: &str) -> Registries {
    let mut registries = Registries::built_in();
    if section.get(key).is_none() {
        return registries;
    }
    for file in section.texts(key).unwrap_or_default() {
        let file = section.folder().join(file);
        let read = std::fs::read(&file).map_err(|error| error.to_string());
        let loaded = read.and_then(|octets| {
            let registry = Registry::from_json(&octets).map_err(|error| error.to_string())?;
            registries.load(&registry).map_err(|error| error.to_string())
        });
        if let Err(error) = loaded
            && let Some(item) = section.get(key)
        {
            let place = item.place.clone();
            section.tell(&place, key, format!("{}: {error}", file.display()));
        }
    }
    registries
}
