//! The golden of several updates: schedule, clipping and Adam in a row.

use super::compared::{Compared, malformed, same_length};
use super::source::Tensors;
use crate::error::{Result, UserError};
use crate::graph::{Graph, Init};
use crate::models::append_update;
use crate::ops::adam::{BETA1, BETA2, EPS};
use crate::ops::grad_norm;
use crate::runtime::Runtime;
use crate::step::StepParams;
use crate::tensor::Bank;
use crate::train::Schedule;
use serde_json::Value;

pub(super) fn run(tensors: Tensors, attrs: &Value, runtime: &mut dyn Runtime) -> Result<Vec<Compared>> {
    has_our_constants(attrs)?;
    let attr = |name: &str| {
        let missing = || malformed(name, "is missing among the attributes");
        attrs[name].as_f64().ok_or_else(missing)
    };
    let names: Vec<String> = tensors
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("input/grad0_").map(str::to_owned))
        .collect();
    if names.is_empty() {
        return Err(malformed("input/grad0_", "begins the name of no tensor"));
    }
    let mut g = Graph::new();
    let tensor = |name: &str| {
        let missing = || malformed(name, "is missing in the file");
        tensors.get(name).cloned().ok_or_else(missing)
    };
    for name in &names {
        g.param(
            name,
            &tensor(&format!("input/{name}"))?.shape,
            Init::Constant(0.0),
        );
    }
    let stats = append_update(&mut g, false)?;
    let program = runtime.load(&g)?;
    let bank = |prefix: &str| -> Result<Vec<f32>> {
        let mut bank = vec![0.0; g.bank_len()];
        for (name, p) in names.iter().zip(g.params()) {
            let from = tensor(&format!("{prefix}{name}"))?.values;
            let place = &mut bank[p.offset..][..g.tensor(p.tensor).numel()];
            same_length(name, from.len(), place.len())?;
            for (to, from) in place.iter_mut().zip(from) {
                *to = from as f32;
            }
        }
        Ok(bank)
    };
    runtime.write_bank(Bank::Param, &bank("input/")?)?;
    let schedule = Schedule {
        lr: attr("lr")?,
        warmup: attr("warmup")?,
        steps: attr("total")? as u64,
        floor: 0.0,
    };
    let mut step = StepParams {
        clip: attr("clip")? as f32,
        ..StepParams::eval(1)
    };
    let mut compared = Vec::new();
    let (mut lrs, mut norms) = (Vec::new(), Vec::new());
    for s in 0..attr("steps")? as u64 {
        runtime.write_bank(Bank::Grad, &bank(&format!("input/grad{s}_"))?)?;
        schedule.adam(s, &mut step);
        runtime.run(program, &step)?;
        lrs.push(schedule.lr(s));
        norms.push(runtime.read(program, stats)?[grad_norm::NORM]);
        let params = runtime.read_bank(Bank::Param)?;
        for (name, p) in names.iter().zip(g.params()) {
            let name = format!("output/step{s}_{name}");
            let want = tensor(&name)?.values;
            let place = &params[p.offset..][..g.tensor(p.tensor).numel()];
            let got = place.iter().map(|v| f64::from(*v)).collect();
            compared.push(Compared::new(name, got, want)?);
        }
    }
    for (name, got) in [("output/lr", lrs), ("output/grad_norm", norms)] {
        compared.push(Compared::new(name.to_owned(), got, tensor(name)?.values)?);
    }
    Ok(compared)
}

/// Refuses other constants than those of the ops.
fn has_our_constants(attrs: &Value) -> Result<()> {
    let own = [
        ("betas", vec![BETA1, BETA2]),
        ("eps", vec![EPS]),
        ("clip_eps", vec![1e-6]),
        ("weight_decay", vec![0.0]),
    ];
    for (field, own) in own {
        let found = &attrs[field];
        let list = found
            .as_array()
            .map_or(std::slice::from_ref(found), Vec::as_slice);
        let agrees = list.iter().filter_map(Value::as_f64).eq(own.iter().copied());
        if !found.is_null() && !agrees {
            return Err(UserError::Value {
                place: "adam_clip_schedule".to_owned(),
                field: field.to_owned(),
                found: found.to_string(),
                allowed: format!("{own:?}"),
            }
            .into());
        }
    }
    Ok(())
}
