//! What a kernel's text says about itself, read back with naga.

use super::{Kernel, ShaderError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What the elements of a binding are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// f32, alone, in vectors or in matrices.
    F32,
    /// f16.
    F16,
    /// u32, atomic or not.
    U32,
    /// i32, bool or a structure.
    Other,
}

/// A binding of group 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its name in the text.
    pub name: String,
    /// Its number there.
    pub index: u32,
    /// `params` or `step`; all others are storage.
    pub uniform: bool,
    /// What it is an array of.
    pub element: Element,
    /// The entry point writes to it.
    pub written: bool,
}

/// What a kernel's text says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reflection {
    /// The bindings by their numbers, which may have gaps.
    pub bindings: Vec<Binding>,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Extent of a workgroup.
    pub workgroup_size: [u32; 3],
}

impl Reflection {
    /// The storage binding of that name.
    pub fn storage(&self, name: &str) -> Option<&Binding> {
        self.bindings.iter().find(|b| !b.uniform && b.name == name)
    }

    /// Number of storage bindings.
    pub fn storage_bindings(&self) -> usize {
        self.bindings.iter().filter(|b| !b.uniform).count()
    }
}

/// The reflection of a kernel, made once in a process.
///
/// # Errors
/// [`ShaderError`] if the text cannot be expanded or is not valid WGSL.
pub fn reflection(kernel: &Kernel) -> Result<Arc<Reflection>, ShaderError> {
    static KNOWN: Mutex<BTreeMap<String, Arc<Reflection>>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().expect("nothing panics while holding it");
    let key = kernel.key();
    if let Some(found) = known().get(&key) {
        return Ok(Arc::clone(found));
    }
    let made = Arc::new(reflect(kernel, &kernel.expand()?)?);
    known().insert(key, Arc::clone(&made));
    Ok(made)
}

/// Parses and validates expanded text. The driver's own limits are checked against the result before a pipeline is made:
/// wgpu does not enforce the one on workgroup memory.
fn reflect(kernel: &Kernel, text: &str) -> Result<Reflection, ShaderError> {
    let error = |message: String| ShaderError {
        file: kernel.key(),
        line: 0,
        message,
    };
    let module = naga::front::wgsl::parse_str(text).map_err(|e| error(e.emit_to_string(text)))?;
    let (flags, capabilities) = (
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::all(),
    );
    let info = naga::valid::Validator::new(flags, capabilities)
        .validate(&module)
        .map_err(|e| error(e.emit_to_string(text)))?;
    let found = module.entry_points.iter().position(|e| e.name == kernel.entry());
    let at = found.ok_or_else(|| error(format!("has no entry point {}", kernel.entry())))?;
    let used = info.get_entry_point(at);
    let mut bindings = Vec::new();
    let mut workgroup_bytes = 0;
    let mut layouter = naga::proc::Layouter::default();
    layouter
        .update(module.to_ctx())
        .map_err(|e| error(e.to_string()))?;
    for (handle, var) in module.global_variables.iter() {
        match (var.space, &var.binding) {
            (naga::AddressSpace::WorkGroup, _) => {
                workgroup_bytes += layouter[var.ty].size.next_multiple_of(16);
            }
            (space, Some(binding)) => bindings.push(Binding {
                name: var.name.clone().unwrap_or_default(),
                index: binding.binding,
                uniform: space == naga::AddressSpace::Uniform,
                element: element(&module, var.ty),
                written: used[handle]
                    .intersects(naga::valid::GlobalUse::WRITE | naga::valid::GlobalUse::ATOMIC),
            }),
            _ => {}
        }
    }
    bindings.sort_by_key(|b| b.index);
    Ok(Reflection {
        bindings,
        workgroup_bytes,
        workgroup_size: module.entry_points[at].workgroup_size,
    })
}

/// What an array's elements are made of.
fn element(module: &naga::Module, ty: naga::Handle<naga::Type>) -> Element {
    let scalar = match module.types[ty].inner {
        naga::TypeInner::Array { base, .. } => return element(module, base),
        naga::TypeInner::Scalar(scalar) | naga::TypeInner::Atomic(scalar) => scalar,
        naga::TypeInner::Vector { scalar, .. } | naga::TypeInner::Matrix { scalar, .. } => scalar,
        _ => return Element::Other,
    };
    match (scalar.kind, scalar.width) {
        (naga::ScalarKind::Float, 4) => Element::F32,
        (naga::ScalarKind::Float, 2) => Element::F16,
        (naga::ScalarKind::Uint, 4) => Element::U32,
        _ => Element::Other,
    }
}
