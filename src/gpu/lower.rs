//! Turns the calls of a graph into dispatches over symbolic places, before anything is allocated.

use crate::graph::Graph;
use crate::launch::{Caps, GpuOut, Lower, Lowered, Source, View};
use crate::port::Pass;
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
                let (fwd_outs, grad_outs) = rest.split_at(call.op.outputs().len());
                call.op.gpu_bwd(&mut l, fwd_ins, fwd_outs, grad_outs, &outs);
            }
        }
        l.end(call.outs.iter().flatten().map(|o| o.tensor));
    }
    l.finish()
}
