//! Data sets out to a file and back; `stored` says what is in it.

use super::data::DataSet;
use super::grammar::Grammar;
use super::sample::Sample;
use super::spec::{DataSpec, Split};
use super::stored::{CHECKSUM, FILE, FORMAT, KEY, SPLITS, Said, Stored, checksum};
use crate::error::UserError;
use crate::files;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Samples that a thread makes at a time.
const AT_A_TIME: usize = 256;

/// The samples of a split as little endian bytes.
struct Columns {
    states: Vec<u8>,
    symbols: Vec<u8>,
    targets: Vec<u8>,
    gaps: Vec<u8>,
    windows: Vec<u8>,
    gap_symbols: Vec<u8>,
}

fn put_le<const N: usize>(to: &mut [u8], values: impl Iterator<Item = [u8; N]>) {
    for (to, value) in to.as_chunks_mut().0.iter_mut().zip(values) {
        *to = value;
    }
}

impl DataSet {
    /// Writes all samples as a file; with `dense` also the input rows of so many of each split. `hear` is told how many samples
    /// are made, from several threads. Returns the bytes of the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_file(
        &self,
        dense: Option<usize>,
        hear: &(dyn Fn(u64) + Sync),
        out: &mut dyn Write,
    ) -> io::Result<u64> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        let e = self.spec().length;
        for (split, name) in SPLITS {
            let n = self.count(split) as usize;
            let columns = self.columns(split, hear);
            let mut put = |field: &str, dtype, shape: &[usize], bytes| {
                tensors.push((format!("{name}.{field}"), dtype, shape.to_vec(), bytes));
            };
            put("states", Dtype::U16, &[n, e], columns.states);
            put("symbols", Dtype::U8, &[n, e], columns.symbols);
            put("targets", Dtype::U32, &[n, e], columns.targets);
            put("gaps", Dtype::U16, &[n, e], columns.gaps);
            put("windows", Dtype::U32, &[n, e, 2], columns.windows);
            if self.spec().nongrammatical {
                let filled = columns.gap_symbols;
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
        // Every tensor is aligned to its type where the wide ones come first.
        tensors.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let checksum = checksum(&said, tensors.iter().map(|(.., bytes)| &bytes[..]));
        let mut end = 0;
        let mut infos = Vec::new();
        for (name, dtype, shape, bytes) in &tensors {
            let data_offsets = (end, end + bytes.len());
            end = data_offsets.1;
            let (dtype, shape) = (*dtype, shape.clone());
            infos.push((
                name.clone(),
                TensorInfo {
                    dtype,
                    shape,
                    data_offsets,
                },
            ));
        }
        let tensors_of_header = Metadata::new(None, infos).expect("values have the size of their shape");
        // In a fixed order: the same samples are the same file.
        let mut header = serde_json::Map::new();
        header.insert(
            "__metadata__".to_owned(),
            json!({ KEY: said, CHECKSUM: checksum }),
        );
        if let Value::Object(infos) = serde_json::to_value(&tensors_of_header)? {
            header.extend(infos);
        }
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (.., bytes) in &tensors {
            out.write_all(bytes)?;
        }
        Ok((8 + header.len() + end) as u64)
    }

    /// All samples of a split, each field in one piece.
    fn columns(&self, split: Split, hear: &(dyn Fn(u64) + Sync)) -> Columns {
        let (n, e) = (self.count(split) as usize, self.spec().length);
        let mut all = Columns {
            states: vec![0; 2 * n * e],
            symbols: vec![0; n * e],
            targets: vec![0; 4 * n * e],
            gaps: vec![0; 2 * n * e],
            windows: vec![0; 8 * n * e],
            gap_symbols: Vec::new(),
        };
        let each = AT_A_TIME * e;
        let pieces = (
            all.states.par_chunks_mut(2 * each),
            all.symbols.par_chunks_mut(each),
            all.targets.par_chunks_mut(4 * each),
            all.gaps.par_chunks_mut(2 * each),
            all.windows.par_chunks_mut(8 * each),
        );
        let filled: Vec<Vec<u8>> = pieces
            .into_par_iter()
            .enumerate()
            .map(|(i, (states, symbols, targets, gaps, windows))| {
                let (mut scratch, mut sample) = (self.scratch(), Sample::default());
                let mut filled = Vec::new();
                let rows = symbols.chunks_mut(e).zip(states.chunks_mut(2 * e));
                let rows = rows.zip(targets.chunks_mut(4 * e)).zip(gaps.chunks_mut(2 * e));
                for (row, ((((symbols, states), targets), gaps), windows)) in
                    rows.zip(windows.chunks_mut(8 * e)).enumerate()
                {
                    let idx = (i * AT_A_TIME + row) as u64;
                    self.sample_into(split, idx, &mut scratch, &mut sample);
                    symbols.copy_from_slice(&sample.symbols);
                    put_le(states, sample.states.iter().map(|v| v.to_le_bytes()));
                    put_le(targets, sample.targets.iter().map(|v| v.to_le_bytes()));
                    put_le(gaps, sample.gaps.iter().map(|v| v.to_le_bytes()));
                    put_le(windows, sample.windows().flatten().map(u32::to_le_bytes));
                    filled.extend_from_slice(&sample.gap_symbols);
                }
                hear((symbols.len() / e) as u64);
                filled
            })
            .collect();
        all.gap_symbols = filled.concat();
        all
    }

    /// [`DataSet::write_file`] into memory.
    #[cfg(test)]
    pub(crate) fn to_file(&self, dense: Option<usize>) -> Vec<u8> {
        let mut file = Vec::new();
        let bytes = self
            .write_file(dense, &|_| {}, &mut file)
            .expect("memory takes all");
        assert_eq!(bytes, file.len() as u64);
        file
    }

    /// The data set of stored samples; `spec` may ask for fewer of them, and for other test gaps.
    ///
    /// # Errors
    /// [`UserError::Value`] if the grammar's strings do not end within the length.
    pub fn from_stored(stored: Stored, spec: DataSpec) -> Result<Self, UserError> {
        let grammar = Arc::new(Grammar::from_json(&stored.header().grammar, "data.path")?);
        let seed = stored.header().seed;
        Ok(Self::new(grammar, spec, seed)?.with_stored(stored))
    }
}

/// The samples of an import's folder, as many and at such test gaps as `spec` says.
///
/// # Errors
/// As [`stored::read_header`](super::stored::read_header) and [`Stored::read`].
pub fn open(folder: &Path, spec: DataSpec) -> Result<DataSet, UserError> {
    let path = folder.join(FILE);
    let bytes = files::read_large(&path, 2).map_err(|e| UserError::Folder {
        path: path.clone(),
        reason: format!("cannot read these samples: {e}"),
    })?;
    DataSet::from_stored(Stored::read(&bytes, &path.display().to_string())?, spec)
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
            let again = DataSet::from_stored(stored, data.spec().clone()).unwrap();
            for (split, count) in [(Split::Train, 20), (Split::Validation, 3), (Split::Test, 4)] {
                let (ours, theirs) = (data.batch(split, 0, count), again.batch(split, 0, count));
                assert_eq!(ours, theirs);
                assert_eq!(data.dense(&ours), again.dense(&theirs));
            }
            let longer =
                [&data, &again].map(|data| data.with_test_gap(Gap::Fixed(5)).batch(Split::Test, 0, 4));
            assert_eq!(longer[0], longer[1]);
            // A grammar that was read does not say how it was made; all else stays as it is.
            let (file, stored) = (again.to_file(Some(2)), Stored::read(&again.to_file(None), "f"));
            let third = DataSet::from_stored(stored.unwrap(), data.spec().clone()).unwrap();
            assert_eq!(third.to_file(Some(2)), file);
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
            changed[at] ^= 1;
            let error = Stored::read(&changed, "f").unwrap_err().to_string();
            assert!(error.contains("was damaged or altered"), "{error}");
        }
        let error = Stored::read(b"not a file of tensors", "f")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("f: not a safetensors file"), "{error}");
    }
}
