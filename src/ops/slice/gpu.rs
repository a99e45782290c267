use super::Slice;
use crate::launch::{Bound, GpuOp, Lower, Views, grid_1d};
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of both kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    width: u32,
    first: u32,
    len: u32,
}

impl Slice {
    /// Columns of a thread: quads where the slice and the rows consist of whole ones.
    fn quads(&self) -> usize {
        let whole = [self.width, self.from, self.len]
            .iter()
            .all(|n| n.is_multiple_of(4));
        if whole { 4 } else { 1 }
    }

    fn launch(&self, l: &mut Lower<'_>, kernel: Kernel, bindings: &[Bound], columns: usize) {
        let quads = self.quads();
        let n = self.rows * columns / quads;
        let params = Params {
            n: n as u32,
            width: (self.width / quads) as u32,
            first: (self.from / quads) as u32,
            len: (self.len / quads) as u32,
        };
        let kernel = kernel.set("WIDE", quads > 1);
        l.run(kernel, bindings, params, grid_1d(n.div_ceil(256)));
    }
}

impl GpuOp for Slice {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let bindings = [("x", io.read("x")), ("y", io.write("y"))];
        self.launch(l, Kernel::new("slice/slice_fwd"), &bindings, self.len);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let Some(grad_x) = io.wanted("x") else { return };
        let grad_y = io.grad("y");
        // Adding leaves the other columns alone.
        let columns = if grad_x.accumulate { self.len } else { self.width };
        let kernel = Kernel::new("slice/slice_bwd").set("ADD", grad_x.accumulate);
        let bindings = [("grad_y", grad_y), ("grad_x", grad_x.view)];
        self.launch(l, kernel, &bindings, columns);
    }
}
