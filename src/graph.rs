//! A model as a flat list of op calls over named tensors, and its backward pass as more of the same.
//!
//! Model code appends calls; [`Graph::backward`] walks the list from the end and appends each op's backward call.
//! Gradients of activations are written (`=`), those of parameters are added to (`+=`), so that micro-batches sum up.

mod backward;

use crate::error::{Result, UserError};
use crate::ops::Op;
use crate::port::{Operands, Pass, Port, Storage};
use crate::tensor::{BINDING_ALIGN, Bank, Dtype, Precision, Role, TensorId, TensorInfo, numel};
use std::collections::BTreeMap;

/// What the name of a parameter's f16 copy ends in.
const HALF_COPY: &str = " (f16)";

/// How a parameter starts (models.md 1 and 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// One value everywhere.
    Constant(f64),
    /// Uniform on [-r, r].
    Uniform(f64),
    /// Uniform on [lo, hi]: `log_dt` of S4.
    Between(f64, f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// ln U(lo, hi): `A_log` of the scalar-decay models.
    LogUniform(f64, f64),
    /// ln(j + 1) of the element's index j in rows of this width: `A_log` of Mamba.
    LogIndex(usize),
    /// pi j of the element's index j in rows of this width: `A_imag` of S4.
    PiIndex(usize),
    /// softplus^-1 of max(exp(U(ln 1e-3, ln 1e-1)), 1e-4): `dt_bias`.
    StepBias,
}

/// A trainable tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// The tensor in [`Bank::Param`].
    pub tensor: TensorId,
    /// First element in each bank.
    pub offset: usize,
    /// Initial distribution.
    pub init: Init,
}

/// A tensor that a call writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Where to.
    pub tensor: TensorId,
    /// Add to what is there instead of replacing it.
    pub accumulate: bool,
}

/// One op applied to tensors, forward or backward.
#[derive(Debug, Clone)]
pub struct Call {
    /// The op with its sizes.
    pub op: Op,
    /// Forward or backward.
    pub pass: Pass,
    /// Where in the model, such as `layers.0`.
    pub scope: String,
    /// Tensors read and written, by port.
    pub tensors: Operands<TensorId, Output>,
}

impl Call {
    /// Tensors read.
    pub fn reads(&self) -> impl Iterator<Item = TensorId> {
        self.tensors.all_reads().copied()
    }

    /// Tensors written.
    pub fn writes(&self) -> impl Iterator<Item = TensorId> {
        self.tensors.all_writes().map(|o| o.tensor)
    }

    /// Tensors read or written.
    pub fn touches(&self) -> impl Iterator<Item = TensorId> {
        self.reads().chain(self.writes())
    }
}

/// See the module docs.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    precision: Precision,
    tensors: Vec<TensorInfo>,
    calls: Vec<Call>,
    params: Vec<Param>,
    bank_len: usize,
    scope: Vec<String>,
    /// Gradients that a forward call already computes, by the tensor they belong to.
    ready: BTreeMap<TensorId, TensorId>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph whose activations are stored as a precision says.
    pub fn with_precision(precision: Precision) -> Self {
        Self {
            precision,
            ..Self::default()
        }
    }

    /// How activations are stored.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Every tensor, by id.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// One tensor.
    pub fn tensor(&self, id: TensorId) -> &TensorInfo {
        &self.tensors[id.index()]
    }

    /// The calls in execution order.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The parameters in bank order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Elements of each bank, padding included.
    pub fn bank_len(&self) -> usize {
        self.bank_len
    }

    /// Number of trainable values, padding excluded.
    pub fn param_count(&self) -> usize {
        self.params.iter().map(|p| self.tensor(p.tensor).numel()).sum()
    }

    /// The tensor of that name, newest first.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.tensors.iter().rposition(|t| t.name == name).map(id_of)
    }

    /// Runs `build` with `name` appended to the scope that tensor and call names get.
    pub fn scoped<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.to_owned());
        let out = build(self);
        self.scope.pop();
        out
    }

    fn scoped_name(&self, name: &str) -> String {
        let mut full = self.scope.join(".");
        if !full.is_empty() {
            full.push('.');
        }
        full + name
    }

    fn add(&mut self, name: String, shape: &[usize], dtype: Dtype, role: Role) -> TensorId {
        self.tensors.push(TensorInfo {
            name,
            shape: shape.to_vec(),
            dtype,
            role,
        });
        id_of(self.tensors.len() - 1)
    }

    /// A tensor that the host writes before each run.
    pub fn input(&mut self, name: &str, shape: &[usize], dtype: Dtype) -> TensorId {
        let name = self.scoped_name(name);
        self.add(name, shape, dtype, Role::Input)
    }

    /// A tensor that keeps its values from one run to the next, in f32: zero when the graph is loaded and after
    /// [`Runtime::clear_states`](crate::runtime::Runtime::clear_states), never sharing memory with another tensor.
    /// Calls update it in place; the host may read and write it between runs.
    pub fn state(&mut self, name: &str, shape: &[usize]) -> TensorId {
        let name = self.scoped_name(name);
        self.add(name, shape, Dtype::F32, Role::State)
    }

    /// All states in the order of their declaration; [`TensorInfo`] has name and bytes of each.
    pub fn states(&self) -> impl Iterator<Item = (TensorId, &TensorInfo)> {
        let all = self.tensors.iter().enumerate();
        all.filter(|(_, t)| t.role == Role::State)
            .map(|(i, t)| (id_of(i), t))
    }

    /// A trainable tensor under the current scope.
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> TensorId {
        let tensor = self.param_at_end(name, shape, init);
        let align = BINDING_ALIGN / self.precision.activation().bytes();
        self.bank_len = self
            .bank_len
            .checked_next_multiple_of(align)
            .unwrap_or(usize::MAX);
        tensor
    }

    /// A trainable tensor behind the others, and no room behind it.
    fn param_at_end(&mut self, name: &str, shape: &[usize], init: Init) -> TensorId {
        let name = self.scoped_name(name);
        let offset = self.bank_len;
        let tensor = self.add(name, shape, Dtype::F32, Role::Bank(Bank::Param, offset));
        self.bank_len = self.bank_len.saturating_add(numel(shape));
        self.params.push(Param { tensor, offset, init });
        tensor
    }

    /// As [`Graph::param`], of a matrix for products: in mixed precision its f16 copy, which
    /// [`Graph::round_weights`] fills. Gradients and checkpoints are those of the parameter.
    pub fn weight(&mut self, name: &str, shape: &[usize], init: Init) -> TensorId {
        let param = self.param(name, shape, init);
        let offset = self.params[self.params.len() - 1].offset;
        match self.precision {
            Precision::F32 => param,
            Precision::Mixed => self.half_copy(name, shape, offset),
        }
    }

    fn half_copy(&mut self, name: &str, shape: &[usize], offset: usize) -> TensorId {
        let (name, role) = (self.scoped_name(name), Role::Bank(Bank::Half, offset));
        self.add(name + HALF_COPY, shape, Bank::Half.dtype(), role)
    }

    /// Weights of these names and numbers of rows as one matrix for products, rows of the first before those of the second; its
    /// gradients are theirs. Each is a parameter, but only the first one need begin at a legal binding offset.
    pub fn weights_as_one(&mut self, parts: &[(&str, usize)], width: usize, init: Init) -> TensorId {
        let offset = self.bank_len;
        for (i, (name, rows)) in parts.iter().enumerate() {
            let shape = [*rows, width];
            match i + 1 == parts.len() {
                true => self.param(name, &shape, init),
                false => self.param_at_end(name, &shape, init),
            };
        }
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        let (name, rows) = (names.join(" and "), parts.iter().map(|(_, rows)| rows).sum());
        match self.precision {
            Precision::F32 => {
                let name = self.scoped_name(&name);
                self.add(name, &[rows, width], Dtype::F32, Role::Bank(Bank::Param, offset))
            }
            Precision::Mixed => self.half_copy(&name, &[rows, width], offset),
        }
    }

    /// Rows `first..first + rows` of a parameter or of its copy for products, a row being what one index of the first extent
    /// has; `None` where they do not begin at a legal binding offset. Gradients are those rows of the parameter's.
    pub fn weight_rows(&mut self, weight: TensorId, first: usize, rows: usize) -> Option<TensorId> {
        let TensorInfo {
            name,
            shape,
            dtype,
            role,
        } = self.tensor(weight).clone();
        let (Role::Bank(bank, offset), [all, row @ ..]) = (role, &shape[..]) else {
            unreachable!("a parameter with rows is asked for")
        };
        let width = numel(row);
        assert!(first + rows <= *all, "rows that are there");
        // The gradients' bank is f32, whose elements are no smaller.
        let aligned = (first * width * dtype.bytes()).is_multiple_of(BINDING_ALIGN);
        let role = Role::Bank(bank, offset + first * width);
        let name = format!("{name} [{first}..{}]", first + rows);
        let shape = [&[rows], row].concat();
        aligned.then(|| self.add(name, &shape, dtype, role))
    }

    /// Puts the rounding of all parameters to f16 before the first call, if a call reads a copy. Declare the parameters first.
    ///
    /// # Errors
    /// [`UserError::Shape`] for more parameters than the op takes.
    pub fn round_weights(&mut self) -> Result<()> {
        if !self.touches_bank(Bank::Half) {
            return Ok(());
        }
        let (param, half) = (self.bank(Bank::Param), self.bank(Bank::Half));
        let op = crate::ops::cast::Cast { numel: self.bank_len };
        let out = Output {
            tensor: half,
            accumulate: false,
        };
        self.call_into(op, &[param], &[out])?;
        self.calls.rotate_right(1);
        Ok(())
    }

    /// The banks that running it takes.
    pub fn banks(&self) -> impl Iterator<Item = Bank> {
        let all = Bank::ALL.into_iter();
        all.filter(|bank| match bank.always() {
            true => self.bank_len > 0,
            false => self.touches_bank(*bank),
        })
    }

    /// Stores the inputs that every call takes as activations or weights as the precision says, as if another call had
    /// made them. For graphs of calls whose inputs were declared before the calls were known; before the backward pass.
    pub fn narrow_inputs(&mut self) {
        let dtype = self.precision.activation();
        let mut narrow: BTreeMap<TensorId, bool> = BTreeMap::new();
        for call in &self.calls {
            let ports = call.op.inputs();
            for (port, (_, id)) in ports.iter().zip(&call.tensors.reads) {
                let takes = matches!(port.storage, Storage::Activation | Storage::Weight);
                *narrow.entry(*id).or_insert(true) &= takes;
            }
        }
        for (id, _) in narrow.into_iter().filter(|(_, takes)| *takes) {
            let info = &mut self.tensors[id.index()];
            if info.role == Role::Input && info.dtype == Dtype::F32 {
                info.dtype = dtype;
            }
        }
    }

    /// Whether a call reads or writes anything of a bank.
    fn touches_bank(&self, bank: Bank) -> bool {
        let in_bank = |id: TensorId| matches!(self.tensor(id).role, Role::Bank(of, _) if of == bank);
        self.calls.iter().any(|call| call.touches().any(in_bank))
    }

    /// A whole bank as one tensor, for ops over all parameters. Declare the parameters first.
    pub fn bank(&mut self, bank: Bank) -> TensorId {
        let len = bank.elements(self.bank_len);
        self.add(
            format!("{bank:?}").to_lowercase(),
            &[len],
            bank.dtype(),
            Role::Bank(bank, 0),
        )
    }

    /// Declares banks of a given length without naming their parameters: the optimiser's own graph.
    pub fn set_bank_len(&mut self, len: usize) {
        self.bank_len = len;
    }

    /// Keeps a tensor until the host has read it.
    pub fn keep(&mut self, id: TensorId) {
        let role = &mut self.tensors[id.index()].role;
        if *role == Role::Activation {
            *role = Role::Result;
        }
    }

    /// Appends a forward call and returns its outputs, in the op's port order. Each state of the op gets a tensor of its
    /// own (see [`Graph::state`]).
    ///
    /// # Errors
    /// [`UserError::Shape`] for sizes that the op does not have, [`UserError::Operands`] for inputs whose number, size or
    /// type does not fit.
    pub fn call(&mut self, op: impl Into<Op>, ins: &[TensorId]) -> Result<Vec<TensorId>> {
        let op = op.into();
        op.validate()?;
        let reads = self.named(&op, &op.inputs(), ins)?;
        let precision = self.precision;
        let writes: Vec<(&'static str, Output)> = op
            .outputs()
            .iter()
            .map(|p| {
                let name = format!("{}.{}", op.name(), p.name);
                let tensor = match p.state {
                    true => self.state(&name, &p.shape),
                    false => self.activation(&name, &p.shape, p.storage.dtype(precision)),
                };
                let accumulate = p.state;
                (p.name, Output { tensor, accumulate })
            })
            .collect();
        let outs = writes.iter().map(|(_, o)| o.tensor).collect();
        self.push(op, Pass::Forward, Operands::forward(&reads, &writes));
        Ok(outs)
    }

    /// Appends a call that writes (or adds to) tensors that exist already, one for each of the first output ports:
    /// optimiser ops, and losses that compute gradients on their way forward.
    ///
    /// # Errors
    /// As [`Graph::call`], for the outputs too.
    pub fn call_into(&mut self, op: impl Into<Op>, ins: &[TensorId], outs: &[Output]) -> Result<()> {
        let op = op.into();
        op.validate()?;
        let reads = self.named(&op, &op.inputs(), ins)?;
        let written: Vec<TensorId> = outs.iter().map(|o| o.tensor).collect();
        let named = self.named(&op, &op.outputs(), &written)?;
        let writes: Vec<(&'static str, Output)> = named
            .into_iter()
            .zip(outs)
            .map(|((name, _), out)| (name, *out))
            .collect();
        self.push(op, Pass::Forward, Operands::forward(&reads, &writes));
        Ok(())
    }

    fn push(&mut self, op: Op, pass: Pass, tensors: Operands<TensorId, Output>) {
        let scope = self.scope.join(".");
        self.calls.push(Call {
            op,
            pass,
            scope,
            tensors,
        });
    }

    /// Tensors under the names of their ports. Refuses those that are not the graph's, or not what the ports are: kernels
    /// index by the ports' sizes.
    fn named(&self, op: &Op, ports: &[Port], tensors: &[TensorId]) -> Result<Vec<(&'static str, TensorId)>> {
        if ports.len() != tensors.len() {
            let reason = format!("{} tensors, {} given", ports.len(), tensors.len());
            return Err(misfit(op.name(), reason));
        }
        let named = ports.iter().zip(tensors);
        named
            .map(|(port, id)| {
                self.check_tensor(op.name(), port.name, &port.shape, port.storage, *id)?;
                Ok((port.name, *id))
            })
            .collect()
    }

    fn check_tensor(
        &self,
        op: &'static str,
        name: &str,
        shape: &[usize],
        storage: Storage,
        id: TensorId,
    ) -> Result<()> {
        let Some(found) = self.tensors.get(id.index()) else {
            return Err(misfit(op, format!("{name} is not a tensor of this graph")));
        };
        if found.numel() == numel(shape) && storage.takes(found.dtype) {
            return Ok(());
        }
        let found = format!("{} is {:?} {:?}", found.name, found.dtype, found.shape);
        let dtype = storage.dtype(self.precision);
        let reason = format!("{name} is {dtype:?} {shape:?}; {found}");
        Err(misfit(op, reason))
    }

    /// A fresh activation, for [`Graph::call_into`].
    pub fn activation(&mut self, name: &str, shape: &[usize], dtype: Dtype) -> TensorId {
        let name = self.scoped_name(name);
        self.add(name, shape, dtype, Role::Activation)
    }

    /// The gradient tensor of a parameter or its f16 copy (a part of [`Bank::Grad`]).
    pub fn param_grad(&mut self, param: TensorId) -> TensorId {
        let Role::Bank(Bank::Param | Bank::Half, offset) = self.tensor(param).role else {
            unreachable!("only parameters are asked for")
        };
        let TensorInfo { name, shape, .. } = self.tensor(param).clone();
        let name = name.strip_suffix(HALF_COPY).unwrap_or(&name);
        let role = Role::Bank(Bank::Grad, offset);
        self.add(format!("d {name}"), &shape, Dtype::F32, role)
    }
}

fn id_of(index: usize) -> TensorId {
    TensorId(u32::try_from(index).expect("a graph has fewer than 2^32 tensors"))
}

fn misfit(op: &'static str, reason: String) -> crate::error::Error {
    UserError::Operands { op, reason }.into()
}

#[cfg(test)]
mod tests;
