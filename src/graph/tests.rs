use super::*;
use crate::cpu::CpuRuntime;
use crate::ops::add::Add;
use crate::ops::l2_norm::L2Norm;
use crate::ops::linear::Linear;
use crate::ops::pointwise::{Function, Pointwise};
use crate::ops::short_conv::ShortConv;
use crate::plan::lifetimes;
use crate::runtime::{Data, Runtime};
use crate::step::StepParams;

const N: usize = 100;

/// Two states that a run adds x and sigmoid(sigmoid(x)) to, one that nothing touches, and activations around them.
struct Counters {
    graph: Graph,
    x: TensorId,
    y: TensorId,
    states: [TensorId; 3],
}

impl Counters {
    fn new() -> Self {
        let mut g = Graph::new();
        let x = g.input("x", &[N], Dtype::F32);
        let (first, second, idle) = g.scoped("layers.0", |g| {
            (
                g.state("first", &[N]),
                g.state("second", &[2, N / 2]),
                g.state("idle", &[7]),
            )
        });
        let sigmoid = |g: &mut Graph, x| {
            let op = Pointwise {
                numel: N,
                function: Function::Sigmoid,
                scale: 1.0,
                offset: 0.0,
            };
            g.call(op, &[x]).unwrap()[0]
        };
        let add = |g: &mut Graph, x, state| {
            let out = Output {
                tensor: state,
                accumulate: true,
            };
            g.call_into(Add { numel: N }, &[x], &[out]).unwrap();
        };
        add(&mut g, x, first);
        let once = sigmoid(&mut g, x);
        let twice = sigmoid(&mut g, once);
        add(&mut g, twice, second);
        let mut y = twice;
        for _ in 0..4 {
            y = sigmoid(&mut g, y);
        }
        g.keep(y);
        Self {
            graph: g,
            x,
            y,
            states: [first, second, idle],
        }
    }

    fn keeps_states(&self, device: &str, runtime: &mut dyn Runtime) {
        let program = runtime.load(&self.graph).unwrap();
        let x: Vec<f64> = (0..N).map(|i| f64::from(i as u32) * 0.25 - 9.0).collect();
        let twice: Vec<f64> = x.iter().map(|x| sigmoid(sigmoid(*x))).collect();
        let close = |runtime: &mut dyn Runtime, id: TensorId, want: &dyn Fn(usize) -> f64, when: &str| {
            for (i, got) in runtime.read(program, id).unwrap().into_iter().enumerate() {
                let (want, name) = (want(i), &self.graph.tensor(id).name);
                assert!(
                    (got - want).abs() < 1e-5,
                    "{device}: {name} {when}: {got}, {want}"
                );
            }
        };
        let [first, second, idle] = self.states;
        for id in self.states {
            close(runtime, id, &|_| 0.0, "after loading");
        }
        runtime.write(program, idle, Data::F32(&[5.0; 7])).unwrap();
        for round in 0..2 {
            for run in 1..=3 {
                runtime.write(program, self.x, Data::F64(&x)).unwrap();
                runtime.run(program, &StepParams::eval(1)).unwrap();
                let (n, when) = (f64::from(run), format!("round {round}, run {run}"));
                close(runtime, first, &|i| n * x[i], &when);
                close(runtime, second, &|i| n * twice[i], &when);
                let five = if round == 0 { 5.0 } else { 0.0 };
                close(runtime, idle, &|_| five, &when);
                close(
                    runtime,
                    self.y,
                    &|i| (0..4).fold(twice[i], |y, _| sigmoid(y)),
                    &when,
                );
            }
            runtime.clear_states(program).unwrap();
            for id in self.states {
                close(runtime, id, &|_| 0.0, "cleared");
            }
        }
        runtime.write(program, first, Data::F64(&twice)).unwrap();
        runtime.run(program, &StepParams::eval(1)).unwrap();
        close(runtime, first, &|i| x[i] + twice[i], "written");
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn states_survive_between_runs() {
    let counters = Counters::new();
    counters.keeps_states("CPU f64", &mut CpuRuntime::<f64>::new());
    counters.keeps_states("CPU f32", &mut CpuRuntime::<f32>::new());
    #[cfg(feature = "gpu")]
    crate::testing::gpu::each_device(|device, runtime| counters.keeps_states(device, runtime));
}

/// The planner never lets items meet whose lifetimes do (`plan::tests`), and everything lives inside a state's.
#[test]
fn states_live_through_the_whole_run() {
    let counters = Counters::new();
    let (ids, items) = lifetimes(&counters.graph);
    let last = items.iter().map(|i| i.last).max().unwrap();
    for state in counters.states {
        let item = items[ids.iter().position(|id| *id == state).unwrap()];
        assert_eq!((item.first, item.last), (0, last));
    }
}

#[test]
fn states_are_listed_with_names_and_bytes() {
    let graph = Counters::new().graph;
    let listed: Vec<(&str, usize)> = graph
        .states()
        .map(|(_, t)| (t.name.as_str(), t.bytes()))
        .collect();
    let want = [
        ("layers.0.first", 400),
        ("layers.0.second", 400),
        ("layers.0.idle", 28),
    ];
    assert_eq!(listed, want);
}

/// Tensors that are too short for an op, of another type, of another graph, and too few of them.
#[test]
fn outputs_are_checked_like_inputs() {
    let mut other = Graph::new();
    let stranger = (0..9)
        .map(|_| other.input("far", &[N], Dtype::F32))
        .last()
        .unwrap();
    let mut g = Graph::new();
    let x = g.input("x", &[N], Dtype::F32);
    let short = g.activation("short", &[N - 1], Dtype::F32);
    let index = g.activation("index", &[N], Dtype::U32);
    let out = |tensor| Output {
        tensor,
        accumulate: true,
    };
    let add = Add { numel: N };
    let mut refused = |ins: &[TensorId], outs: &[Output], why: &str| {
        let error = g.call_into(add.clone(), ins, outs).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&[x], &[out(short)], "y is F32 [100]; short is F32 [99]");
    refused(&[x], &[out(index)], "y is F32 [100]; index is U32 [100]");
    refused(&[short], &[out(x)], "x is F32 [100]; short is F32 [99]");
    refused(&[x], &[out(stranger)], "y is not a tensor of this graph");
    refused(&[stranger], &[out(x)], "x is not a tensor of this graph");
    refused(&[x], &[], "1 tensors, 0 given");
    refused(&[x], &[out(x), out(x)], "1 tensors, 2 given");
    refused(&[], &[out(x)], "1 tensors, 0 given");
    assert_eq!(g.calls().len(), 0);
}

#[test]
fn gradients_are_checked_before_the_walk() {
    let build = || {
        let counters = Counters::new();
        let mut g = counters.graph;
        let short = g.input("short", &[N - 1], Dtype::F32);
        let index = g.input("index", &[N], Dtype::U32);
        (g, counters.x, counters.y, short, index)
    };
    let refused = |seeds: &dyn Fn(TensorId, TensorId, TensorId) -> (TensorId, TensorId), why: &str| {
        let (mut g, x, y, short, index) = build();
        let error = g.backward(&[seeds(y, short, index)], &[x]).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        let (mut g, x, y, short, index) = build();
        let (of, gradient) = seeds(y, short, index);
        g.provide_grad(of, gradient);
        assert!(g.backward(&[], &[x]).unwrap_err().to_string().contains(why));
    };
    refused(&|y, short, _| (y, short), "is F32 [100]; short is F32 [99]");
    refused(&|y, _, index| (y, index), "is F32 [100]; index is U32 [100]");
    let far = TensorId(1000);
    refused(&|y, _, _| (y, far), "is not a tensor of this graph");
    refused(&|_, short, _| (far, short), "not for a tensor of this graph");
    let (mut g, _, y, ..) = build();
    let seed = g.input("seed", &[N], Dtype::F32);
    let error = g.backward(&[(y, seed)], &[far]).unwrap_err();
    assert!(error.to_string().contains("no gradient reaches"), "{error}");
}

/// Rows of a weight as matrices of their own: what they multiply and their gradients are those of the whole.
#[test]
fn products_with_rows_of_a_weight_are_columns_of_the_whole() {
    const ROWS: usize = 5;
    const INP: usize = 64;
    const PARTS: [usize; 2] = [2, 3];
    let out = PARTS.iter().sum();
    let product = |g: &mut Graph, x, w, out| {
        let op = Linear {
            rows: ROWS,
            inp: INP,
            out,
            bias: false,
        };
        g.call(op, &[x, w]).unwrap()[0]
    };
    let run = |apart: bool| {
        let mut g = Graph::new();
        let x = g.input("x", &[ROWS, INP], Dtype::F32);
        let w = g.weight("w", &[out, INP], Init::Uniform(0.1));
        let ys = match apart {
            true => {
                let first = g.weight_rows(w, 0, PARTS[0]).unwrap();
                let second = g.weight_rows(w, PARTS[0], PARTS[1]).unwrap();
                vec![
                    product(&mut g, x, first, PARTS[0]),
                    product(&mut g, x, second, PARTS[1]),
                ]
            }
            false => vec![product(&mut g, x, w, out)],
        };
        let seeds: Vec<(TensorId, TensorId)> = ys
            .iter()
            .map(|&y| (y, g.input("seed", &g.tensor(y).shape.clone(), Dtype::F32)))
            .collect();
        let grad_x = g.backward(&seeds, &[x]).unwrap()[0];
        let grad_w = g.param_grad(w);
        ys.iter().for_each(|y| g.keep(*y));
        let mut runtime = CpuRuntime::<f64>::new();
        let program = runtime.load(&g).unwrap();
        let numbers = |n: usize, step: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * step).sin()).collect() };
        runtime
            .write(program, x, Data::F32(&numbers(ROWS * INP, 0.7)))
            .unwrap();
        runtime
            .write(program, w, Data::F32(&numbers(out * INP, 0.3)))
            .unwrap();
        // Row t of the whole's gradient is that of the parts, side by side.
        let seed = numbers(ROWS * out, 1.1);
        let mut first = 0;
        for (y, id) in &seeds {
            let width = g.tensor(*y).shape[1];
            let columns: Vec<f32> = seed
                .chunks(out)
                .flat_map(|row| row[first..first + width].to_vec())
                .collect();
            runtime.write(program, *id, Data::F32(&columns)).unwrap();
            first += width;
        }
        runtime.run(program, &StepParams::eval(1)).unwrap();
        let rows_of = |runtime: &mut CpuRuntime<f64>, id| {
            let width = g.tensor(id).shape[1];
            let all = runtime.read(program, id).unwrap();
            all.chunks(width).map(<[f64]>::to_vec).collect::<Vec<_>>()
        };
        let columns: Vec<Vec<Vec<f64>>> = ys.iter().map(|y| rows_of(&mut runtime, *y)).collect();
        let y: Vec<f64> = (0..ROWS)
            .flat_map(|t| columns.iter().flat_map(move |rows| rows[t].clone()))
            .collect();
        let grads = [grad_x, grad_w].map(|id| runtime.read(program, id).unwrap());
        [vec![y], grads.to_vec()].concat()
    };
    for (whole, parts) in run(false).iter().zip(run(true)) {
        assert_eq!(whole.len(), parts.len());
        for (a, b) in whole.iter().zip(parts) {
            assert!((a - b).abs() < 1e-12 && *a != 0.0, "{a}, {b}");
        }
    }
    let mut g = Graph::new();
    let w = g.weight("w", &[4, 63], Init::Constant(0.0));
    assert!(g.weight_rows(w, 1, 3).is_none(), "252 bytes are no legal offset");
}

/// Weights as one matrix are the parameters that they would be apart, and its gradient is theirs.
#[test]
fn weights_as_one_are_the_same_parameters() {
    let init = Init::Uniform(0.1);
    for (precision, bank, aligned) in [
        (Precision::F32, Bank::Param, 64),
        (Precision::Mixed, Bank::Half, 128),
    ] {
        let graph = || {
            let mut g = Graph::with_precision(precision);
            g.param("before", &[3], init);
            g
        };
        let (mut apart, mut one) = (graph(), graph());
        apart.weight("a", &[2, aligned / 2], init);
        apart.weight("b", &[3, aligned / 2], init);
        let both = one.weights_as_one(&[("a", 2), ("b", 3)], aligned / 2, init);
        let described = |g: &Graph| {
            let each = g.params().iter().map(|p| (g.tensor(p.tensor).clone(), p.offset));
            each.collect::<Vec<_>>()
        };
        assert_eq!(described(&one), described(&apart));
        let offset = one.params()[1].offset;
        let grad = one.param_grad(both);
        for (id, bank, dtype) in [(both, bank, bank.dtype()), (grad, Bank::Grad, Dtype::F32)] {
            let info = one.tensor(id);
            assert_eq!(info.shape, [5, aligned / 2], "{precision}");
            assert_eq!((info.role, info.dtype), (Role::Bank(bank, offset), dtype));
        }
        assert_eq!(one.tensor(grad).name, "d a and b");
        // No room between them, but behind them.
        let start = one.weights_as_one(&[("c", 1), ("d", 2)], 3, init);
        let after = one.param("after", &[1], init);
        let places: Vec<usize> = one.params()[3..].iter().map(|p| p.offset).collect();
        let first = places[0];
        assert_eq!(places, [first, first + 3, first + aligned], "{precision}");
        assert_eq!(one.tensor(start).role, Role::Bank(bank, first));
        assert_eq!(one.tensor(after).role, Role::Bank(Bank::Param, first + aligned));
    }
}

#[test]
fn cheap_outputs_are_computed_again_in_mixed_precision() {
    let (b, t) = (64, 400);
    let calls = |precision, channels| {
        let mut g = Graph::with_precision(precision);
        let shape = [b, t, channels];
        let x = g.input("x", &shape, precision.activation());
        let w = g.weight("w", &[channels, channels], Init::Uniform(0.1));
        let taps = g.param("taps", &[channels, 1, 4], Init::Uniform(0.1));
        let product = |g: &mut Graph, x| {
            let op = Linear {
                rows: b * t,
                inp: channels,
                out: channels,
                bias: false,
            };
            g.call(op, &[x, w]).unwrap()[0]
        };
        let conv = ShortConv {
            b,
            t,
            channels,
            bias: false,
        };
        let norm = L2Norm {
            rows: b * t,
            d: channels,
            eps: 1e-6,
            wide: false,
        };
        let before = product(&mut g, x);
        let filtered = g.call(conv, &[before, taps]).unwrap()[0];
        let unit = g.call(norm, &[filtered]).unwrap()[0];
        let y = product(&mut g, unit);
        let seed = g.input("seed", &shape, precision.activation());
        let forward = g.calls().len();
        g.backward(&[(y, seed)], &[x]).unwrap();
        let last_read = |id| {
            let mut calls = g.calls().iter();
            calls
                .rposition(|call| call.reads().any(|read| read == id))
                .unwrap()
        };
        let kept = [before, filtered, unit].map(|id| last_read(id) >= forward);
        let names: Vec<(&str, Pass)> = g.calls().iter().map(|call| (call.op.name(), call.pass)).collect();
        (kept, names[forward..].to_vec())
    };
    use Pass::{Backward, Forward};
    let rest = [
        ("linear", Backward),
        ("l2_norm", Backward),
        ("short_conv", Backward),
        ("linear", Backward),
    ];
    assert_eq!(calls(Precision::F32, 1024), ([true, false, true], rest.to_vec()));
    // 13 MB: not worth a launch.
    assert_eq!(calls(Precision::Mixed, 256), ([true, false, true], rest.to_vec()));
    let again = [("short_conv", Forward), ("l2_norm", Forward)];
    assert_eq!(
        calls(Precision::Mixed, 1024),
        ([true, false, false], [&again[..], &rest].concat())
    );
}
