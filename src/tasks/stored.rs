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
//! `grammar`. Test samples have the first test gap. Noise is not stored: it is a function of seed, split, idx, step and channel.

use super::DataSet;
use super::data::{DataSpec, Split};
use super::grammar::Grammar;
use super::sample::Sample;
use crate::error::UserError;
use crate::files;
use rayon::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The samples in the folder that an import makes.
pub const FILE: &str = "data.safetensors";
/// Their grammar there.
pub const GRAMMAR_FILE: &str = "grammar.json";
/// Most bytes of a header.
const MOST_OF_A_HEADER: u64 = 100 << 20;
/// What `format` says in the metadata.
const FORMAT: &str = "selectiv-data-1";
/// The one key of the metadata.
const KEY: &str = "selectiv";
/// The splits with their names in the file.
const SPLITS: [(Split, &str); 3] = [
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
}

/// The JSON behind the key.
#[derive(Serialize, Deserialize)]
struct Said {
    format: String,
    data: DataSpec,
    seed: u64,
    grammar: serde_json::Value,
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

impl DataSet {
    /// All samples as a file; with `dense` also the input rows of so many of each split.
    pub fn to_file(&self, dense: Option<usize>) -> Vec<u8> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let e = self.spec().length;
        for (split, name) in SPLITS {
            let n = self.count(split) as usize;
            let samples: Vec<Sample> = (0..n as u64)
                .into_par_iter()
                .map_init(
                    || self.scratch(),
                    |scratch, idx| {
                        let mut sample = Sample::default();
                        self.sample_into(split, idx, scratch, &mut sample);
                        sample
                    },
                )
                .collect();
            let mut put = |field: &str, dtype, shape: &[usize], bytes| {
                tensors.push((format!("{name}.{field}"), dtype, shape.to_vec(), bytes));
            };
            let all =
                |bytes: &dyn Fn(&Sample) -> Vec<u8>| samples.iter().flat_map(bytes).collect::<Vec<u8>>();
            let words = |values: &[u16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            put("states", Dtype::U16, &[n, e], all(&|s| words(&s.states)));
            put("symbols", Dtype::U8, &[n, e], all(&|s| s.symbols.clone()));
            let targets = |s: &Sample| s.targets.iter().flat_map(|v| v.to_le_bytes()).collect();
            put("targets", Dtype::U32, &[n, e], all(&targets));
            put("gaps", Dtype::U16, &[n, e], all(&|s| words(&s.gaps)));
            let windows = |s: &Sample| s.windows().flatten().flat_map(u32::to_le_bytes).collect();
            put("windows", Dtype::U32, &[n, e, 2], all(&windows));
            if self.spec().nongrammatical {
                let filled = all(&|s| s.gap_symbols.clone());
                put("gap_symbols", Dtype::U8, &[filled.len()], filled);
            }
            if let Some(limit) = dense.map(|limit| limit.min(n)).filter(|&limit| limit > 0) {
                let batch = self.batch(split, 0, limit);
                let rows = self.dense(&batch).iter().flat_map(|v| v.to_le_bytes()).collect();
                put(
                    "inputs",
                    Dtype::F32,
                    &[limit, batch.t, self.grammar().vocab()],
                    rows,
                );
            }
        }
        let spec = DataSpec {
            path: None,
            ..self.spec().clone()
        };
        let said = Said {
            format: FORMAT.to_owned(),
            data: spec,
            seed: self.seed(),
            grammar: self.grammar().to_json(e),
        };
        let said = serde_json::to_string(&said).expect("numbers and names have a JSON form");
        let metadata = HashMap::from([(KEY.to_owned(), said)]);
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            (name, view.expect("values have the size of their shape"))
        });
        safetensors::serialize(views, Some(metadata)).expect("names and shapes have a header")
    }
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

/// The samples of an import's folder, as many and at such test gaps as `spec` says.
///
/// # Errors
/// As [`read_header`] and [`Stored::read`].
pub fn open(folder: &Path, spec: DataSpec) -> Result<DataSet, UserError> {
    let path = folder.join(FILE);
    let bytes = files::read_large(&path, 2).map_err(|e| UserError::Folder {
        path: path.clone(),
        reason: format!("cannot read these samples: {e}"),
    })?;
    Stored::read(&bytes, &path.display().to_string())?.data_set(spec)
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
        let (_, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|e| malformed(format!("not a safetensors file, or one that was cut: {e}")))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let said = metadata.get(KEY);
        let said = said.ok_or_else(|| {
            malformed(format!(
                "no samples of this program: its metadata have no `{KEY}`"
            ))
        })?;
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
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| malformed(format!("not a safetensors file, or one that was cut: {e}")))?;
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

    /// The data set of these samples; `spec` may ask for fewer of them, and for other test gaps.
    ///
    /// # Errors
    /// [`UserError::Value`] if the grammar's strings do not end within the length.
    pub fn data_set(self, spec: DataSpec) -> Result<DataSet, UserError> {
        let grammar = Arc::new(Grammar::from_json(&self.header.grammar, "data.path")?);
        let seed = self.header.seed;
        Ok(DataSet::new(grammar, spec, seed)?.with_stored(self))
    }

    /// Writes a sample over another.
    pub(super) fn copy(&self, split: Split, idx: u64, sample: &mut Sample) {
        fn put<T: Copy>(to: &mut Vec<T>, from: &[T]) {
            to.clear();
            to.extend_from_slice(from);
        }
        let (rows, e) = (&self.splits[split as usize], self.header.spec.length);
        let range = idx as usize * e..(idx as usize + 1) * e;
        put(&mut sample.states, &rows.states[range.clone()]);
        put(&mut sample.symbols, &rows.symbols[range.clone()]);
        put(&mut sample.targets, &rows.targets[range.clone()]);
        put(&mut sample.gaps, &rows.gaps[range]);
        sample.gap_symbols.clear();
        if let [from, to] = rows
            .starts
            .get(idx as usize..idx as usize + 2)
            .unwrap_or_default()
        {
            sample
                .gap_symbols
                .extend_from_slice(&rows.gap_symbols[*from..*to]);
        }
    }
}

impl Rows {
    /// One split of a file, or what is wrong with it.
    fn read(
        file: &SafeTensors<'_>,
        split: &str,
        n: usize,
        spec: &DataSpec,
        grammar: &Grammar,
    ) -> Result<Self, String> {
        let e = spec.length;
        let bytes = |field: &str, dtype: Dtype, shape: Option<&[usize]>| -> Result<Vec<u8>, String> {
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
            Ok(view.data().to_vec())
        };
        let halves = |bytes: &[u8]| {
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| u16::from_le_bytes(*b))
                .collect()
        };
        let words = |bytes: &[u8]| {
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| u32::from_le_bytes(*b))
                .collect()
        };
        let mut rows = Self {
            states: halves(&bytes("states", Dtype::U16, Some(&[n, e]))?),
            symbols: bytes("symbols", Dtype::U8, Some(&[n, e]))?,
            targets: words(&bytes("targets", Dtype::U32, Some(&[n, e]))?),
            gaps: halves(&bytes("gaps", Dtype::U16, Some(&[n, e]))?),
            ..Self::default()
        };
        let classes = match spec.targets {
            super::Targets::Class => grammar.classes(),
            super::Targets::Next => grammar.vocab(),
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
        let windows: Vec<u32> = words(&bytes("windows", Dtype::U32, Some(&[n, e, 2]))?);
        for (sample, (gaps, windows)) in rows.gaps.chunks(e).zip(windows.chunks(2 * e)).enumerate() {
            let mut first = 0;
            for (gap, window) in gaps.iter().zip(windows.chunks(2)) {
                let steps = 1 + u32::from(*gap);
                if window != [first, steps] {
                    return Err(format!(
                        "{split}.windows of sample {sample} are not those of {split}.gaps"
                    ));
                }
                first += steps;
            }
        }
        if spec.nongrammatical {
            rows.gap_symbols = bytes("gap_symbols", Dtype::U8, None)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::data::tests::{grammar, spec};
    use crate::tasks::{Gap, Splits, Targets};

    fn sets() -> Vec<DataSet> {
        let plain = DataSpec {
            train: 20,
            validation: 3,
            test: 4,
            ..spec(Splits::Disjoint)
        };
        let specs = [
            plain.clone(),
            DataSpec {
                gap: Gap::Uniform([0.1, 1.0]),
                noise: 0.2,
                ..plain.clone()
            },
            DataSpec {
                nongrammatical: true,
                gap_prob: 0.3,
                ..plain.clone()
            },
            DataSpec {
                targets: Targets::Next,
                splits: Splits::Reference,
                noise: 0.1,
                ..plain
            },
        ];
        specs
            .into_iter()
            .map(|spec| DataSet::new(grammar(), spec, 5).unwrap())
            .collect()
    }

    #[test]
    fn a_file_gives_the_same_batches() {
        for data in sets() {
            let file = data.to_file(Some(2));
            let stored = Stored::read(&file, "f").unwrap();
            assert_eq!((stored.header().seed, &stored.header().spec), (5, data.spec()));
            let again = stored.data_set(data.spec().clone()).unwrap();
            for (split, count) in [(Split::Train, 20), (Split::Validation, 3), (Split::Test, 4)] {
                let (ours, theirs) = (data.batch(split, 0, count), again.batch(split, 0, count));
                assert_eq!(ours, theirs);
                assert_eq!(data.dense(&ours), again.dense(&theirs));
            }
            let longer =
                [&data, &again].map(|data| data.with_test_gap(Gap::Fixed(5)).batch(Split::Test, 0, 4));
            assert_eq!(longer[0], longer[1]);
            assert_eq!(again.to_file(Some(2)), file);
        }
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_refused() {
        let data = &sets()[2];
        let file = data.to_file(None);
        for len in [0, 7, 100, file.len() / 2, file.len() - 1] {
            let error = Stored::read(&file[..len], "f").unwrap_err();
            assert!(matches!(error, UserError::Malformed { .. }), "{len}: {error}");
        }
        let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        for at in [header, header + 40, file.len() - 3] {
            let mut changed = file.clone();
            changed[at] = 250;
            if let Ok(stored) = Stored::read(&changed, "f") {
                // Not everything that is written over is out of range.
                assert_ne!(stored, Stored::read(&file, "f").unwrap());
            }
        }
        let error = Stored::read(b"not a file of tensors", "f")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("f: not a safetensors file"), "{error}");
    }
}
