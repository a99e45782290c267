//! Weights alone, under the reference implementation's parameter names, in a safetensors file.

use super::records::atomic;
use super::stepper::Weights;
use crate::error::{Error, Result, UserError};
use crate::files;
use crate::graph::Graph;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::path::Path;

/// Writes the parameters as F32, without the optimiser's state. `metadata` goes into the file's header.
///
/// # Errors
/// [`Error::Io`].
pub fn export(path: &Path, weights: &Weights, metadata: HashMap<String, String>) -> Result<()> {
    let bytes: Vec<Vec<u8>> = weights
        .params
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = weights.params.iter().zip(&bytes).map(|((name, shape, _), data)| {
        let view =
            TensorView::new(Dtype::F32, shape.clone(), data).expect("values have the size of their shape");
        (name, view)
    });
    let file = safetensors::serialize(views, Some(metadata)).expect("names and shapes have a header");
    atomic::replace(path, |out| out.write_all(&file))
}

/// Reads the parameters of a graph, in its order, with an optimiser that has seen nothing. F64, F32, F16 and BF16 are
/// accepted.
///
/// # Errors
/// [`UserError::Malformed`] that lists every tensor that is missing, unknown, or has another shape, another type or a
/// value that is not finite; [`UserError::Folder`] if the file cannot be read.
pub fn import(path: &Path, graph: &Graph) -> Result<Weights> {
    let malformed = |message: String| -> Error {
        let place = path.display().to_string();
        UserError::Malformed { place, message }.into()
    };
    // Beside the file: the parameters and two moments.
    let bytes = files::read_large(path, 4).map_err(|e| UserError::Folder {
        path: path.to_owned(),
        reason: format!("cannot read these weights: {e}"),
    })?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|e| malformed(format!("not a safetensors file: {e}")))?;
    let mut params = Vec::new();
    let mut wrong = Vec::new();
    for param in graph.params() {
        let info = graph.tensor(param.tensor);
        match tensor(&file, &info.name, &info.shape) {
            Ok(values) => params.push((info.name.clone(), info.shape.clone(), values)),
            Err(reason) => wrong.push(format!("{} {reason}", info.name)),
        }
    }
    let is_known = |name: &str| graph.params().iter().any(|p| graph.tensor(p.tensor).name == name);
    let mut unknown: Vec<&str> = file.names().into_iter().filter(|name| !is_known(name)).collect();
    unknown.sort_unstable();
    wrong.extend(
        unknown
            .iter()
            .map(|name| format!("{name} is not a parameter of this model")),
    );
    if !wrong.is_empty() {
        return Err(malformed(format!(
            "not the weights of this model:\n  {}",
            wrong.join("\n  ")
        )));
    }
    let zeros: Vec<Vec<f32>> = params
        .iter()
        .map(|(_, _, values)| vec![0.0; values.len()])
        .collect();
    Ok(Weights {
        params,
        moment1: zeros.clone(),
        moment2: zeros,
    })
}

/// A tensor's values, or what is wrong with it.
fn tensor(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> std::result::Result<Vec<f32>, String> {
    let view = file
        .tensor(name)
        .map_err(|_| format!("is missing; its shape is {shape:?}"))?;
    if view.shape() != shape {
        return Err(format!("has shape {:?}, not {shape:?}", view.shape()));
    }
    let data = view.data();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F64 => convert(data, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => convert(data, f32::from_le_bytes),
        Dtype::F16 => convert(data, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => convert(data, |b| bf16::from_le_bytes(b).to_f32()),
        other => return Err(format!("is {other:?}: allowed: F64, F32, F16, BF16")),
    };
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(format!("is not finite in f32 at element {i}")),
        None => Ok(values),
    }
}

fn convert<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks().0.iter().map(|b| value(*b)).collect()
}
