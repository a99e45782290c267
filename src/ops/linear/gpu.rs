//! Launches, as functions that the head uses chunk by chunk.
//!
//! Every product is one of three layouts of one kernel: y = x W^T, dx = dy W, dW = dy^T x. Which kernel:
//! - `gemm_thin` for dx of at most 16 outputs in whole quads, such as the gates of heads;
//! - `gemm_half_coop` (f16 matrix units, sums in f32) in the variant `coop` if both operands are stored in f16 and at most one
//!   of m, n and k is below 32; its tile is 128 x 128, or 128 x 64 where that pads less, a wider one would leave the device idle, or
//!   short rows are loaded by elements.
//! - `gemm_coop` (f16 matrix units at f32 accuracy) in the variant `coop`, if the product has m, n >= 64 and k >= 32, or m or n
//!   below that and tiles for 64 workgroups all the same (gates of heads, 8 of 1,024 inputs and 25,600 rows); elsewhere most of a
//!   128 x 128 tile or of a step of 32 would be padding. Tails and row lengths that are no multiple of 4
//!   are all right. Before it, `amax` finds the largest magnitude of each operand, once as long as nobody writes the tensor;
//!   In both, where the last wave of tiles would leave most of a large card idle, its rows are cut along k;
//! - otherwise `gemm`, with the largest tile of 128, 64 and 32 that fills 64 workgroups and pads the result by at most a
//!   quarter more than tiles of 32 would. A head of 4 classes and a batch of few rows end up with 32.
//!
//! On matrix units, several layers of one input (`projections`) are one product in each of the three layouts, with A or C in pieces
//! that lie one behind another (`Lower::joined`).

mod pieces;

pub(crate) use pieces::{bwd_of_several, fwd_of_several};

use self::pieces::Pieces;
use super::Linear;
use crate::launch::{GpuOp, GpuOut, Lower, View, Views, grid_1d};
use crate::ops::reduce::{column_sum, column_sums_beside};
use crate::port::Pass;
use crate::shader::Kernel;
use crate::tensor::Dtype;
use crate::variant::Variant;
use bytemuck::{Pod, Zeroable};

/// Workgroups that a sum over k is cut for.
const WORKGROUPS: usize = 256;
/// Shortest part of a sum over k that is worth a pass over its result.
const MIN_PART: usize = 256;
/// Elements of a part of C that are written and added up in the time in which a workgroup on matrix units takes one of k.
const ADDED: usize = 12_000;
/// k of every part is a multiple of this: what any of the kernels takes at once.
const STEP: usize = 32;
/// Most pieces that A or C can lie in.
const PIECES: usize = 8;
/// Edge of the tile of `gemm_coop`.
const COOP_TILE: usize = 128;
/// Workgroups that `gemm_half_coop` shall have at least: two an SM of a large card.
const HALF_WORKGROUPS: usize = 256;
/// Multiprocessors of a large card (H100). One has room for two workgroups of `gemm_half_coop`, or for one of `gemm_coop`.
const MULTIPROCESSORS: usize = 132;
/// Parts that a thin last wave is cut into, and the shortest of them.
const WAVE_PARTS: usize = 8;
const MIN_WAVE_PART: usize = 4 * STEP;
/// `coop`: `gemm_coop` wherever a product fills its tile, `gemm_half_coop` for operands in f16.
pub(crate) const VARIANTS: &[Variant] = &[Variant::coop(49_152), Variant::PLAIN];
/// Most columns of A that `gemm_thin` takes, and rows of C of one of its threads.
const THIN: usize = 16;
const THIN_ROWS: usize = 16;
/// Most parts of a sum over rows, and fewest rows of one.
const SUM_PARTS: usize = 128;
const SUM_ROWS: usize = 64;

/// C\[m, n\] (+)= A B, with A stored \[m, k\] or (`ta`) \[k, m\], B stored \[k, n\] or (`tb`) \[n, k\].
#[derive(Debug, Clone, Copy)]
struct Gemm {
    m: usize,
    n: usize,
    k: usize,
    ta: bool,
    tb: bool,
}

/// Mirrors `Params` of `lib/gemm.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GemmParams {
    part: [u32; 4],
    cut: [u32; 4],
    ends: [u32; PIECES],
    m: u32,
    n: u32,
    k: u32,
    a_row: u32,
    last: [u32; 3],
    rows: u32,
    c_row: u32,
}

/// The kernel of a product: its rows and columns of a tile.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tiling {
    Thin,
    Plain(usize),
    Split,
    Half(usize),
}

impl Tiling {
    /// Rows and columns of a tile.
    fn tile(self) -> [usize; 2] {
        match self {
            Self::Thin => [THIN_ROWS, 4],
            Self::Plain(edge) => [edge, edge],
            Self::Split => [COOP_TILE, COOP_TILE],
            Self::Half(cols) => [COOP_TILE, cols],
        }
    }

    fn on_units(self) -> bool {
        matches!(self, Self::Split | Self::Half(_))
    }

    /// Workgroups that run at once on a large card, where that was measured.
    fn places(self) -> Option<usize> {
        match self {
            Self::Thin | Self::Plain(_) => None,
            Self::Split => Some(MULTIPROCESSORS),
            Self::Half(_) => Some(2 * MULTIPROCESSORS),
        }
    }
}

impl Gemm {
    /// Tiles of C.
    fn tiles(&self, [rows, cols]: [usize; 2]) -> usize {
        self.m.div_ceil(rows) * self.n.div_ceil(cols)
    }

    /// Parts of k that are worth it at most. Only sums over rows (`ta`) are cut.
    fn most_parts(&self) -> usize {
        if self.ta { (self.k / MIN_PART).max(1) } else { 1 }
    }

    /// How much of k one workgroup takes: on matrix units what makes the time of the waves and of adding up the parts the
    /// least, elsewhere enough for `WORKGROUPS`.
    fn part(&self, tiling: Tiling) -> usize {
        let tiles = self.tiles(tiling.tile());
        let most = self.most_parts();
        let parts = match tiling.places() {
            None => WORKGROUPS.div_ceil(tiles).min(most),
            Some(places) => {
                let time = |parts: &usize| {
                    let waves = (tiles * parts).div_ceil(places);
                    let added = if *parts > 1 { parts * self.m * self.n } else { 0 };
                    waves * self.k / parts + added / ADDED
                };
                (1..=most).min_by_key(time).unwrap_or(1)
            }
        };
        self.k.div_ceil(parts).next_multiple_of(STEP)
    }

    /// Edge of the plain kernel's tile.
    fn tile(&self) -> usize {
        let padded = |edge: usize| self.tiles([edge; 2]) * edge * edge;
        let fits = |edge: &usize| {
            let workgroups = self.tiles([*edge; 2]) * self.k.div_ceil(self.part(Tiling::Plain(*edge)));
            workgroups >= 64 && 4 * padded(*edge) <= 5 * padded(32)
        };
        [128, 64].into_iter().find(fits).unwrap_or(32)
    }

    /// Whether `gemm_thin` computes it.
    fn is_thin(&self) -> bool {
        let quads = self.k.is_multiple_of(4) && self.n.is_multiple_of(4);
        !self.ta && !self.tb && self.k <= THIN && quads
    }

    /// Whether it fills a tile of `gemm_coop`; or most of that is padding, but there is work for enough workgroups.
    fn fills_tile(&self) -> bool {
        let workgroups = self.tiles([COOP_TILE; 2]) * self.most_parts();
        let short = self.m.min(self.n);
        short >= 64 && self.k >= 32 || short >= 8 && self.k >= 512 && workgroups >= 64
    }

    /// Whether `gemm_half_coop` is worth it: two of its extents fill a tile. A third that is small is padding, which
    /// costs less than the plain kernel's loads of two bytes (gates of a few heads are such products).
    fn fills_half_tile(&self) -> bool {
        let small = [self.m, self.n, self.k].into_iter().filter(|extent| *extent < 32);
        small.count() <= 1
    }

    /// Columns of the tile of `gemm_half_coop`.
    fn half_cols(&self) -> usize {
        let wide = self.n.div_ceil(128) * 128;
        let narrow = self.n.div_ceil(64) * 64;
        let idle = self.tiles([COOP_TILE, 128]) * self.most_parts() < HALF_WORKGROUPS;
        // Short rows that are no quads, which are loaded by elements: what a driver compiles for as long as for nothing else.
        let by_elements = self.k < 2 * STEP && !self.k.is_multiple_of(4);
        if idle || by_elements || 8 * wide > 9 * narrow {
            64
        } else {
            128
        }
    }

    /// The kernel for operands that are both f16 (`half`) or not, on matrix units (`coop`) or not.
    fn tiling(&self, coop: bool, half: bool) -> Tiling {
        if self.is_thin() {
            Tiling::Thin
        } else if coop && half && self.fills_half_tile() {
            Tiling::Half(self.half_cols())
        } else if coop && self.fills_tile() {
            Tiling::Split
        } else {
            Tiling::Plain(self.tile())
        }
    }

    /// Rows before those whose tiles would be a last wave on less than a quarter of the places, if there is one and k is long
    /// enough to be cut there. All workgroups are in a row of the grid then.
    fn whole_waves(&self, tiling: Tiling) -> Option<usize> {
        let places = tiling.places()?;
        let tile = tiling.tile();
        let across = self.n.div_ceil(tile[1]);
        let last = self.tiles(tile) % places;
        let thin = self.tiles(tile) > places && (1..places / 4).contains(&last);
        let rows = (self.m.div_ceil(tile[0]) - last.div_ceil(across)) * tile[0];
        let fits = self.tiles(tile) + WAVE_PARTS * across * last.div_ceil(across) <= 65_535;
        (thin && fits && !self.ta && rows > 0 && self.k >= 2 * MIN_WAVE_PART).then_some(rows)
    }

    fn run(&self, l: &mut Lower<'_>, a: View, b: View, bias: Option<View>, c: GpuOut) {
        self.run_pieces(l, Pieces::None, a, b, bias, c);
    }

    /// As `run`, with A or C in pieces.
    fn run_pieces(
        &self,
        l: &mut Lower<'_>,
        pieces: Pieces<'_>,
        a: View,
        b: View,
        bias: Option<View>,
        c: GpuOut,
    ) {
        let half = [a, b].iter().all(|x| x.dtype == Dtype::F16);
        let tiling = self.tiling(l.variant().needs.coop, half);
        if tiling == Tiling::Thin {
            return self.run_thin(l, a, b, c);
        }
        let tile = tiling.tile();
        let part = self.part(tiling);
        let parts = self.k.div_ceil(part);
        let target = if parts == 1 {
            c
        } else {
            GpuOut::new(l.scratch(parts * self.m * self.n))
        };
        // Rows of a whole C may be longer than its columns.
        let c_row = if parts == 1 { c.view.len / self.m } else { self.n };
        let wide = c_row > self.n;
        debug_assert!(
            self.tb || !wide,
            "only rows of B have one that stands for those behind it"
        );
        let mut bindings = vec![("a", a), ("b", b), ("c", target.view)];
        bindings.extend(bias.map(|bias| ("bias", bias)));
        if tiling == Tiling::Split {
            bindings.extend([("amax_a", amax(l, a)), ("amax_b", amax(l, b))]);
        }
        // Rows that are cut along k, and into how many parts.
        let (cut, cuts) = (self.wave_part(), self.k.div_ceil(self.wave_part()));
        let rows = self.whole_waves(tiling);
        let sums = rows.map(|rows| (rows, l.scratch(cuts * (self.m - rows) * c_row)));
        bindings.extend(sums.map(|(_, sums)| ("sums", sums)));
        // Rows may be longer than their columns.
        let a_row = a.len / if self.ta { self.k } else { self.m };
        let b_row = if self.tb { self.k } else { self.n };
        let quads = |row: usize| row.is_multiple_of(4);
        // Where the last tile or step begins: within the matrices if it fits, but at a quad of A as stored, whose rows may
        // be padded. B is not, so that a step along k can leave it then.
        let last_of = |extent: usize, tile: usize, quads: bool| {
            let last = extent.saturating_sub(tile);
            if quads { last.next_multiple_of(4) } else { last }
        };
        let last_k = last_of(self.k, STEP, !self.ta && quads(a_row));
        // Rows of A that are padded with zeros can be read where B ends: its last row stands for those behind it.
        let fills = self.m >= tile[0] && self.n >= tile[1] && self.k >= STEP;
        let in_padding = (self.k + 1..=a_row).contains(&(last_k + STEP));
        let padded = in_padding && !self.ta && !self.tb && fills && quads(a_row) && quads(b_row);
        let within_k = padded || last_k + STEP <= self.k;
        let on_units = |kernel: Kernel| {
            let kernel = kernel.set("WITHIN_M", self.m >= tile[0]);
            let kernel = kernel
                .set("WITHIN_N", self.n >= tile[1])
                .set("WITHIN_K", within_k);
            kernel
                .set("OVERLAP", within_k && !self.k.is_multiple_of(STEP))
                .set("PADDED", padded)
                .set("PIECES", pieces.of_a())
                .set("PIECES_C", pieces.of_c())
                .set("STRADDLED", self.straddles(pieces, tile))
                .set("CUT", sums.is_some())
        };
        let kernel = match tiling {
            Tiling::Thin => unreachable!("it has a launch of its own"),
            Tiling::Plain(edge) => Kernel::new("linear/gemm").set("TILE", edge),
            Tiling::Split => on_units(Kernel::new("linear/gemm_coop")),
            Tiling::Half(cols) => on_units(Kernel::new("linear/gemm_half_coop")).set("TN", cols),
        };
        let kernel = kernel
            .set("TA", self.ta)
            .set("TB", self.tb)
            .set("VA", quads(a_row))
            .set("VB", quads(b_row))
            .set("VC", quads(c_row))
            .set("WIDE_C", wide)
            .set("BIAS", bias.is_some())
            .set(
                "WHOLE",
                self.m.is_multiple_of(tile[0]) && self.n.is_multiple_of(tile[1]),
            )
            .set("ACCUMULATE", target.accumulate);
        let params = GemmParams {
            part: [part as u32; 4],
            cut: [cut as u32; 4],
            ends: pieces.ends(),
            m: self.m as u32,
            n: self.n as u32,
            k: self.k as u32,
            a_row: a_row as u32,
            last: [
                last_of(self.m, tile[0], self.ta && quads(a_row)) as u32,
                last_of(self.n, tile[1], wide) as u32,
                last_k as u32,
            ],
            rows: rows.unwrap_or(self.m) as u32,
            c_row: c_row as u32,
        };
        let across = self.n.div_ceil(tile[1]);
        let grid = match rows.map(|rows| across * (rows / tile[0])) {
            Some(whole) => [whole + cuts * (self.tiles(tile) - whole), 1, 1],
            None => [across, self.m.div_ceil(tile[0]), parts],
        };
        l.run(kernel, &bindings, params, grid.map(|x| x as u32));
        if let Some((rows, sums)) = sums {
            let whole = [c_row];
            let columns = match pieces {
                Pieces::OfC(columns) => columns,
                _ => &whole,
            };
            column_sums_beside(l, sums, cuts, &self.cut_sums(rows, columns), c);
        }
        if parts > 1 {
            column_sum(l, target.view, parts, self.m * self.n, c);
        }
    }

    fn run_thin(&self, l: &mut Lower<'_>, a: View, b: View, c: GpuOut) {
        let kernel = Kernel::new("linear/gemm_thin")
            .set("K", self.k)
            .set("ROWS", THIN_ROWS)
            .set("ACCUMULATE", c.accumulate);
        let params = [self.m, self.n, a.len / self.m].map(|x| x as u32);
        let threads = self.n / 4 * self.m.div_ceil(THIN_ROWS);
        let bindings = [("a", a), ("b", b), ("c", c.view)];
        l.run(kernel, &bindings, params, grid_1d(threads.div_ceil(256)));
    }

    /// How much of k a workgroup of the last wave takes.
    fn wave_part(&self) -> usize {
        let part = self.k.div_ceil(WAVE_PARTS).max(MIN_WAVE_PART);
        part.next_multiple_of(STEP)
    }
}

/// A slot with the largest magnitude of a tensor, as the bits of an f32. It is found once: an op that rewrites an
/// operand between two products of one call must have the note of it dropped.
pub(crate) fn amax(l: &mut Lower<'_>, x: View) -> View {
    let (slot, compute) = l.memo("amax", x);
    if compute {
        let vec = x.len.is_multiple_of(4);
        let n = if vec { x.len / 4 } else { x.len };
        let kernel = Kernel::new("linear/amax").set("VEC", vec);
        l.run(
            kernel,
            &[("x", x), ("top", slot)],
            [n as u32],
            grid_1d(n.div_ceil(4096)),
        );
    }
    slot
}

impl Linear {
    /// Product of y = x W^T.
    fn of_y(&self) -> Gemm {
        Gemm {
            m: self.rows,
            n: self.out,
            k: self.inp,
            ta: false,
            tb: true,
        }
    }

    /// Product of dx = dy W.
    fn of_grad_x(&self) -> Gemm {
        Gemm {
            m: self.rows,
            n: self.inp,
            k: self.out,
            ta: false,
            tb: false,
        }
    }

    /// Product of dW = dy^T x.
    fn of_grad_w(&self) -> Gemm {
        Gemm {
            m: self.out,
            n: self.inp,
            k: self.rows,
            ta: true,
            tb: false,
        }
    }

    /// Whether y fills a tile of `gemm_coop`.
    pub(crate) fn fills_tile(&self) -> bool {
        self.of_y().fills_tile()
    }
}

/// y (+)= x W^T + b. Rows of y may be longer than its columns, in whole quads: what is behind these is not defined then.
pub(crate) fn fwd(l: &mut Lower<'_>, op: &Linear, x: View, w: View, b: Option<View>, y: GpuOut) {
    op.of_y().run(l, x, w, b, y);
}

/// dx (+)= dy W. Rows of dy may be longer than its columns, with zeros behind them; so in the next two.
pub(crate) fn grad_x(l: &mut Lower<'_>, op: &Linear, grad_y: View, w: View, grad_x: GpuOut) {
    op.of_grad_x().run(l, grad_y, w, None, grad_x);
}

/// dW (+)= dy^T x.
pub(crate) fn grad_w(l: &mut Lower<'_>, op: &Linear, grad_y: View, x: View, grad_w: GpuOut) {
    op.of_grad_w().run(l, grad_y, x, None, grad_w);
}

/// db (+)= column sums of dy.
pub(crate) fn grad_b(l: &mut Lower<'_>, op: &Linear, grad_y: View, grad_b: GpuOut) {
    let part = op.rows.div_ceil(SUM_PARTS).max(SUM_ROWS);
    let parts = op.rows.div_ceil(part);
    let sums = l.scratch(parts * op.out);
    let grid = [op.out.div_ceil(32) as u32, parts as u32, 1];
    let row = grad_y.len / op.rows;
    let params = [op.rows as u32, op.out as u32, part as u32, row as u32];
    l.run(
        Kernel::new("linear/column_sums_bwd"),
        &[("grad_y", grad_y), ("sums", sums)],
        params,
        grid,
    );
    column_sum(l, sums, parts, op.out, grad_b);
}

/// Whether matrix units compute any product of a call whose operands are all f16 (`half`) or not.
pub(crate) fn on_units(op: &Linear, pass: Pass, half: bool) -> bool {
    let products = match pass {
        Pass::Forward => vec![op.of_y()],
        Pass::Backward => vec![op.of_grad_x(), op.of_grad_w()],
    };
    let mut tilings = products.iter().map(|product| product.tiling(true, half));
    tilings.any(Tiling::on_units)
}

impl GpuOp for Linear {
    const VARIANTS: &'static [Variant] = VARIANTS;

    fn takes(&self, variant: &Variant, pass: Pass, io: &Views) -> bool {
        let products = match pass {
            Pass::Forward => vec![(self.of_y(), [io.read("x"), io.read("w")])],
            Pass::Backward => {
                let x = io.wanted("x").map(|_| (self.of_grad_x(), io.read("w")));
                let w = io.wanted("w").map(|_| (self.of_grad_w(), io.read("x")));
                let of = |(product, other)| (product, [io.grad("y"), other]);
                x.into_iter().chain(w).map(of).collect()
            }
        };
        let on_units = |(product, operands): &(Gemm, [View; 2])| {
            let half = operands.iter().all(|view| view.dtype == Dtype::F16);
            product.tiling(true, half).on_units()
        };
        !variant.needs.coop || products.iter().any(on_units)
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        fwd(l, self, io.read("x"), io.read("w"), io.read_if("b"), io.out("y"));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let grad_y = io.grad("y");
        if let Some(out) = io.wanted("x") {
            grad_x(l, self, grad_y, io.read("w"), out);
        }
        if let Some(out) = io.wanted("w") {
            grad_w(l, self, grad_y, io.read("x"), out);
        }
        if let Some(out) = io.wanted("b") {
            grad_b(l, self, grad_y, out);
        }
    }
}
