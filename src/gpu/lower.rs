//! Turns the calls of a graph into dispatches over symbolic places, before anything is allocated.

use super::adapter::Caps;
use super::shader::{Kernel, Value};
use crate::graph::Graph;
use crate::ops::Pass;
use crate::tensor::{Dtype, TensorId};
use std::collections::HashMap;

/// What a view looks into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// Memory of one call, 32-bit words.
    Scratch(usize),
    /// The words that are zero when a run begins: running maxima and such.
    Slots,
}

/// A range of elements of a tensor, of scratch memory or of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// Into what.
    pub source: Source,
    /// First element.
    pub offset: usize,
    /// Elements.
    pub len: usize,
    /// Storage type.
    pub dtype: Dtype,
}

impl View {
    /// A part. `offset` must land on a multiple of 256 bytes (any binding's alignment).
    pub fn part(self, offset: usize, len: usize) -> Self {
        assert!(offset + len <= self.len, "a part lies inside its view");
        Self {
            offset: self.offset + offset,
            len,
            ..self
        }
    }
}

/// A view that a call writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuOut {
    /// Where to.
    pub view: View,
    /// Add to what is there instead of replacing it.
    pub accumulate: bool,
}

/// One launch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The call that it belongs to.
    pub call: usize,
    /// Shader and constants.
    pub kernel: Kernel,
    /// Storage bindings, in order.
    pub bindings: Vec<View>,
    /// Bytes of the `params` uniform; empty if the kernel has none.
    pub params: Vec<u8>,
    /// Workgroups.
    pub grid: [u32; 3],
}

/// A graph as dispatches.
pub struct Lowered {
    /// In execution order.
    pub dispatches: Vec<Dispatch>,
    /// Scratch: words, and the call that uses them.
    pub scratch: Vec<(usize, usize)>,
    /// Words of zero-initialised slots.
    pub slots: usize,
}

/// Handed to the ops' `gpu_fwd` and `gpu_bwd`.
pub struct Lower<'a> {
    caps: &'a Caps,
    call: usize,
    out: Lowered,
    /// Slot of a quantity of a view (its largest magnitude), as long as nobody writes the tensor again.
    memo: HashMap<(&'static str, View), View>,
}

impl<'a> Lower<'a> {
    /// Lowers a whole graph.
    pub fn graph(graph: &Graph, caps: &'a Caps) -> Lowered {
        let mut l = Lower {
            caps,
            call: 0,
            out: Lowered {
                dispatches: Vec::new(),
                scratch: Vec::new(),
                slots: 0,
            },
            memo: HashMap::new(),
        };
        let view = |id: TensorId| {
            let info = graph.tensor(id);
            View {
                source: Source::Tensor(id),
                offset: 0,
                len: info.numel(),
                dtype: info.dtype,
            }
        };
        for (i, call) in graph.calls().iter().enumerate() {
            l.call = i;
            let ins: Vec<Option<View>> = call.ins.iter().map(|id| id.map(view)).collect();
            let outs: Vec<Option<GpuOut>> = call
                .outs
                .iter()
                .map(|o| {
                    o.map(|o| GpuOut {
                        view: view(o.tensor),
                        accumulate: o.accumulate,
                    })
                })
                .collect();
            match call.pass {
                Pass::Forward => {
                    let all = "forward calls have all inputs and outputs";
                    let ins: Vec<View> = ins.into_iter().map(|v| v.expect(all)).collect();
                    let outs: Vec<GpuOut> = outs.into_iter().map(|v| v.expect(all)).collect();
                    call.op.gpu_fwd(&mut l, &ins, &outs);
                }
                Pass::Backward => {
                    let (fwd_ins, rest) = ins.split_at(call.op.inputs().len());
                    let (fwd_outs, d_outs) = rest.split_at(call.op.outputs().len());
                    call.op.gpu_bwd(&mut l, fwd_ins, fwd_outs, d_outs, &outs);
                }
            }
            for out in call.outs.iter().flatten() {
                l.memo.retain(|(_, v), _| v.source != Source::Tensor(out.tensor));
            }
            l.memo.retain(|(_, v), _| !matches!(v.source, Source::Scratch(_)));
        }
        l.out
    }

    /// What the adapter can do: ops choose their variant by it.
    pub fn caps(&self) -> &'a Caps {
        self.caps
    }

    /// Words of memory that this call alone uses.
    pub fn scratch(&mut self, words: usize) -> View {
        self.out.scratch.push((words, self.call));
        View {
            source: Source::Scratch(self.out.scratch.len() - 1),
            offset: 0,
            len: words,
            dtype: Dtype::F32,
        }
    }

    /// A slot for a quantity of `of` (one u32 that is 0 when the run begins, aligned for binding), and whether the
    /// caller has to compute it: false if an earlier call did and the tensor has not been written since.
    pub fn memo(&mut self, quantity: &'static str, of: View) -> (View, bool) {
        if let Some(slot) = self.memo.get(&(quantity, of)) {
            return (*slot, false);
        }
        let slot = View {
            source: Source::Slots,
            offset: self.out.slots,
            len: 1,
            dtype: Dtype::U32,
        };
        self.out.slots += 64;
        self.memo.insert((quantity, of), slot);
        (slot, true)
    }

    /// Says that a call has just rewritten a view that it reads again: noted quantities of it no longer hold. (What a
    /// call leaves in its outputs is noted by the engine.)
    pub fn written(&mut self, view: View) {
        self.memo.retain(|(_, v), _| v.source != view.source);
    }

    /// Adds a launch. `bindings` are the storage bindings in the shader's order; `alias t_<binding>` of the shader is
    /// set to each one's storage type. `params` mirrors the shader's `params` uniform; `()` if it has none.
    pub fn run<P: bytemuck::NoUninit>(
        &mut self,
        kernel: Kernel,
        bindings: &[View],
        params: P,
        grid: [u32; 3],
    ) {
        self.out.dispatches.push(Dispatch {
            call: self.call,
            kernel,
            bindings: bindings.to_vec(),
            params: bytemuck::bytes_of(&params).to_vec(),
            grid,
        });
    }
}

impl Dispatch {
    /// The kernel with the storage types of its bindings written in.
    pub fn typed_kernel(&self, binding_names: &[String], has_alias: impl Fn(&str) -> bool) -> Kernel {
        let mut kernel = self.kernel.clone();
        for (name, view) in binding_names.iter().zip(&self.bindings) {
            let alias = format!("t_{name}");
            if view.dtype == Dtype::F16 && has_alias(&alias) {
                kernel.consts.insert(alias, Value::Type("f16"));
            }
        }
        kernel
    }
}
