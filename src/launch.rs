//! What an op's `gpu.rs` is made of: views of symbolic places, and the launches that read and write them.

use crate::port::OpDef;
use crate::shader::{Kernel, Value};
use crate::tensor::{Dtype, TensorId};
use std::collections::HashMap;

/// What an adapter can do, as far as the choice of kernels depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// The adapter's name.
    pub adapter: String,
    /// The driver computes on the CPU.
    pub software: bool,
    /// f16 x f16 -> f32 cooperative matrices of 16 x 16 x 16, and subgroups of exactly 32 invocations.
    pub coop: bool,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Smallest subgroup.
    pub subgroup_min: u32,
    /// Largest subgroup.
    pub subgroup_max: u32,
    /// Workgroup memory of one workgroup, in bytes.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_threads: u32,
    /// Largest storage binding, in bytes.
    pub binding_bytes: u64,
    /// Largest buffer, in bytes.
    pub buffer_bytes: u64,
    /// Storage bindings of one stage.
    pub storage_bindings: u32,
}

impl Caps {
    /// The limits that WebGPU guarantees: every op has a variant that runs within them.
    pub fn webgpu_default() -> Self {
        Self {
            adapter: "WebGPU default limits".to_owned(),
            software: false,
            coop: false,
            f16: false,
            subgroups: false,
            subgroup_min: 4,
            subgroup_max: 128,
            workgroup_bytes: 16_384,
            workgroup_threads: 256,
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            storage_bindings: 8,
        }
    }
}

/// Workgroup memory that a shader with a constant `COOP` may use.
const COOP_BYTES: u32 = 24_576;

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
#[derive(Debug, Clone, Default)]
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
    /// Nothing yet.
    pub fn new(caps: &'a Caps) -> Self {
        Lower {
            caps,
            call: 0,
            out: Lowered::default(),
            memo: HashMap::new(),
        }
    }

    /// Begins the launches of a call of the graph.
    pub fn begin(&mut self, call: usize) {
        self.call = call;
    }

    /// Ends those of a call that wrote these tensors: what was noted of them, and of its scratch memory, no longer holds.
    pub fn end(&mut self, written: impl Iterator<Item = TensorId>) {
        for tensor in written {
            self.memo.retain(|(_, v), _| v.source != Source::Tensor(tensor));
        }
        self.memo
            .retain(|(_, v), _| !matches!(v.source, Source::Scratch(_)));
    }

    /// All launches.
    pub fn finish(self) -> Lowered {
        self.out
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
    /// set to each one's storage type. `params` mirrors the shader's `params` uniform; `()` if it has none. A shader with
    /// a constant `COOP` gets it where the adapter has matrix units and the op has not set it.
    pub fn run<P: bytemuck::NoUninit>(
        &mut self,
        kernel: Kernel,
        bindings: &[View],
        params: P,
        grid: [u32; 3],
    ) {
        let coop = self.caps.coop
            && self.caps.workgroup_bytes >= COOP_BYTES
            && !kernel.consts.contains_key("COOP")
            && kernel.declares("COOP");
        let kernel = if coop { kernel.set("COOP", true) } else { kernel };
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

/// An op's kernels (`gpu.rs`): which ones, in which order, with which grid.
pub trait GpuOp: OpDef {
    /// Forward.
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]);

    /// Backward; positions as in [`CpuOp::cpu_bwd`](crate::twin::CpuOp::cpu_bwd).
    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    );
}

/// Two-dimensional grid for `n` workgroups: WebGPU allows 65,535 a dimension. Kernels undo it with
/// `workgroup_index` of `shaders/lib/grid.wgsl` and must ignore the overhang.
pub fn grid_1d(n: usize) -> [u32; 3] {
    const MAX: usize = 32_768;
    let x = n.clamp(1, MAX);
    [x as u32, n.div_ceil(x) as u32, 1]
}
