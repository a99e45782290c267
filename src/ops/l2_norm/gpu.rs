use super::L2Norm;
use crate::launch::{GpuOp, GpuOut, Lower, View, Views, grid_1d};
use crate::ops::rows::Layout;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    eps: f32,
}

impl L2Norm {
    fn params(&self) -> Params {
        Params {
            rows: self.rows as u32,
            d: self.d as u32,
            eps: self.eps,
        }
    }

    fn fwd(&self, l: &mut Lower<'_>, x: View, y: View, r: View) {
        let layout = Layout::quads(self.d);
        let grid = grid_1d(layout.groups(self.rows));
        let kernel = layout.kernel("l2_norm/l2_norm_fwd");
        l.run(kernel, &[("x", x), ("y", y), ("r", r)], self.params(), grid);
    }

    fn bwd(&self, l: &mut Lower<'_>, [y, r, grad_y]: [View; 3], grad_x: View) {
        let layout = Layout::quads(self.d);
        let grid = grid_1d(layout.groups(self.rows));
        l.run(
            layout.kernel("l2_norm/l2_norm_bwd"),
            &[("y", y), ("r", r), ("grad_y", grad_y), ("grad_x", grad_x)],
            self.params(),
            grid,
        );
    }
}

/// Launches of another op whose inputs of these names are brought to unit length first: computed again in its backward pass.
/// Ops that add to a gradient must not be among them.
pub(crate) fn in_unit_rows(
    l: &mut Lower<'_>,
    io: &Views,
    norms: &[(&'static str, L2Norm)],
    lower: impl FnOnce(&mut Lower<'_>, &Views),
) {
    let mut unit = io.clone();
    let mut results = Vec::new();
    for (name, norm) in norms {
        let room = |l: &mut Lower<'_>, like: View| l.scratch_of(like.dtype, like.len);
        let x = io.read(name);
        let (y, r) = (room(l, x), l.scratch(norm.rows));
        norm.fwd(l, x, y, r);
        unit.reads
            .iter_mut()
            .filter(|read| read.0 == *name)
            .for_each(|read| read.1 = y);
        for (_, out) in unit.wanted.iter_mut().filter(|out| out.0 == *name) {
            assert!(!out.accumulate, "rows replace");
            let grad_y = room(l, out.view);
            results.push((norm, [y, r, grad_y], out.view));
            *out = GpuOut::new(grad_y);
        }
    }
    lower(l, &unit);
    for (norm, views, grad_x) in results {
        norm.bwd(l, views, grad_x);
    }
}

impl GpuOp for L2Norm {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        self.fwd(l, io.read("x"), io.write("y"), io.write("r"));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(grad_x) = io.wanted("x") else { return };
        self.bwd(l, [io.read("y"), io.read("r"), io.grad("y")], grad_x.view);
    }
}
