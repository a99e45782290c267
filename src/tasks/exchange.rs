//! Data sets out to a file and back; `stored` says what is in it.

use super::data::DataSet;
use super::grammar::Grammar;
use super::sample::Sample;
use super::spec::DataSpec;
use super::stored::{FILE, FORMAT, KEY, SPLITS, Said, Stored};
use crate::error::UserError;
use crate::files;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

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
    use crate::tasks::Split;
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
