//! What holds for every shader of the crate.

use super::adapter::adapters;
use super::lower::lower;
use super::{Gpu, GpuRuntime, Options};
use crate::error::Room;
use crate::launch::Caps;
use crate::models::{ModelConfig, block};
use crate::runtime::Runtime;
use crate::shader::{Kernel, Value, reflect, shader_names};
use std::collections::BTreeMap;

/// Every file, with its default constants, expands, parses and is valid; and runs within WebGPU's default limits,
/// unless its name ends in `_coop`: a variant for adapters with cooperative matrices, more workgroup memory and bindings.
#[test]
fn every_shader_validates() {
    let limits = Caps::webgpu_default();
    let mut seen = 0;
    for name in shader_names() {
        let kernel = Kernel::new(name);
        let text = kernel.expand().unwrap_or_else(|e| panic!("{e}"));
        let (module, reflection) = reflect(&kernel, &text).unwrap_or_else(|e| panic!("{e}"));
        validate(name, &module, &text);
        let storage = reflection
            .bindings
            .iter()
            .filter(|b| !matches!(b.as_str(), "params" | "step"))
            .count();
        if !name.ends_with("_coop") {
            assert!(storage <= 8, "{name}: {storage} storage bindings");
            let (bytes, threads) = (
                reflection.workgroup_bytes,
                reflection.workgroup_size.iter().product::<u32>(),
            );
            assert!(
                bytes <= limits.workgroup_bytes,
                "{name}: {bytes} B of workgroup memory"
            );
            assert!(threads <= limits.workgroup_threads, "{name}: {threads} threads");
        }
        seen += 1;
    }
    assert!(seen > 0, "no shader is embedded");
}

fn validate(name: &str, module: &naga::Module, text: &str) {
    let (flags, capabilities) = (
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::all(),
    );
    if let Err(e) = naga::valid::Validator::new(flags, capabilities).validate(module) {
        panic!("{name}: {}", e.emit_to_string(text));
    }
}

/// All kernels that the ops' cases launch on an adapter, each with the most bindings and the largest grid seen.
fn launched(caps: &Caps) -> BTreeMap<String, (Kernel, usize, u32)> {
    let mut all = BTreeMap::new();
    for case in crate::ops::cases::cases() {
        for d in lower(&case.graph().unwrap(), caps).dispatches {
            let extent = d.grid.into_iter().max().unwrap();
            let seen = all.entry(d.kernel.key()).or_insert((d.kernel, 0, 0));
            seen.1 = seen.1.max(d.bindings.len());
            seen.2 = seen.2.max(extent);
        }
    }
    all
}

/// Every variant that an adapter with WebGPU's default limits runs keeps within them.
#[test]
fn every_variant_fits_default_limits() {
    let limits = Caps::webgpu_default();
    for (key, (kernel, bindings, extent)) in launched(&limits) {
        let text = kernel.expand().unwrap_or_else(|e| panic!("{e}"));
        let (module, reflection) = reflect(&kernel, &text).unwrap_or_else(|e| panic!("{e}"));
        validate(&key, &module, &text);
        assert!(
            reflection.workgroup_bytes <= limits.workgroup_bytes,
            "{key}: {} B",
            reflection.workgroup_bytes
        );
        assert!(
            reflection.workgroup_size.iter().product::<u32>() <= limits.workgroup_threads,
            "{key}"
        );
        assert!(
            bindings <= limits.storage_bindings as usize,
            "{key}: {bindings} storage bindings"
        );
        assert!(extent <= 65_535, "{key}: a grid of {extent}");
    }
}

/// Every variant for matrix units is valid, and every variant is with activations stored in f16.
#[test]
fn every_variant_validates_in_f32_and_f16() {
    let plain = Caps::webgpu_default();
    let coop = Caps {
        coop: true,
        f16: true,
        workgroup_bytes: 49_152,
        workgroup_threads: 1024,
        storage_bindings: 16,
        ..plain.clone()
    };
    let mut narrowed = 0;
    for (key, (kernel, ..)) in launched(&plain).into_iter().chain(launched(&coop)) {
        let text = kernel.expand().unwrap_or_else(|e| panic!("{e}"));
        let (module, reflection) = reflect(&kernel, &text).unwrap_or_else(|e| panic!("{e}"));
        validate(&key, &module, &text);
        assert!(
            reflection.workgroup_bytes <= coop.workgroup_bytes,
            "{key}: {} B",
            reflection.workgroup_bytes
        );
        let mut narrow = kernel.clone();
        for name in &reflection.bindings {
            let alias = format!("t_{name}");
            if text.contains(&format!("alias {alias} =")) {
                narrow.consts.insert(alias, Value::Type("f16"));
                narrowed += 1;
            }
        }
        let text = narrow.expand().unwrap_or_else(|e| panic!("{e}"));
        let (module, _) = reflect(&narrow, &text).unwrap_or_else(|e| panic!("{e}"));
        validate(&narrow.key(), &module, &text);
    }
    assert!(narrowed > 100, "only {narrowed} bindings can be stored in f16");
}

/// Scratch memory counts: what is larger than a binding is refused by name before anything is allocated, and half the
/// samples fit.
#[test]
fn scratch_beyond_a_binding_is_refused() {
    let model = ModelConfig::new(block("mesa_net").unwrap(), 1, 64, 17, 97);
    for adapter in adapters() {
        let mut gpu = Gpu::open(&adapter, Options::default()).unwrap();
        gpu.caps.binding_bytes = 1 << 20;
        let runtime = GpuRuntime::new(gpu);
        let fits = |b| runtime.fits(&model.eval_net(b, 128, 64).unwrap().graph);
        let refused = (0..10).map(|i| 1 << i).find(|b| fits(*b).is_err()).unwrap();
        let error = fits(refused).unwrap_err();
        assert!(
            error.what.starts_with("scratch memory of mesa_fwd of layers.0"),
            "{error}"
        );
        assert_eq!(error.room, Room::Binding(1 << 20));
        assert!(error.needed > 1 << 20);
        assert!(fits(refused / 2).unwrap() > 0);
    }
}
