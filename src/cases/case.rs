//! One op with data: what the checks, the tests and the fixtures run on a device.

use super::deviation::{Deviation, FLOOR, Named, TOLERANCE_F32, TOLERANCE_MIXED};
use super::random::Fill;
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::Op;
use crate::port::{InputGrad, Storage};
use crate::runtime::{Data, Runtime};
use crate::step::StepParams;
use crate::tensor::{Dtype, Precision, TensorId};
use half::f16;

/// Data of one input.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Numbers.
    Real(Vec<f32>),
    /// Integers.
    Int(Vec<u32>),
}

impl From<Vec<f32>> for Values {
    fn from(x: Vec<f32>) -> Self {
        Self::Real(x)
    }
}

impl From<Vec<u32>> for Values {
    fn from(x: Vec<u32>) -> Self {
        Self::Int(x)
    }
}

/// An op with its inputs. The gradients of its outputs are random.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is hostile about it, such as `T65 d16 equal keys`.
    pub name: String,
    /// The op.
    pub op: Op,
    /// One for each input port, then what each state begins with.
    pub inputs: Vec<Values>,
    /// How many of the outputs, from the first, get a gradient and are compared; the others are saved tensors.
    pub outputs: usize,
    /// Allowed errors of single tensors (`d g`), where the quantity itself is ill-conditioned.
    pub allowed: Vec<(&'static str, f64)>,
    /// The step's parameters.
    pub step: StepParams,
    /// Thousands of steps, or kernels of the largest size: too slow for GPU drivers that compute on the CPU, which leave it out.
    pub long: bool,
    /// Its kernels differ in numbers alone (writes a token, length of chunks, width of tiles) from those of cases that run everywhere:
    /// tests leave it out on GPU drivers that compute on the CPU, which take seconds to compile them.
    pub alike: bool,
    /// It proves the variants of its op before a device runs them.
    pub self_test: bool,
    /// The precision that holds all values exactly: in mixed, activations, weights and gradients are rounded to f16.
    pub values: Precision,
}

impl Case {
    /// A case with one output, and the states, and the usual tolerance.
    pub fn new(name: impl Into<String>, op: impl Into<Op>, inputs: Vec<Values>) -> Self {
        let step = StepParams::eval(1);
        let op = op.into();
        let states = op.outputs().iter().filter(|p| p.state).count();
        Self {
            name: name.into(),
            op,
            inputs,
            outputs: 1 + states,
            allowed: Vec::new(),
            step,
            long: false,
            alike: false,
            self_test: false,
            values: Precision::F32,
        }
    }

    /// The case as one that takes GPU drivers on the CPU minutes.
    #[must_use]
    pub fn long(mut self) -> Self {
        self.long = true;
        self
    }

    /// The case, if `alike`, as one whose kernels are like those of others.
    #[must_use]
    pub fn alike_if(mut self, alike: bool) -> Self {
        self.alike = alike;
        self
    }

    /// The case as one that variants have to pass before a device runs them: small, forward and backward.
    #[must_use]
    pub fn self_test(mut self) -> Self {
        self.self_test = true;
        self
    }

    /// The case with activations and weights that f16 holds exactly.
    #[must_use]
    pub fn in_mixed(mut self) -> Self {
        for (port, values) in self.op.inputs().iter().zip(&mut self.inputs) {
            if let (Storage::Activation | Storage::Weight, Values::Real(x)) = (port.storage, values) {
                round(x);
            }
        }
        self.values = Precision::Mixed;
        self
    }

    /// The error allowed for a tensor on a device, in the precision of the values.
    pub fn allowed(&self, tensor: &str) -> f64 {
        match self.values {
            Precision::Mixed => TOLERANCE_MIXED,
            Precision::F32 => self
                .allowed
                .iter()
                .find(|(n, _)| *n == tensor)
                .map_or(TOLERANCE_F32, |(_, a)| *a),
        }
    }

    /// Whether a result is stored as the precision says.
    fn is_activation(&self, tensor: &str) -> bool {
        let (ports, name) = match tensor.strip_prefix("d ") {
            Some(input) => (self.op.inputs(), input),
            None => (self.op.outputs(), tensor),
        };
        let mut named = ports.iter().filter(|port| port.name == name);
        named.any(|port| port.storage == Storage::Activation)
    }

    /// Whether f16 holds the activations and weights of a case in mixed precision and, by what they should be, its results.
    pub fn fits_half(&self, oracle: &Named) -> bool {
        let most = f64::from(f16::MAX);
        let ports = self.op.inputs();
        let mut inputs = ports
            .iter()
            .zip(&self.inputs)
            .filter(|(port, _)| matches!(port.storage, Storage::Activation | Storage::Weight));
        let mut results = oracle.iter().filter(|(name, _)| self.is_activation(name));
        inputs.all(|(_, values)| match values {
            Values::Real(x) => x.iter().all(|x| f64::from(x.abs()) <= most),
            Values::Int(_) => true,
        }) && results.all(|(_, values)| values.iter().all(|x| x.abs() <= most))
    }

    /// The graph that [`Case::run_in`] runs.
    pub fn graph(&self, precision: Precision) -> Result<Graph> {
        Ok(Built::new(self, 1, precision)?.graph)
    }

    /// Outputs and gradients of all inputs that have one, by name. Memory is poisoned before.
    pub fn run(&self, runtime: &mut dyn Runtime) -> Result<Named> {
        self.run_calls(runtime, 1)
    }

    /// As [`Case::run`], with activations stored as a precision says.
    pub fn run_in(&self, precision: Precision, runtime: &mut dyn Runtime) -> Result<Named> {
        Built::new(self, 1, precision)?.run(self, runtime)
    }

    /// As [`Case::run`], with the op applied `calls` times to the same inputs, so that gradients add up.
    pub fn run_calls(&self, runtime: &mut dyn Runtime, calls: usize) -> Result<Named> {
        Built::new(self, calls, Precision::F32)?.run(self, runtime)
    }

    /// Largest relative difference between <gradient, direction> and the central difference of the loss along that
    /// direction, by input; in f64. Directions are random over all elements.
    pub fn finite_differences(&self, runtime: &mut dyn Runtime) -> Result<Vec<(String, f64)>> {
        let mut built = Built::new(self, 1, Precision::F32)?;
        let values = built.run(self, runtime)?;
        let mut grads = values[values.len() - built.gradients..].iter();
        let mut out = Vec::new();
        for (port, (spec, values)) in self.op.inputs().iter().zip(&self.inputs).enumerate() {
            let (Values::Real(x), true) = (values, spec.grad != InputGrad::None) else {
                continue;
            };
            let (name, grad) = grads.next().expect("every input with a gradient is there");
            let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            let mut worst = 0.0f64;
            for direction in 0..3 {
                let v = Fill::new(900 + direction).normal(x.len());
                let h = 1e-5;
                let mut loss = |sign: f64| -> Result<f64> {
                    let moved: Vec<f64> = x
                        .iter()
                        .zip(&v)
                        .map(|(x, v)| x + sign * h * f64::from(*v))
                        .collect();
                    built.loss(self, runtime, port, &moved)
                };
                let numeric = (loss(1.0)? - loss(-1.0)?) / (2.0 * h);
                let exact: f64 = grad.iter().zip(&v).map(|(g, v)| g * f64::from(*v)).sum();
                let size: f64 = grad
                    .iter()
                    .zip(&v)
                    .map(|(g, v)| (g * f64::from(*v)).powi(2))
                    .sum::<f64>()
                    .sqrt();
                worst = worst.max((numeric - exact).abs() / (size + 1e-6));
            }
            out.push((name.clone(), worst));
        }
        Ok(out)
    }
}

/// Compares values of a case with those of the f64 twin.
pub fn compare(case: &Case, got: &Named, oracle: &Named) -> Vec<Deviation> {
    got.iter()
        .zip(oracle)
        .map(|((name, got), (_, want))| {
            Deviation::new(
                name,
                got,
                want,
                FLOOR * (want.len() as f64).sqrt(),
                case.allowed(name),
            )
        })
        .collect()
}

/// A case as a graph that is loaded once per runtime.
struct Built {
    graph: Graph,
    /// And states.
    inputs: Vec<TensorId>,
    seeds: Vec<(TensorId, Vec<f32>)>,
    /// And, last, gradients of the inputs that have one.
    outputs: Vec<(String, TensorId)>,
    gradients: usize,
    program: Option<crate::runtime::Program>,
}

impl Built {
    fn new(case: &Case, calls: usize, precision: Precision) -> Result<Self> {
        let mut graph = Graph::with_precision(precision);
        let ports = case.op.inputs();
        let mut inputs: Vec<TensorId> = ports
            .iter()
            .map(|p| graph.input(p.name, &p.shape, p.storage.dtype(precision)))
            .collect();
        let mut outputs = Vec::new();
        let mut seeds = Vec::new();
        let mut pairs = Vec::new();
        for call in 0..calls {
            let outs = graph.call(case.op.clone(), &inputs)?;
            for (i, (&id, port)) in outs.iter().zip(&case.op.outputs()).enumerate().take(case.outputs) {
                graph.keep(id);
                outputs.push((port.name.to_owned(), id));
                if port.storage != Storage::Index {
                    let dtype = port.storage.dtype(precision);
                    let seed = graph.input(&format!("seed {call} {i}"), &port.shape, dtype);
                    let mut values = Fill::new(500 + 10 * call as u64 + i as u64).normal(port.numel());
                    if case.values == Precision::Mixed && port.storage == Storage::Activation {
                        round(&mut values);
                    }
                    seeds.push((seed, values));
                    pairs.push((id, seed));
                }
            }
        }
        let with_grad: Vec<(String, TensorId)> = ports
            .iter()
            .zip(&inputs)
            .filter(|(p, _)| p.grad != InputGrad::None)
            .map(|(p, id)| (format!("d {}", p.name), *id))
            .collect();
        let gradients = with_grad.len();
        let wrt: Vec<TensorId> = with_grad.iter().map(|(_, id)| *id).collect();
        if !wrt.is_empty() {
            let grads = graph.backward(&pairs, &wrt)?;
            outputs.extend(with_grad.into_iter().zip(grads).map(|((name, _), id)| (name, id)));
        }
        inputs.extend(graph.states().map(|(id, _)| id));
        Ok(Self {
            graph,
            inputs,
            seeds,
            outputs,
            gradients,
            program: None,
        })
    }

    fn write(&mut self, case: &Case, runtime: &mut dyn Runtime) -> Result<crate::runtime::Program> {
        let program = match self.program {
            Some(p) => p,
            None => *self.program.insert(runtime.load(&self.graph)?),
        };
        runtime.poison(program)?;
        for (id, values) in self.inputs.iter().zip(&case.inputs) {
            match values {
                Values::Real(x) => runtime.write(program, *id, Data::F32(x))?,
                Values::Int(x) => runtime.write(program, *id, Data::U32(x))?,
            }
        }
        for (id, values) in &self.seeds {
            runtime.write(program, *id, Data::F32(values))?;
        }
        Ok(program)
    }

    fn run(&mut self, case: &Case, runtime: &mut dyn Runtime) -> Result<Named> {
        let program = self.write(case, runtime)?;
        runtime.run(program, &case.step)?;
        let mut out = Vec::new();
        for (name, id) in &self.outputs {
            let values = match self.graph.tensor(*id).dtype {
                Dtype::U32 => runtime
                    .read_u32(program, *id)?
                    .into_iter()
                    .map(f64::from)
                    .collect(),
                _ => runtime.read(program, *id)?,
            };
            out.push((name.clone(), values));
        }
        Ok(out)
    }

    /// Sum of outputs times their gradients, with one input replaced.
    fn loss(&mut self, case: &Case, runtime: &mut dyn Runtime, port: usize, x: &[f64]) -> Result<f64> {
        let program = self.write(case, runtime)?;
        runtime.write(program, self.inputs[port], Data::F64(x))?;
        runtime.run(program, &case.step)?;
        let mut loss = 0.0;
        let reals = self
            .outputs
            .iter()
            .filter(|(_, id)| self.graph.tensor(*id).dtype != Dtype::U32);
        for ((_, id), (_, seed)) in reals.zip(&self.seeds) {
            let y = runtime.read(program, *id)?;
            loss += y.iter().zip(seed).map(|(y, s)| y * f64::from(*s)).sum::<f64>();
        }
        Ok(loss)
    }
}

/// The nearest values that f16 has.
fn round(x: &mut [f32]) {
    for x in x {
        *x = f16::from_f32(*x).to_f32();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuRuntime;
    use crate::ops::linear::Linear;

    fn product(scale: f32) -> Case {
        let op = Linear {
            rows: 2,
            inp: 3,
            out: 2,
            bias: false,
        };
        let x = vec![scale; 6];
        let w = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        Case::new("", op, vec![x.into(), w.into()]).in_mixed()
    }

    #[test]
    fn mixed_precision_leaves_out_what_no_f16_holds() {
        let fits = |scale: f32| {
            let case = product(scale);
            let oracle = case.run(&mut CpuRuntime::<f64>::new()).unwrap();
            case.fits_half(&oracle)
        };
        assert!(fits(1.0) && fits(6e4) && fits(1e-30));
        assert!(!fits(1e5) && !fits(1e20));
    }
}
