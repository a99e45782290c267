//! Whether two configurations are the same: field by field, or by the fingerprint that a checkpoint keeps.

use super::Config;

impl Config {
    /// The fields of what is computed that are not the same: [`Config::changes`] but for `[run]`.
    pub fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let mut changes = self.changes(other);
        changes.retain(|(field, ..)| !field.starts_with("run."));
        changes
    }

    /// The fields that are not the same, as (field, value here, value there); `none` where a field is missing.
    pub fn changes(&self, other: &Self) -> Vec<(String, String, String)> {
        let (ours, theirs) = (self.fields(), other.fields());
        let value = |fields: &[(String, toml::Value)], name: &str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.clone())
        };
        let mut names: Vec<&String> = ours.iter().chain(&theirs).map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        let text =
            |value: Option<toml::Value>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
        names
            .into_iter()
            .map(|name| (name, value(&ours, name), value(&theirs, name)))
            .filter(|(_, ours, theirs)| ours != theirs)
            .map(|(name, ours, theirs)| (name.clone(), text(ours), text(theirs)))
            .collect()
    }

    /// Every field by its full name, with its value.
    pub fn fields(&self) -> Vec<(String, toml::Value)> {
        let table = toml::Table::try_from(self).expect("numbers, strings and UTF-8 paths have a TOML form");
        let mut fields = Vec::new();
        for (section, values) in table {
            if let toml::Value::Table(values) = values {
                fields.extend(
                    values
                        .into_iter()
                        .map(|(key, value)| (format!("{section}.{key}"), value)),
                );
            }
        }
        fields
    }
}

/// blake3, in hex, of a configuration's text below the comments at its top. A run keeps that of its own config.toml in
/// its checkpoints: it stays what it is when a later version, with more fields, reads the same file.
pub fn fingerprint(text: &str) -> String {
    blake3::hash(below_comments(text).as_bytes()).to_hex().to_string()
}

/// A configuration's text below the comments at its top.
pub fn below_comments(text: &str) -> &str {
    let is_header = |line: &str| line.starts_with('#') || line.trim().is_empty();
    let header: usize = text
        .split_inclusive('\n')
        .take_while(|line| is_header(line))
        .map(str::len)
        .sum();
    &text[header..]
}
