//! What holds for every shader of the crate.

use super::Caps;
use super::shader::{Kernel, reflect};
use super::shader_names;

/// Every file, with its default constants, expands, parses and is valid; and runs within WebGPU's default limits,
/// unless its name ends in `_coop`: a variant for adapters with cooperative matrices and more workgroup memory.
#[test]
fn every_shader_validates() {
    let limits = Caps::webgpu_default();
    let mut seen = 0;
    for name in shader_names() {
        let kernel = Kernel::new(name);
        let text = kernel.expand().unwrap_or_else(|e| panic!("{e}"));
        let (module, reflection) = reflect(&kernel, &text).unwrap_or_else(|e| panic!("{e}"));
        let (flags, capabilities) = (
            naga::valid::ValidationFlags::all(),
            naga::valid::Capabilities::all(),
        );
        if let Err(e) = naga::valid::Validator::new(flags, capabilities).validate(&module) {
            panic!("{name}: {}", e.emit_to_string(&text));
        }
        let storage = reflection
            .bindings
            .iter()
            .filter(|b| !matches!(b.as_str(), "params" | "step"))
            .count();
        assert!(storage <= 8, "{name}: {storage} storage bindings");
        if !name.ends_with("_coop") {
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
