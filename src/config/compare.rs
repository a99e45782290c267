//! Whether two configurations are the same: field by field, or by the fingerprint that a checkpoint keeps.

use super::layers::Layers;
use super::{Config, resolve};
use std::path::Path;

/// Fields of `[model]` that came after the first version and that a configuration always has, oldest first.
const ADDED: [&str; 3] = ["householder", "expand", "conv"];

impl Config {
    /// blake3 of [`Config::to_toml`] without a header, in hex: equal for equal configurations.
    pub fn hash(&self) -> String {
        fingerprint(&self.to_toml(""))
    }

    /// Whether [`Config::hash`] made `hash` of this configuration, now or in an earlier version. That one left out the
    /// fields that it had not yet; then each of them has to be what it is when it is left out.
    pub fn has_hash(&self, hash: &str) -> bool {
        (0..=ADDED.len()).any(|known| {
            let text = self.without(&ADDED[known..]);
            fingerprint(&text) == hash && self.is_meant_by(&text)
        })
    }

    /// [`Config::to_toml`] without the lines of these fields of `[model]`; no other section has fields of these names.
    fn without(&self, fields: &[&str]) -> String {
        let is_one = |line: &&str| {
            line.split_once(" = ")
                .is_some_and(|(key, _)| fields.contains(&key))
        };
        let text = self.to_toml("");
        text.split_inclusive('\n').filter(|line| !is_one(line)).collect()
    }

    fn is_meant_by(&self, text: &str) -> bool {
        let layers = Layers::from_file(String::new(), Path::new(""), text);
        layers
            .and_then(|layers| resolve(&layers))
            .is_ok_and(|config| config == *self)
    }

    /// The fields that are not the same, as (field, value here, value there); `none` where a field is missing.
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let (ours, theirs) = (self.fields(), other.fields());
        let value = |fields: &[(String, String)], name: &str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found.map_or_else(|| "none".to_owned(), |(_, value)| value.clone())
        };
        let mut names: Vec<&String> = ours.iter().chain(&theirs).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| (name.clone(), value(&ours, name), value(&theirs, name)))
            .filter(|(_, a, b)| a != b)
            .collect()
    }

    /// Every field by its full name, with its value in TOML.
    fn fields(&self) -> Vec<(String, String)> {
        let table = toml::Table::try_from(self).expect("numbers, strings and UTF-8 paths have a TOML form");
        let mut fields = Vec::new();
        for (section, values) in table {
            for (key, value) in values.as_table().expect("a section is a table") {
                fields.push((format!("{section}.{key}"), value.to_string()));
            }
        }
        fields
    }
}

fn fingerprint(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
