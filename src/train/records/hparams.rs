//! What `TensorBoard`'s HPARAMS page knows of a run: fields of its configuration, and which numbers came of them.
//!
//! The messages are the part of the plugin's `plugin_data.proto` and `api.proto` that this needs.

use prost::Message;
use std::collections::HashMap;

/// The plugin's name, and what its summaries are tagged with.
pub(super) const PLUGIN: &str = "hparams";
pub(super) const EXPERIMENT: &str = "_hparams_/experiment";
pub(super) const START: &str = "_hparams_/session_start_info";
pub(super) const END: &str = "_hparams_/session_end_info";
/// Tags of the numbers that a finished run is compared by.
pub(super) const RESULTS: [&str; 2] = ["test/accuracy", "test/loss"];
/// `Status.STATUS_SUCCESS` and `Status.STATUS_FAILURE`.
const SUCCESS: i32 = 1;
const FAILURE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(int32, tag = "1")]
    version: i32,
    #[prost(oneof = "Data", tags = "2, 3, 4")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Data {
    #[prost(message, tag = "2")]
    Experiment(Experiment),
    #[prost(message, tag = "3")]
    Start(SessionStart),
    #[prost(message, tag = "4")]
    End(SessionEnd),
}

#[derive(Clone, PartialEq, Message)]
struct Experiment {
    #[prost(message, repeated, tag = "4")]
    fields: Vec<FieldInfo>,
    #[prost(message, repeated, tag = "5")]
    metrics: Vec<MetricInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldInfo {
    #[prost(string, tag = "1")]
    name: String,
    /// `DataType`: 1 text, 2 truth, 3 number.
    #[prost(int32, tag = "4")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct MetricInfo {
    #[prost(message, optional, tag = "1")]
    name: Option<MetricName>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricName {
    #[prost(string, tag = "2")]
    tag: String,
}

#[derive(Clone, PartialEq, Message)]
struct SessionStart {
    #[prost(map = "string, message", tag = "1")]
    fields: HashMap<String, FieldValue>,
    #[prost(double, tag = "5")]
    start_time: f64,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct FieldValue {
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Truth(bool),
}

#[derive(Clone, PartialEq, Message)]
struct SessionEnd {
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(double, tag = "2")]
    end_time: f64,
}

fn encoded(data: Data) -> Vec<u8> {
    let data = Some(data);
    PluginData { version: 0, data }.encode_to_vec()
}

/// The fields of a configuration, in TOML, by their full names.
fn fields(config: &str) -> Vec<(String, Kind)> {
    let Ok(table) = config.parse::<toml::Table>() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (section, values) in table {
        for (key, value) in values.as_table().into_iter().flatten() {
            let kind = match value {
                toml::Value::Integer(n) => Kind::Number(*n as f64),
                toml::Value::Float(x) => Kind::Number(*x),
                toml::Value::Boolean(truth) => Kind::Truth(*truth),
                toml::Value::String(text) => Kind::Text(text.clone()),
                other => Kind::Text(other.to_string()),
            };
            found.push((format!("{section}.{key}"), kind));
        }
    }
    found
}

/// What is compared: the fields of a configuration and the results.
pub(super) fn experiment(config: &str) -> Vec<u8> {
    let info = |(name, kind): (String, Kind)| FieldInfo {
        name,
        kind: match kind {
            Kind::Text(_) => 1,
            Kind::Truth(_) => 2,
            Kind::Number(_) => 3,
        },
    };
    let metric = |tag: &str| MetricInfo {
        name: Some(MetricName { tag: tag.to_owned() }),
    };
    encoded(Data::Experiment(Experiment {
        fields: fields(config).into_iter().map(info).collect(),
        metrics: RESULTS.map(metric).to_vec(),
    }))
}

/// A run begins, at so many seconds since 1970.
pub(super) fn start(config: &str, start_time: f64) -> Vec<u8> {
    let value = |(name, kind)| (name, FieldValue { kind: Some(kind) });
    encoded(Data::Start(SessionStart {
        fields: fields(config).into_iter().map(value).collect(),
        start_time,
    }))
}

/// A run is done.
pub(super) fn end(good: bool, end_time: f64) -> Vec<u8> {
    let status = if good { SUCCESS } else { FAILURE };
    encoded(Data::End(SessionEnd { status, end_time }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_kinds() {
        let config = "[train]\nlr = 0.001\nsteps = 50\nschedule = \"cosine\"\n[data]\nnongrammatical = false\ngap = { uniform = \
                      [0.1, 1.0] }\n";
        let data = PluginData::decode(&start(config, 5.0)[..]).unwrap();
        let Some(Data::Start(start)) = data.data else {
            panic!("{data:?}")
        };
        let kind = |name: &str| start.fields[name].kind.clone().unwrap();
        assert_eq!(kind("train.lr"), Kind::Number(0.001));
        assert_eq!(kind("train.steps"), Kind::Number(50.0));
        assert_eq!(kind("train.schedule"), Kind::Text("cosine".to_owned()));
        assert_eq!(kind("data.nongrammatical"), Kind::Truth(false));
        assert!(matches!(kind("data.gap"), Kind::Text(text) if text.contains("uniform")));
        let data = PluginData::decode(&experiment(config)[..]).unwrap();
        let Some(Data::Experiment(experiment)) = data.data else {
            panic!("{data:?}")
        };
        assert_eq!((experiment.fields.len(), experiment.metrics.len()), (5, 2));
    }
}
