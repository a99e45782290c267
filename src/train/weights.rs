//! Weights alone, under the reference implementation's parameter names, in a safetensors file.

use super::records::atomic;
use super::stepper::Weights;
use crate::error::{Error, Result, UserError};
use crate::graph::Graph;
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
    let bytes = std::fs::read(path).map_err(|e| UserError::Folder {
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
        Dtype::F16 => convert(data, |b| from_f16(u16::from_le_bytes(b))),
        Dtype::BF16 => convert(data, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
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

/// The value of an IEEE half, exactly.
fn from_f16(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, bits & 0x3ff);
    let size = match exponent {
        0 => f32::from(fraction) * 2f32.powi(-24),
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => f32::from_bits((u32::from(exponent) + 112) << 23 | u32::from(fraction) << 13),
    };
    if sign == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_their_values() {
        let values = [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3555, 0.333_251_95),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in values {
            assert_eq!(from_f16(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(from_f16(0x7e00).is_nan());
    }
}
