use super::Slice;
use crate::launch::{Bound, GpuOp, GpuOut, Lower, View, Views, grid_1d};
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

    /// `len` elements from one on, as a row.
    fn of_row(whole: View, from: usize, len: usize) -> Self {
        Self {
            rows: 1,
            width: whole.len,
            from,
            len,
        }
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

impl Slice {
    fn to_part(&self, l: &mut Lower<'_>, y: View, x: GpuOut) {
        let kernel = Kernel::new("slice/slice_bwd")
            .set("PART", true)
            .set("ADD", x.accumulate);
        let bindings = [("grad_y", y), ("grad_x", x.view)];
        self.launch(l, kernel, &bindings, self.len);
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
        if grad_x.accumulate {
            return self.to_part(l, grad_y, grad_x);
        }
        let kernel = Kernel::new("slice/slice_bwd");
        let bindings = [("grad_y", grad_y), ("grad_x", grad_x.view)];
        self.launch(l, kernel, &bindings, self.width);
    }
}

/// Elements from one on that need not begin at a legal binding offset, to a view of their own.
pub(crate) fn copy_of_part(l: &mut Lower<'_>, whole: View, first: usize, part: View) {
    let bindings = [("x", whole), ("y", part)];
    let kernel = Kernel::new("slice/slice_fwd");
    Slice::of_row(whole, first, part.len).launch(l, kernel, &bindings, part.len);
}

/// The way back: in the place of what is there, or added to it. The other elements stay as they are.
pub(crate) fn copy_to_part(l: &mut Lower<'_>, part: View, whole: GpuOut, first: usize) {
    Slice::of_row(whole.view, first, part.len).to_part(l, part, whole);
}

/// Rows of a tensor of another op, in a copy that is wider: to whole quads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WideRows {
    /// The port.
    pub(crate) name: &'static str,
    /// Columns.
    pub(crate) width: usize,
    /// Columns of the copy; as many if there is none.
    pub(crate) wide: usize,
}

impl WideRows {
    /// With rows of whole quads.
    pub(crate) fn quads(name: &'static str, width: usize) -> Self {
        let wide = width.next_multiple_of(4);
        Self { name, width, wide }
    }

    fn room(self, l: &mut Lower<'_>, view: View) -> View {
        l.scratch_of(view.dtype, view.len / self.width * self.wide)
    }

    fn copy(self, l: &mut Lower<'_>, rows: View, wide: View, back: bool) {
        let quads = self.wide / 4;
        let n = rows.len / self.width * quads;
        let kernel = Kernel::new("slice/wide_rows").set("BACK", back);
        let params = [n as u32, self.width as u32, quads as u32];
        l.run(
            kernel,
            &[("rows", rows), ("wide", wide)],
            params,
            grid_1d(n.div_ceil(256)),
        );
    }

    fn widened(self, l: &mut Lower<'_>, view: View) -> View {
        let wide = self.room(l, view);
        self.copy(l, view, wide, false);
        wide
    }
}

/// Launches of an op whose kernels ask for wider rows than its tensors have: inputs are copied, zeros behind each row, and
/// results copied back. Ops that add to a gradient must not be among them.
pub(crate) fn in_wide_rows(
    l: &mut Lower<'_>,
    io: &Views,
    rows: &[WideRows],
    lower: impl FnOnce(&mut Lower<'_>, &Views),
) {
    let of = |name: &str| {
        let found = rows.iter().find(|rows| rows.name == name);
        found.filter(|rows| rows.wide != rows.width).copied()
    };
    let mut reads = |views: &[(&'static str, View)]| {
        let each = views.iter().map(|&(name, view)| match of(name) {
            Some(rows) => (name, rows.widened(l, view)),
            None => (name, view),
        });
        each.collect()
    };
    let (reads, grads) = (reads(&io.reads), reads(&io.grads));
    let mut results = Vec::new();
    let mut outs = |outs: &[(&'static str, GpuOut)]| {
        let each = outs.iter().map(|&(name, out)| match of(name) {
            Some(rows) => {
                assert!(!out.accumulate, "copies replace");
                let wide = rows.room(l, out.view);
                results.push((rows, wide, out.view));
                (name, GpuOut::new(wide))
            }
            None => (name, out),
        });
        each.collect()
    };
    let (writes, wanted) = (outs(&io.writes), outs(&io.wanted));
    let wide = Views {
        reads,
        writes,
        grads,
        wanted,
    };
    lower(l, &wide);
    for (rows, wide, view) in results {
        rows.copy(l, view, wide, true);
    }
}
