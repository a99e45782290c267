//! Golden files: ops and models against numbers that were computed elsewhere, in f64.

use super::source::{Source, Tensors};
use super::{Deviation, Golden, Outcome};
use crate::error::{Result, UserError};
use crate::graph::Graph;
use crate::models::{self, BlockRef, HOUSEHOLDER, ModelConfig, linear};
use crate::ops::attention::Attention;
use crate::ops::cross_entropy::{CrossEntropy, IGNORE};
use crate::ops::delta_rule::DeltaRule;
use crate::ops::l2_norm::L2Norm;
use crate::ops::rms_norm::{Kind, RmsNorm};
use crate::ops::rope::Rope;
use crate::runtime::{Data, Runtime};
use crate::step::StepParams;
use crate::tensor::{Dtype, TensorId};
use serde_json::Value;
use std::collections::BTreeMap;

/// Entries that are several ops in a row.
fn composite(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    match g.name {
        "gated_delta_rule_rawqk" => Some(raw_delta_rule(g)),
        "attention_rope_qknorm" => Some(transformer_attention(g)),
        _ => None,
    }
}

fn raw_delta_rule(g: &mut Golden<'_>) -> Result<Vec<(&'static str, TensorId)>> {
    let [b, t, h, dk] = *g.shape("k") else {
        unreachable!("keys are [B,T,H,dk]")
    };
    let dv = g.shape("v")[3];
    let norm = L2Norm {
        rows: b * t * h,
        d: dk,
        eps: g.attr("l2norm_eps").unwrap_or(1e-6) as f32,
    };
    let (q, k) = (g.input("q"), g.input("k"));
    let (q, k) = (g.graph.call(norm.clone(), &[q])?[0], g.graph.call(norm, &[k])?[0]);
    let scale = g.attr("scale").unwrap_or((dk as f64).powf(-0.5)) as f32;
    let op = DeltaRule {
        b,
        t,
        h,
        dk,
        dv,
        scale,
        gated: true,
        steps: 1,
        chunk: 64,
    };
    let ins = [q, k, g.input("v"), g.input("beta"), g.input("g")];
    Ok(vec![("o", g.graph.call(op, &ins)?[0])])
}

fn transformer_attention(g: &mut Golden<'_>) -> Result<Vec<(&'static str, TensorId)>> {
    let [b, t, h, d] = *g.shape("q") else {
        unreachable!("queries are [B,T,H,D]")
    };
    let eps = g.attr("rms_eps_outside_sqrt").unwrap_or(1e-8) as f32;
    let base = g.attr("rope_base").unwrap_or(1000.0) as f32;
    let mut turned = |x: &str, w: &str| -> Result<TensorId> {
        let norm = RmsNorm {
            rows: b * t * h,
            d,
            eps,
            kind: Kind::OuterEps,
        };
        let ins = [g.input(x), g.input(w)];
        let y = g.graph.call(norm, &ins)?[0];
        Ok(g.graph.call(
            Rope {
                b,
                t,
                h,
                d,
                base,
                direction: -1,
                position: false,
            },
            &[y],
        )?[0])
    };
    let (q, k) = (turned("q", "wq")?, turned("k", "wk")?);
    let scale = g.attr("scale").unwrap_or((d as f64).powf(-0.5)) as f32;
    let v = g.input("v");
    Ok(vec![(
        "o",
        g.graph.call(
            Attention {
                b,
                t,
                h,
                d,
                scale,
                forget: false,
            },
            &[q, k, v],
        )?[0],
    )])
}

/// Tolerances of an index, for the f64 twin or for f32 devices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The f64 twin.
    F64,
    /// f32 on any device.
    F32,
}

impl Precision {
    fn key(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
        }
    }
}

fn allowed(index: &Value, entry: &Value, tensor: &str, key: &str, fallback: f64) -> f64 {
    let own = entry
        .get("tolerance")
        .and_then(|t| t.get(tensor))
        .and_then(|t| t.get(key));
    own.or_else(|| index.get("tolerance").and_then(|t| t.get(key)))
        .and_then(Value::as_f64)
        .unwrap_or(fallback)
}

/// Labels with the mask written in, and windows in place of a gap mask.
fn prepare(tensors: &mut Tensors) -> Result<StepParams> {
    if let (Some(mask), Some(labels)) = (tensors.remove("input/mask"), tensors.get_mut("input/labels")) {
        for (label, mask) in labels.values.iter_mut().zip(mask.values) {
            if mask == 0.0 {
                *label = f64::from(IGNORE);
            }
        }
    }
    if let (Some(mask), Some(labels)) = (tensors.remove("input/gap_mask"), tensors.get("input/labels")) {
        let [b, e, t] = mask.shape[..] else {
            return Err(malformed("gap_mask", "is not [B,E,T]"));
        };
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

fn malformed(place: &str, message: &str) -> crate::error::Error {
    UserError::Malformed {
        place: place.to_owned(),
        message: message.to_owned(),
    }
    .into()
}

/// Runs the entries of `ops/index.json`.
///
/// # Errors
/// [`UserError::Malformed`] for files that are missing or cannot be read; a failed check is no error.
pub fn ops(
    source: &Source,
    runtime: &mut dyn Runtime,
    precision: Precision,
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let index = source.json("ops/index.json")?;
    for entry in index["entries"].as_array().into_iter().flatten() {
        let name = entry["name"].as_str().unwrap_or_default();
        let label = format!("{name} {}", entry["case"].as_str().unwrap_or_default());
        let device = runtime.device();
        let tensors = source.tensors(&format!("ops/{}", entry["file"].as_str().unwrap_or_default()))?;
        let result = match name {
            "adam_clip_schedule" => super::optimiser::run(tensors, entry, runtime).map(Some),
            _ => op(name, entry, tensors, runtime),
        };
        runtime.reset();
        let deviations = match result? {
            None => {
                report(Outcome::skipped(
                    &label,
                    &device,
                    &format!("no op is called {name}"),
                ));
                continue;
            }
            Some(compared) => compared.into_iter().map(|c| {
                let allowed = allowed(&index, entry, &c.name, precision.key(), 1e-5);
                let floor = super::FLOOR * (c.want.len() as f64).sqrt();
                Deviation::new(&c.name, &c.got, &c.want, floor, allowed)
            }),
        };
        report(Outcome::new(&label, &device, deviations.collect()));
    }
    Ok(())
}

/// A tensor of a golden file and what came out instead.
pub(super) struct Compared {
    pub(super) name: String,
    pub(super) got: Vec<f64>,
    pub(super) want: Vec<f64>,
}

fn op(
    name: &str,
    entry: &Value,
    mut tensors: Tensors,
    runtime: &mut dyn Runtime,
) -> Result<Option<Vec<Compared>>> {
    let mut graph = Graph::new();
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
        attrs: &entry["attrs"],
        graph: &mut graph,
        inputs: &inputs,
    };
    let Some(outputs) = crate::ops::golden(&mut g).or_else(|| composite(&mut g)) else {
        return Ok(None);
    };
    let mut read: Vec<(String, TensorId)> = Vec::new();
    let mut seeds = Vec::new();
    for (output, id) in outputs? {
        graph.keep(id);
        read.push((format!("output/{output}"), id));
        if let Some(cot) = tensors.get(&format!("cot/{output}")) {
            let seed = graph.input(&format!("cot/{output}"), &cot.shape, Dtype::F32);
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
        write(runtime, program, *id, &tensors, &format!("input/{short}"))?;
    }
    for (_, seed) in &seeds {
        write(runtime, program, *seed, &tensors, &graph.tensor(*seed).name)?;
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
            compared.push(Compared {
                name,
                got,
                want: want.values.clone(),
            });
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
    id: TensorId,
    tensors: &Tensors,
    name: &str,
) -> Result<()> {
    let t = tensors
        .get(name)
        .ok_or_else(|| malformed(name, "is missing in the file"))?;
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
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let index = source.json("models/index.json")?;
    for entry in index["entries"].as_array().into_iter().flatten() {
        let name = entry["name"].as_str().unwrap_or_default();
        let label = format!("model {name} {}", entry["case"].as_str().unwrap_or_default());
        let device = runtime.device();
        let model = entry["config"]["model"].as_str().unwrap_or(name);
        let Ok(block) = models::block(model) else {
            report(Outcome::skipped(
                &label,
                &device,
                &format!("no model is called {model}"),
            ));
            continue;
        };
        let tensors = source.tensors(&format!("models/{}", entry["file"].as_str().unwrap_or_default()))?;
        let compared = model_entry(block, entry, tensors, runtime);
        runtime.reset();
        let compared = compared?;
        let kind = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
        let mut norms: BTreeMap<String, f64> = BTreeMap::new();
        for c in &compared {
            *norms.entry(kind(&c.name)).or_default() += c.want.iter().map(|v| v * v).sum::<f64>();
        }
        let deviations = compared.iter().map(|c| {
            let grad = c.name.starts_with("grad/");
            let key = format!("{}{}", precision.key(), if grad { "_grad" } else { "" });
            let allowed = allowed(&index, entry, &c.name, &key, 1e-5);
            Deviation::new(
                &c.name,
                &c.got,
                &c.want,
                1e-3 * norms[&kind(&c.name)].sqrt(),
                allowed,
            )
        });
        report(Outcome::new(&label, &device, deviations.collect()));
    }
    Ok(())
}

fn model_entry(
    block: BlockRef,
    entry: &Value,
    mut tensors: Tensors,
    runtime: &mut dyn Runtime,
) -> Result<Vec<Compared>> {
    let config = &entry["config"];
    let number = |name: &str| config[name].as_u64().unwrap_or_default() as usize;
    let (b, t) = (number("B"), number("T"));
    let model = ModelConfig {
        heads: number("n_head"),
        householder: config["num_householder"].as_u64().unwrap_or(HOUSEHOLDER as u64) as usize,
        d_state: config["d_state"].as_u64().map(|n| n as usize),
        dropout: 0.0,
        ..ModelConfig::new(
            block,
            number("layers"),
            number("d_model"),
            number("vocab"),
            number("outputs"),
        )
    };
    model.validate()?;
    let step = prepare(&mut tensors)?;
    let mut g = Graph::new();
    let (rows, classes) = (b * t, model.classes);
    let x = g.input("x", &[b, t, model.vocab], Dtype::F32);
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
    let dx = g.backward(&[(loss, seed)], &[x])?[0];
    read.push(("grad/x".to_owned(), dx));
    for p in g.params() {
        let name = g.tensor(p.tensor).name.clone();
        let grad = g
            .find(&format!("d {name}"))
            .ok_or_else(|| malformed(&name, "gets no gradient"))?;
        read.push((format!("grad/{name}"), grad));
    }
    let program = runtime.load(&g)?;
    runtime.poison(program)?;
    write(runtime, program, x, &tensors, "input/x")?;
    write(runtime, program, labels, &tensors, "input/labels")?;
    runtime.write(program, seed, Data::F32(&[1.0]))?;
    for p in g.params() {
        write(
            runtime,
            program,
            p.tensor,
            &tensors,
            &format!("param/{}", g.tensor(p.tensor).name),
        )?;
    }
    runtime.run(program, &step)?;
    let mut compared = vec![Compared {
        name: "n_params".to_owned(),
        got: vec![g.param_count() as f64],
        want: vec![entry["n_params"].as_f64().unwrap_or_default()],
    }];
    for (name, id) in read {
        let want = tensors
            .get(&name)
            .ok_or_else(|| malformed(&name, "is missing in the file"))?
            .values
            .clone();
        compared.push(Compared {
            got: runtime.read(program, id)?,
            want,
            name,
        });
    }
    Ok(compared)
}
