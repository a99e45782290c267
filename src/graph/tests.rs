use super::*;
use crate::cpu::CpuRuntime;
use crate::ops::add::Add;
use crate::ops::pointwise::{Function, Pointwise};
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
