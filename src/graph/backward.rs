//! The backward pass: for each forward call, from the last to the first, the op's backward call.

use super::{Call, Graph, Output, id_of, misfit};
use crate::error::Result;
use crate::port::{InputGrad, Operands, Pass, Port, Storage};
use crate::tensor::{Bank, Dtype, Precision, Role, TensorId, TensorInfo};
use std::collections::{BTreeMap, HashSet};

impl Graph {
    /// Says that `grad`, written by a forward call, is dL/d `of`. [`Graph::backward`] starts from it.
    pub fn provide_grad(&mut self, of: TensorId, grad: TensorId) {
        self.ready.insert(of, grad);
    }

    /// Appends the backward pass. It starts from the given (tensor, gradient) pairs and from those that forward
    /// calls provide, fills the gradient bank, and returns the gradients of the tensors in `wrt`, kept for reading.
    ///
    /// # Errors
    /// [`UserError::Operands`](crate::error::UserError::Operands) if a gradient has another size or type than its tensor,
    /// or none reaches a tensor of `wrt`.
    pub fn backward(&mut self, seeds: &[(TensorId, TensorId)], wrt: &[TensorId]) -> Result<Vec<TensorId>> {
        let mut grad: BTreeMap<TensorId, TensorId> = std::mem::take(&mut self.ready);
        grad.extend(seeds.iter().copied());
        for (&of, &gradient) in &grad {
            let Some(info) = self.tensors.get(of.index()) else {
                return Err(misfit(
                    "graph",
                    "a seed is not for a tensor of this graph".to_owned(),
                ));
            };
            let name = format!("the gradient of {}", info.name);
            self.check_tensor("graph", &name, &info.shape, Storage::Activation, gradient)?;
        }
        let wanted = self.tensors_needing_grad(wrt);
        let forward: Vec<Call> = self
            .calls
            .iter()
            .filter(|c| c.pass == Pass::Forward)
            .cloned()
            .collect();
        let mut again = Again::new(self, &forward);
        for call in forward.into_iter().rev() {
            self.call_backward(&call, &wanted, &mut grad, &mut again)?;
        }
        wrt.iter()
            .map(|id| {
                let g = grad.get(id).copied().ok_or_else(|| {
                    let name = self
                        .tensors
                        .get(id.index())
                        .map_or("what is no tensor of it", |t| &t.name);
                    misfit("graph", format!("no gradient reaches {name}"))
                })?;
                self.keep(g);
                Ok(g)
            })
            .collect()
    }

    fn tensors_needing_grad(&self, wrt: &[TensorId]) -> HashSet<TensorId> {
        let is_param = |t: &TensorInfo| matches!(t.role, Role::Bank(Bank::Param | Bank::Half, _));
        let all = self.tensors.iter().enumerate();
        let params = all.filter(|(_, t)| is_param(t)).map(|(i, _)| id_of(i));
        let mut wanted: HashSet<TensorId> = params.collect();
        wanted.extend(wrt);
        for call in &self.calls {
            if call.reads().any(|id| wanted.contains(&id)) {
                wanted.extend(call.writes());
            }
        }
        wanted
    }

    fn call_backward(
        &mut self,
        call: &Call,
        wanted: &HashSet<TensorId>,
        grad: &mut BTreeMap<TensorId, TensorId>,
        again: &mut Again,
    ) -> Result<()> {
        let grads: Vec<(&'static str, TensorId)> = call
            .tensors
            .writes
            .iter()
            .filter_map(|(name, o)| grad.get(&o.tensor).map(|g| (*name, *g)))
            .collect();
        if grads.is_empty() {
            return Ok(());
        }
        let ports = call.op.inputs();
        let ins: Vec<(&Port, TensorId)> = ports
            .iter()
            .zip(&call.tensors.reads)
            .map(|(port, (_, id))| (port, *id))
            .collect();
        let mut targets = Vec::new();
        let mut sums = Vec::new();
        for (port, id) in &ins {
            if port.grad.has_kernel() && wanted.contains(id) {
                let accumulates = port.grad == InputGrad::Accumulates;
                let dtype = match port.storage {
                    Storage::Weight => Dtype::F32,
                    _ => self.tensor(*id).dtype,
                };
                let target = self.grad_target(*id, dtype, accumulates, grad, &mut sums);
                targets.push((port.name, target));
            }
        }
        if !targets.is_empty() {
            let outputs = call.op.outputs();
            let saved: Vec<&'static str> = ports
                .iter()
                .chain(&outputs)
                .filter(|p| p.saved)
                .map(|p| p.name)
                .collect();
            let outs = call.tensors.writes.iter().map(|(name, o)| (*name, o.tensor));
            let known = call.tensors.reads.iter().copied().chain(outs);
            let reads = known.filter(|(name, _)| saved.contains(name));
            let tensors = Operands {
                reads: reads.map(|(name, id)| (name, again.read(self, id))).collect(),
                grads: grads.clone(),
                wanted: targets,
                ..Operands::default()
            };
            self.calls.push(Call {
                op: call.op.clone(),
                pass: Pass::Backward,
                scope: call.scope.clone(),
                tensors,
            });
        }
        for (sum, part) in sums {
            self.add_into(sum, part)?;
        }
        let passed = ins
            .iter()
            .filter(|(p, id)| p.grad == InputGrad::Passes && wanted.contains(id));
        for (_, id) in passed {
            let (_, dy) = grads[0];
            match grad.get(id) {
                Some(&sum) => self.add_into(sum, dy)?,
                None => {
                    grad.insert(*id, dy);
                }
            }
        }
        Ok(())
    }

    fn grad_target(
        &mut self,
        id: TensorId,
        dtype: Dtype,
        accumulates: bool,
        grad: &mut BTreeMap<TensorId, TensorId>,
        sums: &mut Vec<(TensorId, TensorId)>,
    ) -> Output {
        if let Role::Bank(..) = self.tensor(id).role {
            return Output {
                tensor: self.param_grad(id),
                accumulate: true,
            };
        }
        let info = self.tensor(id).clone();
        match grad.get(&id) {
            Some(&sum) if accumulates => Output {
                tensor: sum,
                accumulate: true,
            },
            Some(&sum) => {
                let part = self.add(
                    format!("d {} (part)", info.name),
                    &info.shape,
                    dtype,
                    Role::Activation,
                );
                sums.push((sum, part));
                Output {
                    tensor: part,
                    accumulate: false,
                }
            }
            None => {
                let tensor = self.add(format!("d {}", info.name), &info.shape, dtype, Role::Activation);
                grad.insert(id, tensor);
                Output {
                    tensor,
                    accumulate: false,
                }
            }
        }
    }

    /// `sum += part`.
    fn add_into(&mut self, sum: TensorId, part: TensorId) -> Result<()> {
        let op = crate::ops::add::Add {
            numel: self.tensor(sum).numel(),
        };
        self.call_into(
            op,
            &[part],
            &[Output {
                tensor: sum,
                accumulate: true,
            }],
        )
    }
}

/// Bytes of an output that is computed again: for fewer a launch takes too long.
const LEAST_AGAIN: usize = 32 << 20;

/// What the backward pass computes again (see [`OpDef::again`](crate::port::OpDef::again)).
struct Again {
    /// The calls that do so, by what they write that has a gradient.
    calls: BTreeMap<TensorId, Call>,
    /// What is there again, by what was there before.
    made: BTreeMap<TensorId, TensorId>,
}

impl Again {
    fn new(graph: &Graph, forward: &[Call]) -> Self {
        let of_call = |call: &Call| {
            let outputs = call.op.outputs().into_iter().zip(&call.tensors.writes);
            let main = outputs.filter(|(port, (_, out))| {
                let info = graph.tensor(out.tensor);
                port.grad != InputGrad::None && info.role == Role::Activation && info.bytes() >= LEAST_AGAIN
            });
            main.map(|(_, (_, out))| (out.tensor, call.clone()))
                .collect::<Vec<_>>()
        };
        let calls = forward.iter().filter(|call| call.op.again());
        Self {
            calls: match graph.precision {
                Precision::F32 => BTreeMap::new(),
                Precision::Mixed => calls.flat_map(of_call).collect(),
            },
            made: BTreeMap::new(),
        }
    }

    /// What a backward call reads for `id`: appends the call that computes it again, if that is due.
    fn read(&mut self, graph: &mut Graph, id: TensorId) -> TensorId {
        if let Some(&made) = self.made.get(&id) {
            return made;
        }
        let Some(mut call) = self.calls.get(&id).cloned() else {
            return id;
        };
        for (_, input) in &mut call.tensors.reads {
            *input = self.read(graph, *input);
        }
        for (_, out) in &mut call.tensors.writes {
            // Statistics stay where they are: they are written once more, as they were.
            if out.tensor == id {
                let TensorInfo {
                    name,
                    shape,
                    dtype,
                    role,
                } = graph.tensor(id).clone();
                out.tensor = graph.add(name, &shape, dtype, role);
                self.made.insert(id, out.tensor);
            }
        }
        graph.calls.push(call);
        self.made[&id]
    }
}
