use super::{BLOCKS, HOUSEHOLDER, ModelConfig, block};
use crate::check::switched;
use crate::cpu::CpuRuntime;
use crate::ops::Op;
use crate::ops::delta_rule::MAX_HOUSEHOLDER;
use crate::runtime::{Data, Runtime};
use crate::step::StepParams;
use crate::tensor::{Bank, Precision};
use crate::twin::Real;

fn paper(name: &str, d_model: usize) -> ModelConfig {
    ModelConfig::new(block(name).unwrap(), 8, d_model, 41, 1601)
}

/// Parameters of one layer's block (models.md 2).
fn formula(name: &str, d: usize, h: usize, n: usize, states: usize) -> usize {
    match name {
        "transformer" => 16 * d * d + 14 * d + 2 * d / h + 1,
        "mamba" => 6 * d * d + 14 * d + 4 * d * d.div_ceil(16) + 6 * d * states,
        "mamba2" => 6 * d * d + 2 * d * states + 2 * d * h + 12 * d + 10 * states + 6 * h,
        "delta_net" => 6 * d * d + d * h + 16 * d + 2 * d / h,
        "gla" => 8 * d * d + 49 * d + 2 * d / h,
        "gated_delta_net" => 8 * d * d + 16 * d + 2 * d * h + 2 * h + 2 * d / h,
        "kda" => 6 * d * d + 10 * d * d / h + d * h + 19 * d + h + 2 * d / h,
        "gated_delta_product" => {
            (5 + 3 * n) * d * d + 4 * d * (1 + 3 * n) + (n + 1) * d * h + 2 * h + 2 * d / h
        }
        "mesa_net" => 4 * d * d + 2 * d * h + 2 * h + 9 * d + d / h,
        "s4" => 2 * d * d + 4 * d + 2 * d * states,
        "gru" => 6 * d * d + 6 * d,
        "fox" => 4 * d * d + d * h + h,
        "retnet" => 8 * d * d + 16 * d + 2 * d / h,
        _ => unreachable!("no formula for {name}"),
    }
}

#[test]
fn parameters_follow_the_formulas() {
    for block in BLOCKS {
        for d in [256, 648, 1024] {
            for d_state in [Some(16), None] {
                let name = block.name();
                let mut model = paper(name, d);
                model.d_state = d_state;
                // Rotary positions need an even head width.
                if d == 648 && ["retnet", "transformer"].contains(&name) {
                    assert!(model.validate().is_err(), "{name}");
                    continue;
                }
                let states = d_state.unwrap_or(if name == "mamba2" { 128 } else { 64 });
                let layer = formula(name, d, model.heads, HOUSEHOLDER, states) + 2 * d;
                let params = model.param_count().unwrap();
                assert_eq!(params, 8 * layer + 42 * d + 1601 * (d + 1), "{name} {d}");
            }
        }
    }
}

#[test]
fn tensors_that_a_kernel_could_not_index_are_refused() {
    // 2^32 values of a residual stream: an index of 32 bits would wrap where a binding has room for 16 GiB.
    for block in BLOCKS {
        let model = paper(block.name(), 1024);
        let error = match model.train_net(1 << 12, 1 << 10, 10) {
            Ok(_) => panic!("{} was not refused", block.name()),
            Err(error) => error,
        };
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains("elements"), "{error}");
    }
}

/// The value of sums of products such as `2 d^2 + (n + 1) d H`.
fn evaluate(formula: &str, value: &dyn Fn(&str) -> usize) -> usize {
    let power = |text: &str| match text.split_once('^') {
        Some((name, power)) => value(name).pow(power.parse().unwrap()),
        None => text.parse().unwrap_or_else(|_| value(text)),
    };
    let factor = |text: &str| match text.split_once('/') {
        Some((above, below)) => power(above) / power(below),
        None => power(text),
    };
    let formula = formula.replace("(n + 1)", "n+1");
    let term = |term: &str| term.split(' ').map(factor).product::<usize>();
    formula.split(" + ").map(term).sum()
}

#[test]
fn gate_parameters_are_those_of_their_formula() {
    for block in BLOCKS.iter().filter(|b| b.taxonomy().gate_params != "-") {
        let model = paper(block.name(), 648);
        let value = |name: &str| match name {
            "d" => 648,
            "H" => model.heads,
            "R" => 41,
            "n+1" => HOUSEHOLDER + 1,
            _ => unreachable!("no {name} in formulas"),
        };
        let want = evaluate(block.taxonomy().gate_params, &value);
        assert_eq!(block.gate_params(&model), want, "{}", block.name());
    }
    let none: Vec<&str> = BLOCKS
        .iter()
        .filter(|b| b.gate_params(&paper(b.name(), 256)) == 0)
        .map(|b| b.name())
        .collect();
    assert_eq!(none, ["transformer"]);
}

#[test]
fn parameters_are_those_of_the_paper_s_sizes() {
    let sizes = [
        ("transformer", 768, "76.861"),
        ("mamba2", 1296, "85.895"),
        ("delta_net", 1296, "83.106"),
        ("gla", 1152, "87.300"),
        ("gated_delta_net", 1152, "87.291"),
        ("gated_delta_product", 768, "82.059"),
    ];
    for (name, d, millions) in sizes {
        let params = paper(name, d).param_count().unwrap();
        assert_eq!(format!("{:.3}", params as f64 / 1e6), millions, "{name} {d}");
    }
}

/// Decays and write strengths come from one product, wherever their weights end; the parameters are those of two.
#[test]
fn gates_of_heads_are_one_product() {
    for name in ["gated_delta_net", "gated_delta_product", "mesa_net"] {
        for (d, heads, precision) in [
            (1024, 8, Precision::F32),
            (1024, 8, Precision::Mixed),
            (32, 2, Precision::Mixed),
            (24, 2, Precision::F32),
        ] {
            let mut model = paper(name, d);
            (model.heads, model.precision) = (heads, precision);
            let graph = model.train_net(1, 64, 10).unwrap().graph;
            let is_both = |op: &Op| matches!(op, Op::DecayGate(gate) if gate.writes > 0);
            let both = graph.calls().iter().filter(|call| is_both(&call.op));
            assert_eq!(both.count(), 16, "{name} {d} {precision}");
            let names = graph.params().iter().map(|p| graph.tensor(p.tensor).name.clone());
            let gates =
                names.filter(|name| name.ends_with("a_proj.weight") || name.ends_with("b_proj.weight"));
            assert_eq!(gates.count(), 16, "{name}");
        }
    }
}

#[test]
fn parameters_of_a_delta_product_follow_its_steps() {
    let model = |householder| {
        let mut model = paper("gated_delta_product", 96);
        model.householder = householder;
        model
    };
    for n in 1..=MAX_HOUSEHOLDER {
        let layer = formula("gated_delta_product", 96, 4, n, 0) + 2 * 96;
        let params = model(n).param_count().unwrap();
        assert_eq!(params, 8 * layer + 42 * 96 + 1601 * 97, "n {n}");
    }
    for n in [0, 9] {
        let refused = model(n).validate().unwrap_err();
        let reason = format!("gated_delta_product: {n} Householder steps a token: allowed: 1 to 8");
        assert_eq!(refused.to_string(), reason);
    }
}

#[test]
fn sizes_that_a_block_cannot_have_are_refused() {
    let refused = |model: ModelConfig| model.validate().unwrap_err().to_string();
    let one_head = |name| {
        let mut model = paper(name, 512);
        model.heads = 1;
        model
    };
    assert!(refused(one_head("gla")).contains("a head of 512 channels"));
    assert!(refused(one_head("mamba2")).contains("512 channels"));
    let state = |d_state| {
        let mut model = paper("mamba2", 256);
        model.d_state = Some(d_state);
        model
    };
    assert!(refused(state(257)).contains("257 states: 1 to 256"));
    assert!(refused(state(0)).contains("0 states"));
    // With values as wide as keys a head may have 256 channels.
    let mut wide = paper("gated_delta_net", 256);
    (wide.expand, wide.heads) = (1, 1);
    assert!(wide.validate().is_ok());
}

/// Logits \[B,T,K\], over whole sequences and token by token.
fn logits_both_ways(model: &ModelConfig, runtime: &mut dyn Runtime) -> [Vec<f64>; 2] {
    let (b, t) = (2, 70);
    // A symbol or nothing, as gaps have it.
    let symbol = |i: usize| if i % 3 == 1 { u32::MAX } else { (i * i % 13) as u32 };
    let symbols: Vec<u32> = (0..b * t).map(symbol).collect();
    let step = StepParams::eval(1);
    let whole = model.logits_net(b, t).unwrap();
    let program = runtime.load(&whole.graph).unwrap();
    let weights = super::initial_parameters(&whole.graph, 3);
    runtime.write_bank(Bank::Param, &weights).unwrap();
    runtime
        .write(program, whole.symbols, Data::U32(&symbols))
        .unwrap();
    runtime.run(program, &step).unwrap();
    let at_once = runtime.read(program, whole.logits).unwrap();

    let token = model.decode_net(b, t).unwrap();
    let program = runtime.load(&token.graph).unwrap();
    let mut one_by_one = vec![0.0; at_once.len()];
    let k = model.classes;
    for i in 0..t {
        let here: Vec<u32> = (0..b).map(|row| symbols[row * t + i]).collect();
        runtime.write(program, token.symbols, Data::U32(&here)).unwrap();
        let position = token.position.expect("a decoding net has one");
        runtime.write(program, position, Data::U32(&[i as u32])).unwrap();
        runtime.run(program, &step).unwrap();
        let logits = runtime.read(program, token.logits).unwrap();
        for row in 0..b {
            one_by_one[(row * t + i) * k..][..k].copy_from_slice(&logits[row * k..][..k]);
        }
    }
    [at_once, one_by_one]
}

fn decoding_error<R: Real>(model: &ModelConfig) -> f64
where
    CpuRuntime<R>: Runtime,
{
    let [at_once, one_by_one] = logits_both_ways(model, &mut CpuRuntime::<R>::new());
    let square = |x: f64| x * x;
    let error: f64 = at_once.iter().zip(&one_by_one).map(|(a, b)| square(a - b)).sum();
    (error / at_once.iter().copied().map(square).sum::<f64>()).sqrt()
}

#[test]
fn decoding_agrees_with_whole_sequences() {
    let own = BLOCKS.iter().map(|b| {
        let mut model = ModelConfig::new(*b, 2, 24, 13, 97);
        (model.heads, model.d_state) = (2, Some(6));
        (b.name().to_owned(), model)
    });
    // Wide enough for decays and write strengths from one product.
    let mut wide = ModelConfig::new(block("gated_delta_product").unwrap(), 2, 32, 13, 97);
    wide.heads = 2;
    let all = own
        .chain(switched())
        .chain([("gates of one product".to_owned(), wide)]);
    for (name, model) in all {
        let (exact, rounded) = (decoding_error::<f64>(&model), decoding_error::<f32>(&model));
        assert!(exact < 1e-9, "{name}: {exact:e}");
        assert!(rounded < 2e-5, "{name}: {rounded:e}");
    }
}
