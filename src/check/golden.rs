//! Golden files: ops and models against numbers that were computed elsewhere, in f64.

use super::compared::{Compared, malformed, same_length};
use super::composite::composite;
use super::index::{Index, ModelEntry, OpEntry, WithTensors};
use super::source::{Source, Tensors};
use super::{Hear, Outcome};
use crate::cases::{Deviation, FLOOR, Golden};
use crate::error::{Error, Result, UserError};
use crate::graph::Graph;
use crate::models::{self, BlockRef, ModelConfig, Sizes, head_count, linear};
use crate::ops::cross_entropy::{CrossEntropy, IGNORE};
use crate::runtime::{Data, Runtime};
use crate::step::StepParams;
use crate::tensor::{Dtype, TensorId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is checked: the f64 twin, or a device in one of its precisions. Each has its tolerances in an index.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The f64 twin.
    F64,
    /// f32 on any device.
    F32,
    /// Mixed precision.
    Mixed,
}

impl Precision {
    fn key(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::Mixed => "mixed",
        }
    }

    /// How activations are stored.
    fn storage(self) -> crate::tensor::Precision {
        match self {
            Self::F64 | Self::F32 => crate::tensor::Precision::F32,
            Self::Mixed => crate::tensor::Precision::Mixed,
        }
    }

    /// What the loss of a model is times of before its gradients are taken: those of f16 would vanish.
    fn loss_scale(self) -> f32 {
        match self {
            Self::F64 | Self::F32 => 1.0,
            Self::Mixed => 1024.0,
        }
    }
}

impl From<crate::tensor::Precision> for Precision {
    fn from(precision: crate::tensor::Precision) -> Self {
        match precision {
            crate::tensor::Precision::F32 => Self::F32,
            crate::tensor::Precision::Mixed => Self::Mixed,
        }
    }
}

/// Labels with the mask written in, and windows in place of a gap mask. Negative labels are masked too.
fn prepare(tensors: &mut Tensors) -> Result<StepParams> {
    let mask = tensors.remove("input/mask");
    if let Some(labels) = tensors.get_mut("input/labels") {
        if let Some(mask) = mask {
            if mask.values.len() != labels.values.len() || mask.values.iter().any(|m| ![0.0, 1.0].contains(m))
            {
                return Err(malformed("mask", "is not a 0 or 1 for each label"));
            }
            for (label, mask) in labels.values.iter_mut().zip(mask.values) {
                if mask == 0.0 {
                    *label = f64::from(IGNORE);
                }
            }
        }
        for label in labels.values.iter_mut().filter(|label| **label < 0.0) {
            *label = f64::from(IGNORE);
        }
    }
    if let (Some(mask), Some(labels)) = (tensors.remove("input/gap_mask"), tensors.get("input/labels")) {
        let [b, e, t] = mask.shape[..] else {
            return Err(malformed("gap_mask", "is not [B,E,T]"));
        };
        if labels.values.len() != b * t {
            return Err(malformed("gap_mask", "is not [B,E,T] for labels [B,T]"));
        }
        let (mut windows, mut targets) = (Vec::new(), Vec::new());
        for (i, row) in mask.values.chunks(t).enumerate() {
            let steps: Vec<usize> = (0..t).filter(|s| row[*s] != 0.0).collect();
            if steps.windows(2).any(|w| w[1] != w[0] + 1) {
                return Err(malformed("gap_mask", "has a window with a hole"));
            }
            windows.extend([steps.first().copied().unwrap_or(0) as f64, steps.len() as f64]);
            let mut counts = BTreeMap::new();
            for s in steps {
                *counts.entry(labels.values[i / e * t + s] as u32).or_insert(0u32) += 1;
            }
            let most = counts.values().max().copied().unwrap_or(0);
            targets.push(
                counts
                    .iter()
                    .find(|(_, n)| **n == most)
                    .map_or(0.0, |(c, _)| f64::from(*c)),
            );
        }
        tensors.insert_index("input/windows", vec![b, e, 2], windows);
        tensors.insert_index("input/window_labels", vec![b, e], targets);
    }
    let tokens = tensors
        .get("input/labels")
        .map_or(1, |l| l.values.iter().filter(|v| **v < f64::from(IGNORE)).count());
    Ok(StepParams::eval(tokens))
}

/// Entries of `ops/index.json` and `models/index.json`, where they are there.
pub(super) fn listed(source: &Source) -> Result<usize> {
    let mut count = 0;
    if source.has("ops/index.json") {
        count += Index::<OpEntry>::read(source, "ops")?.entries.len();
    }
    if source.has("models/index.json") {
        count += Index::<ModelEntry>::read(source, "models")?.entries.len();
    }
    Ok(count)
}

/// Runs the entries of `ops/index.json`.
///
/// # Errors
/// [`UserError::Malformed`] for files that are missing or cannot be read; a failed check is no error.
pub fn ops(
    source: &Source,
    runtime: &mut dyn Runtime,
    precision: Precision,
    report: &mut Hear<'_>,
) -> Result<()> {
    let index = Index::<OpEntry>::read(source, "ops")?;
    for entry in &index.entries {
        let name = entry.name.as_str();
        let label = format!("{name} {}", entry.case);
        let device = runtime.device();
        let file = format!("ops/{}", entry.file());
        let tensors = source.tensors(&file)?;
        let result = match name {
            "adam_clip_schedule" => super::optimiser::run(tensors, &entry.attrs, runtime).map(Some),
            _ => op(name, &entry.attrs, tensors, precision, runtime),
        };
        runtime.reset();
        let result = result.map_err(|e| in_file(e, &source.place(&file)));
        let Some(result) = unless_refused(result, &label, &device, report)? else {
            continue;
        };
        let Some(compared) = result else {
            let reason = format!("no op is called {name}");
            report(Outcome::skipped(&label, &device, &reason))?;
            continue;
        };
        let deviations = compared.into_iter().map(|c| {
            let allowed = index.allowed(entry, &c.name, precision.key());
            let floor = FLOOR * (c.want.len() as f64).sqrt();
            Deviation::new(&c.name, &c.got, &c.want, floor, allowed)
        });
        report(Outcome::new(&label, &device, deviations.collect()))?;
    }
    Ok(())
}

/// Puts the file before what is wrong with its tensors.
fn in_file(error: Error, file: &str) -> Error {
    match error {
        Error::User(wrong @ (UserError::Malformed { .. } | UserError::Operands { .. })) => {
            malformed(file, &wrong.to_string())
        }
        other => other,
    }
}

/// A result, or `None` and a report of why there is none if the entry asks for sizes or options that are not there: the
/// other entries still run.
fn unless_refused<T>(
    result: Result<T>,
    label: &str,
    device: &str,
    report: &mut Hear<'_>,
) -> Result<Option<T>> {
    match result {
        Err(Error::User(refusal @ (UserError::Shape { .. } | UserError::Value { .. }))) => {
            report(Outcome::skipped(label, device, &refusal.to_string()))?;
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn op(
    name: &str,
    attrs: &Value,
    mut tensors: Tensors,
    precision: Precision,
    runtime: &mut dyn Runtime,
) -> Result<Option<Vec<Compared>>> {
    let mut graph = Graph::with_precision(precision.storage());
    let step = prepare(&mut tensors)?;
    let mut inputs = BTreeMap::new();
    for (full, t) in tensors.iter() {
        if let Some(short) = full.strip_prefix("input/") {
            let dtype = if t.integer { Dtype::U32 } else { Dtype::F32 };
            inputs.insert(
                short.to_owned(),
                (graph.input(short, &t.shape, dtype), t.shape.clone()),
            );
        }
    }
    let mut g = Golden {
        name,
        attrs,
        graph: &mut graph,
        inputs: &inputs,
    };
    let Some(outputs) = crate::ops::cases::golden(&mut g).or_else(|| composite(&mut g)) else {
        return Ok(None);
    };
    let outputs = outputs?;
    graph.narrow_inputs();
    let mut read: Vec<(String, TensorId)> = Vec::new();
    let mut seeds = Vec::new();
    for (output, id) in outputs {
        graph.keep(id);
        read.push((format!("output/{output}"), id));
        let name = format!("cot/{output}");
        if let Some(cot) = tensors.get(&name) {
            same_length(&name, cot.values.len(), graph.tensor(id).numel())?;
            let dtype = graph.tensor(id).dtype;
            let seed = graph.input(&name, &cot.shape, dtype);
            seeds.push((id, seed));
        }
    }
    let with_grad: Vec<(String, TensorId)> = inputs
        .iter()
        .map(|(name, (id, _))| (format!("grad/{name}"), *id))
        .filter(|(grad, _)| tensors.get(grad).is_some())
        .collect();
    let wrt: Vec<TensorId> = with_grad.iter().map(|(_, id)| *id).collect();
    if !wrt.is_empty() {
        let grads = graph.backward(&seeds, &wrt)?;
        read.extend(with_grad.into_iter().zip(grads).map(|((name, _), id)| (name, id)));
    }
    let program = runtime.load(&graph)?;
    runtime.poison(program)?;
    for (short, (id, _)) in &inputs {
        write(
            runtime,
            program,
            (&graph, *id),
            &tensors,
            &format!("input/{short}"),
        )?;
    }
    for (_, seed) in &seeds {
        let name = &graph.tensor(*seed).name;
        write(runtime, program, (&graph, *seed), &tensors, name)?;
    }
    runtime.run(program, &step)?;
    let mut compared = Vec::new();
    for (name, id) in read {
        let got = match graph.tensor(id).dtype {
            Dtype::U32 => runtime
                .read_u32(program, id)?
                .into_iter()
                .map(f64::from)
                .collect(),
            _ => runtime.read(program, id)?,
        };
        if name == "output/counts" {
            compared.extend(accuracies(&got, &tensors));
        } else if let Some(want) = tensors.get(&name) {
            compared.push(Compared::new(name, got, want.values.clone())?);
        }
    }
    let all = tensors.iter().map(|(name, _)| name);
    let numbers = all.filter(|name| name.starts_with("output/") || name.starts_with("grad/"));
    for name in numbers {
        if compared.iter().all(|c| c.name != *name) {
            return Err(malformed(name, "is nothing that the op gives"));
        }
    }
    Ok(Some(compared))
}

/// The scalars of `seq_accuracy` from the op's counts, and the targets from the windows' labels.
fn accuracies(counts: &[f64], tensors: &Tensors) -> Vec<Compared> {
    let filled = counts[1].max(1.0);
    let made = [
        ("output/acc_valid", vec![counts[0] / filled]),
        ("output/acc_ref", vec![counts[2] / counts[3]]),
        (
            "output/target",
            tensors
                .get("input/window_labels")
                .map(|t| t.values.clone())
                .unwrap_or_default(),
        ),
    ];
    made.into_iter()
        .filter_map(|(name, got)| {
            tensors.get(name).map(|t| Compared {
                name: name.to_owned(),
                got,
                want: t.values.clone(),
            })
        })
        .collect()
}

fn write(
    runtime: &mut dyn Runtime,
    program: crate::runtime::Program,
    (graph, id): (&Graph, TensorId),
    tensors: &Tensors,
    name: &str,
) -> Result<()> {
    let t = tensors
        .get(name)
        .ok_or_else(|| malformed(name, "is missing in the file"))?;
    same_length(name, t.values.len(), graph.tensor(id).numel())?;
    if t.integer {
        let values: Vec<u32> = t.values.iter().map(|v| *v as u32).collect();
        return runtime.write(program, id, Data::U32(&values));
    }
    runtime.write(program, id, Data::F64(&t.values))
}

/// Runs the entries of `models/index.json`: logits, activations, the loss and all gradients of tiny whole models.
///
/// # Errors
/// As [`ops`].
pub fn models(
    source: &Source,
    runtime: &mut dyn Runtime,
    precision: Precision,
    report: &mut Hear<'_>,
) -> Result<()> {
    let index = Index::<ModelEntry>::read(source, "models")?;
    for entry in &index.entries {
        let label = format!("model {} {}", entry.name, entry.case);
        let device = runtime.device();
        let model = entry.config.model.as_ref().unwrap_or(&entry.name);
        let Ok(block) = models::block(model) else {
            report(Outcome::skipped(
                &label,
                &device,
                &format!("no model is called {model}"),
            ))?;
            continue;
        };
        let file = format!("models/{}", entry.file());
        let tensors = source.tensors(&file)?;
        let compared = model_entry(block, entry, tensors, precision, runtime);
        runtime.reset();
        let compared = compared.map_err(|e| in_file(e, &source.place(&file)));
        let Some(compared) = unless_refused(compared, &label, &device, report)? else {
            continue;
        };
        let kind = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        let mut norms: BTreeMap<String, f64> = BTreeMap::new();
        for c in &compared {
            *norms.entry(kind(&c.name)).or_default() += c.want.iter().map(|v| v * v).sum::<f64>();
        }
        let deviations = compared.iter().map(|c| {
            let grad = c.name.starts_with("grad/");
            let key = format!("{}{}", precision.key(), if grad { "_grad" } else { "" });
            let allowed = index.allowed(entry, &c.name, &key);
            Deviation::new(
                &c.name,
                &c.got,
                &c.want,
                1e-3 * norms[&kind(&c.name)].sqrt(),
                allowed,
            )
        });
        report(Outcome::new(&label, &device, deviations.collect()))?;
    }
    Ok(())
}

fn model_entry(
    block: BlockRef,
    entry: &ModelEntry,
    mut tensors: Tensors,
    precision: Precision,
    runtime: &mut dyn Runtime,
) -> Result<Vec<Compared>> {
    let sizes = &entry.config;
    let (b, t) = (sizes.b, sizes.t);
    let heads = sizes.n_head.or_else(|| head_count(sizes.d_model));
    let model = ModelConfig {
        sizes: Sizes {
            heads: heads.unwrap_or_default(),
            householder: sizes.num_householder,
            chunk: sizes.chunk,
            expand: sizes.expand,
            d_state: sizes.d_state,
            ..Sizes::new(sizes.d_model)
        },
        rope_base: sizes.rope_base,
        dropout: 0.0,
        precision: precision.storage(),
        ..ModelConfig::new(block, sizes.layers, sizes.d_model, sizes.vocab, sizes.outputs)
    };
    model.validate()?;
    let step = prepare(&mut tensors)?;
    let mut g = Graph::with_precision(precision.storage());
    let (rows, classes) = (b * t, model.classes);
    let x = g.input("x", &[b, t, model.vocab], precision.storage().activation());
    let labels = g.input("labels", &[b, t], Dtype::U32);
    let seed = g.input("seed", &[1], Dtype::F32);
    let stack = model.stack(&mut g, x, b, t)?;
    let logits = g.scoped("decoder", |g| {
        linear(g, stack.last, rows, model.d_model, classes, true)
    })?;
    let loss = g.call(CrossEntropy { rows, classes }, &[logits, labels])?[0];
    let mut read = vec![
        ("output/logits".to_owned(), logits),
        ("output/loss".to_owned(), loss),
        ("act/encoder".to_owned(), stack.encoder),
    ];
    for (i, (mixer, out)) in stack.layers.iter().enumerate() {
        read.push((format!("act/layer{i}.mixer"), *mixer));
        read.push((format!("act/layer{i}.out"), *out));
    }
    read.iter().for_each(|(_, id)| g.keep(*id));
    let grad_x = g.backward(&[(loss, seed)], &[x])?[0];
    read.push(("grad/x".to_owned(), grad_x));
    let params: Vec<TensorId> = g.params().iter().map(|p| p.tensor).collect();
    for param in params {
        let name = format!("grad/{}", g.tensor(param).name);
        read.push((name, g.param_grad(param)));
    }
    g.round_weights()?;
    let program = runtime.load(&g)?;
    runtime.poison(program)?;
    write(runtime, program, (&g, x), &tensors, "input/x")?;
    write(runtime, program, (&g, labels), &tensors, "input/labels")?;
    runtime.write(program, seed, Data::F32(&[precision.loss_scale()]))?;
    for p in g.params() {
        write(
            runtime,
            program,
            (&g, p.tensor),
            &tensors,
            &format!("param/{}", g.tensor(p.tensor).name),
        )?;
    }
    runtime.run(program, &step)?;
    let mut compared = Vec::new();
    if let Some(n_params) = entry.n_params {
        compared.push(Compared {
            name: "n_params".to_owned(),
            got: vec![g.param_count() as f64],
            want: vec![n_params as f64],
        });
    }
    let kinds = ["output/", "act/", "grad/"];
    let names = tensors.iter().map(|(name, _)| name);
    let mut wanted: BTreeSet<&String> = names.filter(|n| kinds.iter().any(|k| n.starts_with(k))).collect();
    for (name, id) in read {
        match tensors.get(&name) {
            Some(want) => {
                wanted.remove(&name);
                let want = want.values.clone();
                let mut got = runtime.read(program, id)?;
                if name.starts_with("grad/") {
                    got.iter_mut()
                        .for_each(|g| *g /= f64::from(precision.loss_scale()));
                }
                compared.push(Compared::new(name, got, want)?);
            }
            // A file may leave gradients out: those of large matrices are most of its bytes.
            None if name.starts_with("grad/") && name != "grad/x" => {}
            None => return Err(malformed(&name, "is missing in the file")),
        }
    }
    if let Some(name) = wanted.first() {
        return Err(malformed(name, "is nothing that the model gives"));
    }
    Ok(compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_and_negative_labels_are_ignored() {
        let mut tensors = Tensors::default();
        tensors.insert_index("input/labels", vec![1, 4], vec![3.0, -100.0, 5.0, 0.0]);
        tensors.insert_index("input/mask", vec![1, 4], vec![1.0, 1.0, 0.0, 1.0]);
        assert_eq!(prepare(&mut tensors).unwrap(), StepParams::eval(2));
        let ignored = f64::from(IGNORE);
        assert_eq!(
            tensors.get("input/labels").unwrap().values,
            [3.0, ignored, ignored, 0.0]
        );
        tensors.insert_index("input/mask", vec![1, 4], vec![1.0, 1.0, 0.0, 2.0]);
        let refused = prepare(&mut tensors).unwrap_err().to_string();
        assert_eq!(refused, "mask: is not a 0 or 1 for each label");
    }
}
