//! What an op's `gpu.rs` is made of: views of symbolic places, and the launches that read and write them.

use crate::port::{OpDef, Operands, Pass, named};
use crate::shader::{Element, Kernel, Reflection, ShaderError, Value, reflection};
use crate::tensor::{BINDING_ALIGN, Dtype, Precision, TensorId};
use crate::variant::Variant;
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

mod parts;

pub(crate) use self::parts::Sequences;

/// [`Caps::scratch_bytes`] of all adapters: more than a layer of Gated DeltaNet takes at the paper's size.
pub(crate) const SCRATCH_BYTES: u64 = 1 << 30;

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
    /// 64-bit integers in shaders.
    pub int64: bool,
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
    /// Memory of its own, in bytes, where the driver tells.
    pub memory_bytes: Option<u64>,
    /// Storage bindings of one stage.
    pub storage_bindings: u32,
    /// Scratch memory beyond which a call runs by parts of its sequences, if it can, in bytes.
    pub scratch_bytes: u64,
}

impl Caps {
    /// How activations can be stored.
    pub fn precisions(&self) -> &'static [Precision] {
        match self.f16 {
            true => &[Precision::F32, Precision::Mixed],
            false => &[Precision::F32],
        }
    }

    /// The limits that WebGPU guarantees: every op has a variant that runs within them.
    pub fn webgpu_default() -> Self {
        Self {
            adapter: "WebGPU default limits".to_owned(),
            software: false,
            coop: false,
            f16: false,
            int64: false,
            subgroups: false,
            subgroup_min: 4,
            subgroup_max: 128,
            workgroup_bytes: 16_384,
            workgroup_threads: 256,
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            memory_bytes: None,
            storage_bindings: 8,
            scratch_bytes: SCRATCH_BYTES,
        }
    }

    /// Whether it has what a variant needs.
    pub fn offers(&self, variant: &Variant) -> bool {
        let needs = &variant.needs;
        (self.coop || !needs.coop)
            && (self.int64 || !needs.int64)
            && (needs.subgroup == 0 || self.subgroups && self.subgroup_min >= needs.subgroup)
            && self.workgroup_bytes >= needs.workgroup_bytes
            && self.workgroup_threads >= needs.workgroup_threads
            && self.storage_bindings >= needs.storage_bindings
    }
}

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

impl GpuOut {
    /// A view that is replaced.
    pub fn new(view: View) -> Self {
        let accumulate = false;
        Self { view, accumulate }
    }
}

/// A view under the name of the binding that it goes to.
pub type Bound = (&'static str, View);

/// The tensors of a call as views of device memory.
///
/// # Panics
/// For names of no port: an op knows its own.
pub type Views = Operands<View, GpuOut>;

impl Views {
    /// An input, or an output that backward reads.
    pub fn read(&self, name: &str) -> View {
        self.read_if(name)
            .unwrap_or_else(|| panic!("no port that this call reads is called {name}"))
    }

    /// As [`Views::read`], of a port that may not be there.
    pub fn read_if(&self, name: &str) -> Option<View> {
        named(&self.reads, name).copied()
    }

    /// The gradient of an output.
    pub fn grad(&self, name: &str) -> View {
        *named(&self.grads, name).unwrap_or_else(|| panic!("{name} has no gradient here"))
    }

    /// An output, and whether to add to it.
    pub fn out(&self, name: &str) -> GpuOut {
        self.out_if(name)
            .unwrap_or_else(|| panic!("no output is called {name}"))
    }

    /// As [`Views::out`], of a port that may not be there.
    pub fn out_if(&self, name: &str) -> Option<GpuOut> {
        named(&self.writes, name).copied()
    }

    /// An output that is replaced or updated in place.
    pub fn write(&self, name: &str) -> View {
        self.out(name).view
    }

    /// Where the gradient of an input goes, if somebody wants it.
    pub fn wanted(&self, name: &str) -> Option<GpuOut> {
        named(&self.wanted, name).copied()
    }
}

/// One launch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The call that it belongs to.
    pub call: usize,
    /// Shader, constants and storage types.
    pub kernel: Kernel,
    /// Storage bindings by their names in the shader.
    pub bindings: Vec<Bound>,
    /// Bytes of the `params` uniform; empty if the kernel has none.
    pub params: Vec<u8>,
    /// Workgroups.
    pub grid: [u32; 3],
}

impl Dispatch {
    /// Whether it writes to any of a tensor, as its text says.
    ///
    /// # Errors
    /// [`ShaderError`] if the kernel's text is not valid.
    pub fn writes(&self, source: Source) -> Result<bool, ShaderError> {
        let mut bound = self
            .bindings
            .iter()
            .filter(|(_, view)| view.source == source)
            .peekable();
        if bound.peek().is_none() {
            return Ok(false);
        }
        let reflection = reflection(&self.kernel)?;
        Ok(bound.any(|(name, _)| reflection.storage(name).is_some_and(|b| b.written)))
    }

    /// Holds the bindings against what the kernel's text declares: the same names, and the storage type of each view.
    ///
    /// # Errors
    /// [`ShaderError`] that names kernel and binding.
    pub fn check(&self) -> Result<Arc<Reflection>, ShaderError> {
        let found = reflection(&self.kernel)?;
        let wrong = |name: &str, what: String| {
            Err(ShaderError {
                file: self.kernel.key(),
                line: 0,
                message: format!("binding `{name}` {what}"),
            })
        };
        for (i, (name, view)) in self.bindings.iter().enumerate() {
            let Some(declared) = found.storage(name) else {
                return wrong(name, "is not declared".to_owned());
            };
            if self.bindings[..i].iter().any(|(other, _)| other == name) {
                return wrong(name, "is bound twice".to_owned());
            }
            let fits = match (view.source, view.dtype) {
                (_, Dtype::F16) => declared.element == Element::F16,
                // Scratch memory is words: what they hold is between two kernels.
                (Source::Scratch(_), _) => declared.element != Element::F16,
                (_, Dtype::F32) => declared.element == Element::F32,
                (_, Dtype::U32) => declared.element == Element::U32,
            };
            if !fits {
                return wrong(
                    name,
                    format!(
                        "has elements of {:?}, the view {:?}",
                        declared.element, view.dtype
                    ),
                );
            }
        }
        for declared in found.bindings.iter().filter(|b| !b.uniform) {
            if !self.bindings.iter().any(|(name, _)| *name == declared.name) {
                return wrong(&declared.name, "gets no view".to_owned());
            }
        }
        Ok(found)
    }
}

/// Memory that no tensor has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scratch {
    /// 32-bit words.
    pub words: usize,
    /// The calls from the first to the last that use it: one, but where calls share a launch.
    pub calls: RangeInclusive<usize>,
}

/// A graph as dispatches.
#[derive(Debug, Clone, Default)]
pub struct Lowered {
    /// In execution order.
    pub dispatches: Vec<Dispatch>,
    /// The variant of each call, by its name.
    pub variants: Vec<&'static str>,
    /// Scratch memory.
    pub scratch: Vec<Scratch>,
    /// Bytes of tensors that a variant keeps in its own form ([`Lower::saved_f16`]).
    pub rooms: HashMap<TensorId, usize>,
    /// Words of zero-initialised slots.
    pub slots: usize,
    /// Tensors that lie one behind another ([`Lower::joined`]).
    pub joined: Vec<Vec<TensorId>>,
}

impl Lowered {
    /// The tensors that a tensor lies in one row with, if it does.
    fn group_of(&self, id: TensorId) -> Option<&[TensorId]> {
        let group = self.joined.iter().find(|group| group.contains(&id))?;
        Some(group)
    }

    /// The tensors that a view which begins at `id` is of: those of a group where it is longer than the first.
    pub fn tensors_of(&self, id: TensorId, longer: bool) -> Vec<TensorId> {
        match self.group_of(id) {
            Some(group) if longer => group.to_vec(),
            _ => vec![id],
        }
    }
}

/// Handed to the ops' `gpu_fwd` and `gpu_bwd`.
pub struct Lower<'a> {
    caps: &'a Caps,
    precision: Precision,
    call: usize,
    variant: &'static Variant,
    out: Lowered,
    /// Scratch that is handed out again before there is more.
    again: Range<usize>,
    /// Slot of a quantity of a view (its largest magnitude), and how many launches there were before it.
    memo: HashMap<(&'static str, View), (View, usize)>,
}

impl<'a> Lower<'a> {
    /// Nothing yet, of a graph whose activations are stored so.
    pub fn new(caps: &'a Caps, precision: Precision) -> Self {
        Lower {
            caps,
            precision,
            call: 0,
            variant: &Variant::PLAIN,
            out: Lowered::default(),
            again: 0..0,
            memo: HashMap::new(),
        }
    }

    /// Begins the launches of a call of the graph, which are those of a variant.
    pub fn begin(&mut self, call: usize, variant: &'static Variant) {
        self.call = call;
        self.variant = variant;
        self.out.variants.push(variant.name);
    }

    /// All launches.
    pub fn finish(self) -> Lowered {
        self.out
    }

    /// The variant of this call.
    pub fn variant(&self) -> &'static Variant {
        self.variant
    }

    /// Whether activations are f16.
    pub fn mixed(&self) -> bool {
        self.precision == Precision::Mixed
    }

    /// What the adapter can do.
    pub fn caps(&self) -> &'a Caps {
        self.caps
    }

    /// Words of memory that this call alone uses.
    pub fn scratch(&mut self, words: usize) -> View {
        let i = self.again.next().unwrap_or(self.out.scratch.len());
        if i == self.out.scratch.len() {
            let calls = self.call..=self.call;
            self.out.scratch.push(Scratch { words: 0, calls });
        }
        let room = &mut self.out.scratch[i].words;
        *room = words.max(*room);
        View {
            source: Source::Scratch(i),
            offset: 0,
            len: words,
            dtype: Dtype::F32,
        }
    }

    /// As [`Lower::scratch`], for so many f16.
    pub fn scratch_f16(&mut self, len: usize) -> View {
        let dtype = Dtype::F16;
        View {
            len,
            dtype,
            ..self.scratch(len.div_ceil(2))
        }
    }

    /// As [`Lower::scratch`], for so many elements of a storage type.
    pub fn scratch_of(&mut self, dtype: Dtype, len: usize) -> View {
        match dtype {
            Dtype::F16 => self.scratch_f16(len),
            _ => self.scratch(len),
        }
    }

    /// A tensor that a variant saves for its own backward pass, and nobody else reads, as `len` f16: so much memory it gets. Both
    /// passes have to say the same.
    pub fn saved_f16(&mut self, tensor: View, len: usize) -> View {
        if let Source::Tensor(id) = tensor.source {
            self.out.rooms.insert(id, Dtype::F16.bytes() * len);
        }
        View {
            len,
            dtype: Dtype::F16,
            ..tensor
        }
    }

    /// A slot for a quantity of `of` (one u32 that is 0 when the run begins, aligned for binding), and whether the
    /// caller has to compute it: false if an earlier launch did and none has written the tensor since.
    pub fn memo(&mut self, quantity: &'static str, of: View) -> (View, bool) {
        if let Some(&(slot, since)) = self.memo.get(&(quantity, of)) {
            let later = &self.out.dispatches[since..];
            let as_one = match of.source {
                Source::Tensor(id) => self.out.group_of(id).map_or(of.source, |g| Source::Tensor(g[0])),
                _ => of.source,
            };
            // A kernel that is not valid fails when it is compiled.
            let writes = |d: &Dispatch, source| d.writes(source).unwrap_or(true);
            if !later.iter().any(|d| writes(d, of.source) || writes(d, as_one)) {
                return (slot, false);
            }
        }
        let slot = View {
            source: Source::Slots,
            offset: self.out.slots,
            len: 1,
            dtype: Dtype::U32,
        };
        self.out.slots += 64;
        self.memo
            .insert((quantity, of), (slot, self.out.dispatches.len()));
        (slot, true)
    }

    /// Says that a quantity of a view is in a slot: what [`Lower::memo`] finds from now on.
    pub fn know(&mut self, quantity: &'static str, of: View, slot: View) {
        self.memo
            .insert((quantity, of), (slot, self.out.dispatches.len()));
    }

    /// Views of whole tensors as one view in which they lie one behind another, in this order. `None` where they cannot: one is
    /// part of another such view, one before others ends between two legal binding offsets, or all are more than can be bound.
    pub fn joined(&mut self, views: &[View]) -> Option<View> {
        let ids: Vec<TensorId> = views
            .iter()
            .filter_map(|view| match view.source {
                Source::Tensor(id) if view.offset == 0 => Some(id),
                _ => None,
            })
            .collect();
        let first = *views.first()?;
        let len = views.iter().map(|view| view.len).sum();
        let bytes = |len: usize| len * first.dtype.bytes();
        let last = views.len() - 1;
        let alike = |(i, view): (usize, &View)| {
            view.dtype == first.dtype && (i == last || bytes(view.len).is_multiple_of(BINDING_ALIGN))
        };
        let taken = |(i, id): (usize, &TensorId)| {
            ids[..i].contains(id) || self.out.joined.iter().any(|group| group.contains(id))
        };
        let fits = ids.len() == views.len()
            && views.iter().enumerate().all(alike)
            && bytes(len) as u64 <= self.caps.binding_bytes
            && !ids.iter().enumerate().any(taken);
        fits.then(|| {
            self.out.joined.push(ids);
            View { len, ..first }
        })
    }

    /// Adds a launch. `bindings` are the storage bindings by their names in the shader; `alias t_<name>` is set to f16 where
    /// the view is. `params` mirrors the shader's `params` uniform; `()` if it has none. A shader with a constant `COOP` or `INT64`
    /// gets it as the variant says, unless the op has set it; in mixed precision one with a constant `SPLIT` that the op has not
    /// set does without the low halves of its operands.
    pub fn run<P: bytemuck::NoUninit>(
        &mut self,
        kernel: Kernel,
        bindings: &[Bound],
        params: P,
        grid: [u32; 3],
    ) {
        let Variant {
            needs, without_coop, ..
        } = self.variant;
        let may = kernel.declares("COOP") && !kernel.sets("COOP");
        let coop = needs.coop && may && !without_coop.contains(&kernel.path);
        let kernel = if coop { kernel.set("COOP", true) } else { kernel };
        let kernel = match needs.int64 && kernel.declares("INT64") {
            true => kernel.set("INT64", true),
            false => kernel,
        };
        let single = self.mixed() && kernel.declares("SPLIT") && !kernel.sets("SPLIT");
        let kernel = if single {
            kernel.set("SPLIT", false)
        } else {
            kernel
        };
        let narrow = bindings.iter().filter(|(_, view)| view.dtype == Dtype::F16);
        let kernel = narrow.fold(kernel, |kernel, (name, _)| {
            kernel.set(&format!("t_{name}"), Value::Type("f16"))
        });
        self.out.dispatches.push(Dispatch {
            call: self.call,
            kernel,
            bindings: bindings.to_vec(),
            params: bytemuck::bytes_of(&params).to_vec(),
            grid,
        });
    }
}

/// An op's kernels (`gpu.rs`): which ones, in which order, with which grid.
pub trait GpuOp: OpDef {
    /// Its variants, best first; the last runs within WebGPU's default limits.
    const VARIANTS: &'static [Variant] = &[Variant::PLAIN];

    /// Whether a variant of the list computes a call of this size. The last takes all.
    fn takes(&self, _variant: &Variant, _pass: Pass, _io: &Views) -> bool {
        true
    }

    /// Forward.
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views);

    /// Backward: gradients of the inputs that somebody wants from those of the outputs.
    fn gpu_bwd(&self, _l: &mut Lower<'_>, _io: &Views) {
        unreachable!("no input of {} has a gradient", Self::NAME);
    }
}

/// Two-dimensional grid for `n` workgroups: WebGPU allows 65,535 a dimension. Kernels undo it with
/// `workgroup_index` of `shaders/lib/grid.wgsl` and must ignore the overhang.
pub fn grid_1d(n: usize) -> [u32; 3] {
    const MAX: usize = 32_768;
    let x = n.clamp(1, MAX);
    [x as u32, n.div_ceil(x) as u32, 1]
}
