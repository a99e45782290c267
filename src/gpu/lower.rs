//! Turns the calls of a graph into dispatches over symbolic places, before anything is allocated.

use crate::graph::Graph;
use crate::launch::{Caps, GpuOut, Lower, Lowered, Source, View, Views};
use crate::port::Pass;
use crate::shader::ShaderError;
use crate::tensor::TensorId;

/// Lowers a whole graph.
pub fn lower(graph: &Graph, caps: &Caps) -> Lowered {
    let mut l = Lower::new(caps);
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
        l.begin(i);
        let views: Views = call.tensors.map(
            |id| view(*id),
            |out| GpuOut {
                view: view(out.tensor),
                accumulate: out.accumulate,
            },
        );
        match call.pass {
            Pass::Forward => call.op.gpu_fwd(&mut l, &views),
            Pass::Backward => call.op.gpu_bwd(&mut l, &views),
        }
    }
    l.finish()
}

/// Holds a lowered graph against the text of its kernels: what each launch binds, that no call writes to what it only
/// reads, and that each call writes all that it says.
///
/// # Errors
/// [`ShaderError`] that names the kernel and the binding, or the call and the tensor.
pub fn check(graph: &Graph, lowered: &Lowered) -> Result<(), ShaderError> {
    let mut rest = &lowered.dispatches[..];
    for (i, call) in graph.calls().iter().enumerate() {
        let (own, later) = rest.split_at(rest.iter().take_while(|d| d.call == i).count());
        rest = later;
        let mut written = Vec::new();
        for dispatch in own {
            let found = dispatch.check()?;
            for (name, view) in &dispatch.bindings {
                let Source::Tensor(id) = view.source else { continue };
                if !found.storage(name).is_some_and(|b| b.written) {
                    continue;
                }
                if !call.writes().any(|out| out == id) {
                    return Err(ShaderError {
                        file: dispatch.kernel.key(),
                        line: 0,
                        message: format!(
                            "binding `{name}` is written, {} is only read",
                            graph.tensor(id).name
                        ),
                    });
                }
                written.push(id);
            }
        }
        if let Some(id) = call.writes().find(|id| !written.contains(id)) {
            return Err(ShaderError {
                file: format!("{}_{}", call.op.name(), call.pass.suffix()),
                line: 0,
                message: format!("no kernel writes {}", graph.tensor(id).name),
            });
        }
    }
    Ok(())
}
