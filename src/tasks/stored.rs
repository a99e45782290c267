//! Samples in a file: safetensors, which many programs read.
//!
//! Of each split (`train`, `validation`, `test`) with N samples of E elements:
//!
//! | tensor | type and shape | what it is |
//! | --- | --- | --- |
//! | `SPLIT.states` | U16 \[N, E\] | position of each element's state in the grammar |
//! | `SPLIT.symbols` | U8 \[N, E\] | symbol id of each element |
//! | `SPLIT.targets` | U32 \[N, E\] | class id, or next symbol, that is asked for in each element's window |
//! | `SPLIT.gaps` | U16 \[N, E\] | time steps after each symbol |
//! | `SPLIT.windows` | U32 \[N, E, 2\] | first time step and number of steps of each element, its gap included |
//! | `SPLIT.gap_symbols` | U8 \[all gap steps\] | symbols of the gap steps in order, where gaps are filled |
//! | `SPLIT.inputs` | F32 \[n, T, V\] | input rows of the first n samples, if asked for; zero after a sample's end |
//!
//! The metadata have the key `selectiv`, a JSON object of `format` = `selectiv-data-1`, `data` (`[data]`), `seed` and
//! `grammar`; and `checksum`: blake3, in hex, of that text and of all bytes behind the header. Test samples have the first test gap. Noise is not stored: it is a function of seed, split, idx, step and channel.

use super::grammar::Grammar;
use super::spec::{DataSpec, Split, Targets};
use crate::error::UserError;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The samples in the folder that an import makes.
pub const FILE: &str = "data.safetensors";
/// Their grammar there.
pub const GRAMMAR_FILE: &str = "grammar.json";
/// Most bytes of a header.
const MOST_OF_A_HEADER: u64 = 100 << 20;
/// State, symbol, target, gap and window.
const BYTES_OF_AN_ELEMENT: u64 = 2 + 1 + 4 + 2 + 8;
/// What `format` says in the metadata.
pub(super) const FORMAT: &str = "selectiv-data-1";
/// The key of the metadata under which this program says what the samples are.
pub(super) const KEY: &str = "selectiv";
/// The key of the fingerprint of all that is in the file.
pub(super) const CHECKSUM: &str = "checksum";
/// The splits with their names in the file.
pub(super) const SPLITS: [(Split, &str); 3] = [
    (Split::Train, "train"),
    (Split::Validation, "validation"),
    (Split::Test, "test"),
];

/// What a file's metadata say of its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Sizes and form.
    pub spec: DataSpec,
    /// Seed of the samples.
    pub seed: u64,
    /// The grammar as JSON.
    pub grammar: String,
    /// The fingerprint of all that is in the file, in hex.
    pub checksum: String,
}

/// The fingerprint of a file: of what its metadata say and of the bytes of its tensors in their order.
pub(super) fn checksum<'a>(said: &str, tensors: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(said.as_bytes());
    for bytes in tensors {
        hasher.update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// Bytes of the tensors of so many samples of a length, but for the symbols in gaps.
pub fn bytes(samples: u64, length: usize) -> u64 {
    samples.saturating_mul(BYTES_OF_AN_ELEMENT * length as u64)
}

/// Where the tensors of a file begin.
fn header_end(bytes: &[u8]) -> usize {
    let length = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
    usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8)
}

/// The JSON behind the key.
#[derive(Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) format: String,
    pub(super) data: DataSpec,
    pub(super) seed: u64,
    pub(super) grammar: serde_json::Value,
}

/// Samples from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    header: Header,
    splits: [Rows; 3],
}

/// Samples of one split.
#[derive(Debug, Clone, PartialEq, Default)]
struct Rows {
    states: Vec<u16>,
    symbols: Vec<u8>,
    targets: Vec<u32>,
    gaps: Vec<u16>,
    gap_symbols: Vec<u8>,
    /// Where each sample's gap symbols begin; empty where gaps are empty.
    starts: Vec<usize>,
}

/// What the file of an import's folder says of its samples.
///
/// # Errors
/// [`UserError::Folder`] if there is none, [`UserError::Malformed`] if it is another file.
pub fn read_header(folder: &Path) -> Result<Header, UserError> {
    let path = folder.join(FILE);
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&path)?;
        let mut bytes = vec![0; 8];
        file.read_exact(&mut bytes)?;
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
        file.take(length.min(MOST_OF_A_HEADER)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| UserError::Folder {
        path: path.clone(),
        reason: format!("cannot read these samples: {e}; `selectiv data import` makes such a folder"),
    })?;
    Header::read(&bytes, &path.display().to_string())
}

impl Header {
    /// Reads the metadata of a file, of which the beginning is enough.
    ///
    /// # Errors
    /// [`UserError::Malformed`] with `place` if it is no such file.
    pub fn read(bytes: &[u8], place: &str) -> Result<Self, UserError> {
        let malformed = |message: String| UserError::Malformed {
            place: place.to_owned(),
            message,
        };
        let header: serde_json::Value =
            serde_json::from_slice(bytes.get(8..header_end(bytes)).unwrap_or_default())
                .map_err(|e| malformed(format!("not a safetensors file, or one that was cut: {e}")))?;
        let text = |key: &str| {
            header["__metadata__"][key].as_str().ok_or_else(|| {
                malformed(format!(
                    "no samples of this program: its metadata have no `{key}`"
                ))
            })
        };
        let (said, checksum) = (text(KEY)?, text(CHECKSUM)?.to_owned());
        let said: Said = serde_json::from_str(said).map_err(|e| malformed(format!("its `{KEY}`: {e}")))?;
        if said.format != FORMAT {
            return Err(malformed(format!(
                "`format` is {:?}: allowed: {FORMAT}",
                said.format
            )));
        }
        Ok(Self {
            spec: said.data,
            seed: said.seed,
            grammar: said.grammar.to_string(),
            checksum,
        })
    }
}

impl Stored {
    /// Reads a file and checks all that it holds.
    ///
    /// # Errors
    /// [`UserError::Malformed`] with `place` if it is no such file, was cut, or contradicts itself.
    pub fn read(bytes: &[u8], place: &str) -> Result<Self, UserError> {
        let header = Header::read(bytes, place)?;
        let malformed = |message: String| UserError::Malformed {
            place: place.to_owned(),
            message,
        };
        let grammar = Grammar::from_json(&header.grammar, place)?;
        header.spec.validate()?;
        let not_whole = |e| malformed(format!("not a safetensors file, or one that was cut: {e}"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_whole)?;
        let file = SafeTensors::deserialize(bytes).map_err(not_whole)?;
        let said = metadata.metadata().as_ref().and_then(|texts| texts.get(KEY));
        let tensors = bytes.get(header_end(bytes)..).unwrap_or_default();
        if checksum(said.map_or("", String::as_str), [tensors]) != header.checksum {
            return Err(malformed(
                "was damaged or altered: the checksum does not match".to_owned(),
            ));
        }
        let spec = &header.spec;
        let rows = |split: usize, count: u64| {
            Rows::read(&file, SPLITS[split].1, count as usize, spec, &grammar).map_err(malformed)
        };
        let splits = [
            rows(0, spec.train)?,
            rows(1, spec.validation)?,
            rows(2, spec.test)?,
        ];
        Ok(Self { header, splits })
    }

    /// What it says of its samples.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// One sample.
    pub(super) fn row(&self, split: Split, idx: u64) -> Row<'_> {
        let (rows, e) = (&self.splits[split as usize], self.header.spec.length);
        let range = idx as usize * e..(idx as usize + 1) * e;
        let filled = match rows.starts.get(idx as usize..idx as usize + 2) {
            Some([from, to]) => &rows.gap_symbols[*from..*to],
            _ => &[],
        };
        Row {
            states: &rows.states[range.clone()],
            symbols: &rows.symbols[range.clone()],
            targets: &rows.targets[range.clone()],
            gaps: &rows.gaps[range],
            gap_symbols: filled,
        }
    }
}

/// A sample in a file, with the fields of [`Sample`](super::Sample).
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) states: &'a [u16],
    pub(super) symbols: &'a [u8],
    pub(super) targets: &'a [u32],
    pub(super) gaps: &'a [u16],
    pub(super) gap_symbols: &'a [u8],
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b))
}

impl Rows {
    /// One split of a file, or what is wrong with it.
    fn read<'f>(
        file: &SafeTensors<'f>,
        split: &str,
        n: usize,
        spec: &DataSpec,
        grammar: &Grammar,
    ) -> Result<Self, String> {
        let e = spec.length;
        let bytes = |field: &str, dtype: Dtype, shape: Option<&[usize]>| -> Result<&'f [u8], String> {
            let name = format!("{split}.{field}");
            let view = file.tensor(&name).map_err(|_| format!("{name} is missing"))?;
            if view.dtype() != dtype || shape.is_some_and(|shape| shape != view.shape()) {
                let wanted = shape.map_or_else(String::new, |shape| format!(" {shape:?}"));
                return Err(format!(
                    "{name} is {:?} {:?}: allowed: {dtype:?}{wanted}",
                    view.dtype(),
                    view.shape()
                ));
            }
            Ok(view.data())
        };
        let mut rows = Self {
            states: halves(bytes("states", Dtype::U16, Some(&[n, e]))?).collect(),
            symbols: bytes("symbols", Dtype::U8, Some(&[n, e]))?.to_vec(),
            targets: words(bytes("targets", Dtype::U32, Some(&[n, e]))?).collect(),
            gaps: halves(bytes("gaps", Dtype::U16, Some(&[n, e]))?).collect(),
            ..Self::default()
        };
        let classes = match spec.targets {
            Targets::Class => grammar.classes(),
            Targets::Next => grammar.vocab(),
        };
        let below = |field: &str, values: &mut dyn Iterator<Item = usize>, limit: usize| {
            let found = values.enumerate().find(|&(_, value)| value >= limit);
            found.map_or(Ok(()), |(at, value)| {
                Err(format!(
                    "{split}.{field} is {value} at element {at}: allowed: 0 to {}",
                    limit - 1
                ))
            })
        };
        below(
            "states",
            &mut rows.states.iter().map(|&v| usize::from(v)),
            grammar.classes(),
        )?;
        below(
            "symbols",
            &mut rows.symbols.iter().map(|&v| usize::from(v)),
            grammar.vocab(),
        )?;
        below("targets", &mut rows.targets.iter().map(|&v| v as usize), classes)?;
        let most = super::gap::MAX_STEPS as usize + 1;
        below("gaps", &mut rows.gaps.iter().map(|&v| usize::from(v)), most)?;
        let mut windows = words(bytes("windows", Dtype::U32, Some(&[n, e, 2]))?);
        for (sample, gaps) in rows.gaps.chunks(e).enumerate() {
            let mut first = 0;
            for gap in gaps {
                let steps = 1 + u32::from(*gap);
                if [windows.next(), windows.next()] != [Some(first), Some(steps)] {
                    return Err(format!(
                        "{split}.windows of sample {sample} are not those of {split}.gaps"
                    ));
                }
                first += steps;
            }
        }
        if spec.nongrammatical {
            rows.gap_symbols = bytes("gap_symbols", Dtype::U8, None)?.to_vec();
            below(
                "gap_symbols",
                &mut rows.gap_symbols.iter().map(|&v| usize::from(v)),
                grammar.vocab(),
            )?;
            let steps = |gaps: &[u16]| gaps.iter().map(|&gap| usize::from(gap)).sum::<usize>();
            rows.starts.push(0);
            for gaps in rows.gaps.chunks(e) {
                let start = rows.starts.last().copied().unwrap_or(0);
                rows.starts.push(start + steps(gaps));
            }
            let (found, wanted) = (rows.gap_symbols.len(), rows.starts.last().copied().unwrap_or(0));
            if found != wanted {
                return Err(format!(
                    "{split}.gap_symbols has {found} elements, {split}.gaps ask for {wanted}"
                ));
            }
        }
        Ok(rows)
    }
}
