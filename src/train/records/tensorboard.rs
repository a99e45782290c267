//! `TensorBoard` event files: protobuf messages in records with masked CRC-32C checksums.
//!
//! A record is the payload's length (u64), its masked checksum (u32), the payload and its masked checksum, little
//! endian; the first payload of a file names the version. The messages are the part of TensorFlow's `event.proto`,
//! `summary.proto` and `tensor.proto` that scalars, texts and the HPARAMS page need.

use super::hparams;
use super::{Metrics, RunResult};
use crate::error::{Error, Result};
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `SessionLog.SessionStatus.START`: points from this step on, of earlier files, are void.
const SESSION_START: i32 = 1;
/// `DataType.DT_STRING`.
const STRING: i32 = 7;
/// What `TensorBoard` knows an event file by.
const PREFIX: &str = "events.out.tfevents.";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// Part of a oneof in the original: a zero is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

impl Value {
    fn scalar(tag: &str, value: f64) -> Self {
        Self {
            tag: tag.to_owned(),
            simple_value: Some(value as f32),
            ..Self::default()
        }
    }

    fn text(tag: &str, text: &str) -> Self {
        let tensor = Tensor {
            kind: STRING,
            shape: Some(Shape {
                extents: vec![Extent { size: 1 }],
            }),
            strings: vec![text.as_bytes().to_vec()],
        };
        Self {
            tag: tag.to_owned(),
            tensor: Some(tensor),
            metadata: Some(Metadata::of("text", Vec::new())),
            ..Self::default()
        }
    }

    fn hparams(tag: &str, content: Vec<u8>) -> Self {
        Self {
            tag: tag.to_owned(),
            metadata: Some(Metadata::of(hparams::PLUGIN, content)),
            ..Self::default()
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    strings: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    extents: Vec<Extent>,
}

#[derive(Clone, PartialEq, Message)]
struct Extent {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

impl Metadata {
    fn of(name: &str, content: Vec<u8>) -> Self {
        let name = name.to_owned();
        Self {
            plugin: Some(Plugin { name, content }),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An open event file. A run that is resumed begins another one in the same folder; `TensorBoard` joins them.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    /// Whether it is the run's first one.
    first: bool,
}

impl EventWriter {
    /// Begins a file in a run's folder. `step` is that of the last line that stays when a run goes on, 0 when it begins:
    /// what earlier files say of later steps is void.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(dir: &Path, step: u64) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let newest = newest(dir);
        let path = dir.join(later_name(now, newest.as_deref()));
        let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(source) => {
                return Err(Error::Io {
                    action: "create",
                    path,
                    source,
                });
            }
        };
        let first = newest.is_none();
        let mut writer = Self { path, file, first };
        writer.write(0, What::FileVersion("brain.Event:2".to_owned()))?;
        // TensorBoard takes the first of a run for its beginning, and only later ones for restarts: every file has one.
        let status = SESSION_START;
        writer.write(step + 1, What::SessionLog(SessionLog { status }))?;
        Ok(writer)
    }

    /// Appends the finite numbers of a line of metrics under `loss/train`, `loss/validation`, `accuracy/train`,
    /// `accuracy/validation`, `optimiser/lr`, `optimiser/grad_norm` and `speed/tokens_per_s`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, metrics: &Metrics) -> Result<()> {
        let scalars = [
            ("loss/train", Some(metrics.loss)),
            ("loss/validation", metrics.validation_loss),
            ("accuracy/train", metrics.train_accuracy),
            ("accuracy/validation", metrics.accuracy),
            ("optimiser/lr", Some(metrics.lr)),
            ("optimiser/grad_norm", Some(metrics.grad_norm)),
            ("speed/tokens_per_s", Some(metrics.tokens_per_s)),
        ];
        let value = scalars
            .into_iter()
            .filter_map(|(tag, value)| Some((tag, value.filter(|v| v.is_finite())?)))
            .map(|(tag, value)| Value::scalar(tag, value))
            .collect();
        self.write(metrics.step, What::Summary(Summary { value }))
    }

    /// Tells the configuration, in TOML: as text, and its fields for the HPARAMS page. A run says it once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(&mut self, config: &str) -> Result<()> {
        if !self.first {
            return Ok(());
        }
        // Indented by four, Markdown shows it as it is.
        let text: String = config.lines().map(|line| format!("    {line}\n")).collect();
        let value = vec![
            Value::text("config", &text),
            Value::hparams(hparams::EXPERIMENT, hparams::experiment(config)),
            Value::hparams(hparams::START, hparams::start(config, now_s())),
        ];
        self.write(0, What::Summary(Summary { value }))
    }

    /// Tells the result: `test/accuracy`, `test/loss`, and that the run is over.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self, result: &RunResult) -> Result<()> {
        let results = hparams::RESULTS.into_iter().zip([result.accuracy, result.loss]);
        let mut value: Vec<Value> = results
            .filter(|(_, value)| value.is_finite())
            .map(|(tag, value)| Value::scalar(tag, value))
            .collect();
        let good = result.diverged().is_none();
        value.push(Value::hparams(hparams::END, hparams::end(good, now_s())));
        self.write(result.steps, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let wall_time = now_s();
        let step = i64::try_from(step).expect("a run has fewer than 2^63 updates");
        let event = Event {
            wall_time,
            step,
            what: Some(what),
        };
        let written = write_record(&mut self.file, &event.encode_to_vec());
        written.map_err(|source| Error::Io {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Seconds since 1970.
fn now_s() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// The name of the newest event file of a folder.
fn newest(dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(PREFIX)).max()
}

/// A name after the newest one: `TensorBoard` reads a run's files in the order of their names and never goes back, so
/// that a clock that was put back must not show in them.
fn later_name(now: Duration, newest: Option<&str>) -> String {
    let name = |seconds: u64, nanos: u32| format!("{PREFIX}{seconds:010}.{nanos:09}");
    let ours = name(now.as_secs(), now.subsec_nanos());
    match newest {
        Some(newest) if *newest >= *ours => {
            let seconds = newest[PREFIX.len()..]
                .split('.')
                .next()
                .and_then(|text| text.parse::<u64>().ok());
            match seconds {
                Some(seconds) if seconds < 9_999_999_999 => name(seconds + 1, 0),
                // A name of another program: anything that is longer comes after it.
                _ => format!("{newest}.1"),
            }
        }
        _ => ours,
    }
}

/// One record in one write, so that a kill leaves whole records.
fn write_record(out: &mut impl io::Write, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(payload.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(payload);
    record.extend(masked_crc(payload).to_le_bytes());
    out.write_all(&record)
}

/// CRC-32C, rotated and shifted so that a checksum over data with checksums in it stays a good one.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Metrics {
        Metrics {
            step,
            tokens: None,
            loss: 1.5,
            accuracy: Some(0.0),
            validation_loss: None,
            train_accuracy: None,
            lr: 1e-3,
            grad_norm: f64::NAN,
            tokens_per_s: 1e5,
        }
    }

    /// Reads the records back with checks of our own.
    fn events(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at_checked(n)?;
            rest = tail;
            Some(head)
        };
        let word = |b: &[u8]| u32::from_le_bytes(b.try_into().unwrap());
        let mut events = Vec::new();
        while let Some(length) = take(8) {
            assert_eq!(word(take(4).unwrap()), masked_crc(length));
            let payload = take(u64::from_le_bytes(length.try_into().unwrap()) as usize).unwrap();
            assert_eq!(word(take(4).unwrap()), masked_crc(payload));
            events.push(Event::decode(payload).unwrap());
        }
        events
    }

    #[test]
    fn crc_is_castagnolis_and_masked() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    #[test]
    fn the_bytes_of_an_event_are_those_of_the_format() {
        let event = Event {
            wall_time: 1.0,
            step: 300,
            what: Some(What::Summary(Summary {
                value: vec![Value::scalar("a", 0.0)],
            })),
        };
        let expected = [
            &[0x09][..],
            &1.0_f64.to_le_bytes(),                // field 1, fixed64
            &[0x10, 0xac, 0x02],                   // field 2, varint 300
            &[0x2a, 0x0a],                         // field 5, 10 bytes
            &[0x0a, 0x08],                         // field 1 (a value), 8 bytes
            &[0x0a, 0x01, b'a', 0x15, 0, 0, 0, 0], // tag, then field 2, fixed32, a zero that is written
        ];
        assert_eq!(event.encode_to_vec(), expected.concat());
    }

    #[test]
    fn events_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path(), 0).unwrap();
        writer.append(&line(10)).unwrap();
        writer.append(&line(20)).unwrap();
        let events = events(&writer.path);
        assert_eq!(
            events[0].what,
            Some(What::FileVersion("brain.Event:2".to_owned()))
        );
        assert_eq!(events.iter().map(|e| e.step).collect::<Vec<_>>(), [0, 1, 10, 20]);
        assert!(events.iter().all(|e| e.wall_time > 1.6e9));
        let Some(What::Summary(summary)) = &events[3].what else {
            panic!("{events:?}")
        };
        let scalars: Vec<_> = summary
            .value
            .iter()
            .map(|v| (v.tag.as_str(), v.simple_value))
            .collect();
        let expected = [
            ("loss/train", 1.5),
            ("accuracy/validation", 0.0),
            ("optimiser/lr", 1e-3),
            ("speed/tokens_per_s", 1e5),
        ];
        assert_eq!(scalars, expected.map(|(tag, value)| (tag, Some(value))));
    }

    #[test]
    fn a_configuration_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = EventWriter::create(dir.path(), 0).unwrap();
        first.begin("[train]\nlr = 0.001\n").unwrap();
        let Some(What::Summary(summary)) = &events(&first.path)[2].what else {
            panic!("no summary")
        };
        let tags: Vec<&str> = summary.value.iter().map(|value| value.tag.as_str()).collect();
        assert_eq!(tags, ["config", hparams::EXPERIMENT, hparams::START]);
        let text = &summary.value[0].tensor.as_ref().unwrap().strings[0];
        assert_eq!(text, b"    [train]\n    lr = 0.001\n");
        let mut second = EventWriter::create(dir.path(), 10).unwrap();
        second.begin("[train]\nlr = 0.001\n").unwrap();
        assert_eq!(events(&second.path).len(), 2);
    }

    #[test]
    fn names_rise_though_the_clock_was_put_back() {
        let at = |seconds: u64| Duration::new(seconds, 5);
        let first = later_name(at(1_700_000_000), None);
        for now in [at(1_700_000_000), at(1_600_000_000), at(0), at(1_700_000_001)] {
            let second = later_name(now, Some(&first));
            assert!(second > first, "{second} after {first}");
            assert!(later_name(now, Some(&second)) > second);
        }
        for foreign in ["events.out.tfevents.9999999999.host", "events.out.tfevents.x"] {
            assert!(later_name(at(1_700_000_000), Some(foreign)).as_str() > foreign);
        }
    }

    #[test]
    fn a_run_that_began_again_voids_all_that_went_before() {
        let dir = tempfile::tempdir().unwrap();
        EventWriter::create(dir.path(), 0)
            .unwrap()
            .append(&line(1))
            .unwrap();
        let second = EventWriter::create(dir.path(), 0).unwrap();
        assert_eq!(events(&second.path)[1].step, 1);
    }

    #[test]
    fn a_resumed_run_voids_the_steps_after_its_checkpoint_in_a_later_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = EventWriter::create(dir.path(), 0).unwrap();
        let second = EventWriter::create(dir.path(), 20).unwrap();
        assert!(first.path < second.path);
        // A viewer takes the first start of a run for its beginning, which voids nothing.
        for (writer, step) in [(first, 1), (second, 21)] {
            let start = &events(&writer.path)[1];
            assert_eq!(start.step, step);
            assert_eq!(
                start.what,
                Some(What::SessionLog(SessionLog {
                    status: SESSION_START
                }))
            );
        }
        assert_eq!(
            EventWriter::create(&dir.path().join("missing"), 0)
                .unwrap_err()
                .exit_code(),
            3
        );
    }
}
