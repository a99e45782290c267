//! The golden of several updates: schedule, clipping and Adam in a row.

use super::golden::Compared;
use super::source::Tensors;
use crate::error::Result;
use crate::graph::{Graph, Init};
use crate::models::append_update;
use crate::runtime::Runtime;
use crate::step::StepParams;
use crate::tensor::Bank;
use crate::train::Schedule;
use serde_json::Value;

pub(super) fn run(tensors: Tensors, entry: &Value, runtime: &mut dyn Runtime) -> Result<Vec<Compared>> {
    let attr = |name: &str| entry["attrs"][name].as_f64().unwrap_or_default();
    let names: Vec<String> = tensors
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("input/grad0_").map(str::to_owned))
        .collect();
    let mut g = Graph::new();
    let tensor = |name: &str| {
        tensors
            .get(name)
            .cloned()
            .unwrap_or_else(|| panic!("the golden file lacks {name}"))
    };
    for name in &names {
        g.param(name, &tensor(&format!("input/{name}")).shape, Init::Constant(0.0));
    }
    let stats = append_update(&mut g)?;
    let program = runtime.load(&g)?;
    let bank = |prefix: &str| -> Vec<f32> {
        let mut bank = vec![0.0; g.bank_len()];
        for (name, p) in names.iter().zip(g.params()) {
            for (to, from) in bank[p.offset..]
                .iter_mut()
                .zip(tensor(&format!("{prefix}{name}")).values)
            {
                *to = from as f32;
            }
        }
        bank
    };
    runtime.write_bank(Bank::Param, &bank("input/"))?;
    let schedule = Schedule {
        lr: attr("lr"),
        warmup: attr("warmup"),
        steps: attr("total") as u64,
        floor: 0.0,
    };
    let mut step = StepParams {
        clip: attr("clip") as f32,
        ..StepParams::eval(1)
    };
    let mut compared = Vec::new();
    let (mut lrs, mut norms) = (Vec::new(), Vec::new());
    for s in 0..attr("steps") as u64 {
        runtime.write_bank(Bank::Grad, &bank(&format!("input/grad{s}_")))?;
        schedule.adam(s, &mut step);
        runtime.run(program, &step)?;
        lrs.push(schedule.lr(s));
        norms.push(runtime.read(program, stats)?[0]);
        let params = runtime.read_bank(Bank::Param)?;
        for (name, p) in names.iter().zip(g.params()) {
            let name = format!("output/step{s}_{name}");
            let want = tensor(&name).values;
            let got = params[p.offset..p.offset + want.len()]
                .iter()
                .map(|v| f64::from(*v))
                .collect();
            compared.push(Compared { name, got, want });
        }
    }
    compared.push(Compared {
        name: "output/lr".to_owned(),
        got: lrs,
        want: tensor("output/lr").values,
    });
    compared.push(Compared {
        name: "output/grad_norm".to_owned(),
        got: norms,
        want: tensor("output/grad_norm").values,
    });
    Ok(compared)
}
