//! Turns the calls of a graph into dispatches over symbolic places, before anything is allocated.

use crate::graph::Graph;
use crate::launch::{Caps, GpuOut, Lower, Lowered, Source, View, Views};
use crate::ops::Op;
use crate::port::Pass;
use crate::shader::ShaderError;
use crate::tensor::{Dtype, TensorId};
use crate::variant::{Choice, Variant};

/// The variants of an op that a device runs where activations are stored so, best first.
pub fn offered<'a>(
    op: &'a Op,
    storage: Dtype,
    caps: &'a Caps,
    choice: &'a Choice,
) -> impl Iterator<Item = &'static Variant> + 'a {
    let (last, better) = op.variants().split_last().expect("every op has a variant");
    let runs = move |v: &&Variant| {
        v.storage.contains(&storage) && caps.offers(v) && choice.trusts(v, op.name(), storage)
    };
    better.iter().filter(runs).chain([last])
}

/// The variant of a call: the first that the device runs and that takes its size, or the forced one if that is among them.
fn choose(op: &Op, pass: Pass, io: &Views, caps: &Caps, choice: &Choice) -> &'static Variant {
    let mut views = io.all_reads().chain(io.all_writes().map(|out| &out.view));
    let narrow = views.any(|view| view.dtype == Dtype::F16);
    let storage = if narrow { Dtype::F16 } else { Dtype::F32 };
    let mut fits = offered(op, storage, caps, choice).filter(|v| op.takes(v, pass, io));
    let first = fits.next().expect("the last variant takes all");
    let mut all = [first].into_iter().chain(fits);
    all.find(|v| choice.forced == Some(v.name)).unwrap_or(first)
}

/// Lowers a whole graph.
pub fn lower(graph: &Graph, caps: &Caps, choice: &Choice) -> Lowered {
    let mut l = Lower::new(caps, graph.precision());
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
        let views: Views = call.tensors.map(
            |id| view(*id),
            |out| GpuOut {
                view: view(out.tensor),
                accumulate: out.accumulate,
            },
        );
        l.begin(i, choose(&call.op, call.pass, &views, caps, choice));
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
                for id in lowered.tensors_of(id, view.len > graph.tensor(id).numel()) {
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
