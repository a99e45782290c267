//! Two sets of kernels with the same inputs and outputs:
//! - `coop`: `attention_fwd_coop` and `attention_bwd_coop`; they take the largest magnitude of each operand;
//! - `plain`: `attention_fwd`, `attention_dq_bwd` and `attention_dkv_bwd`.

use super::Attention;
use crate::launch::{Bound, GpuOp, Lower, View, Views, grid_1d};
use crate::ops::linear::gpu::amax;
use crate::ops::reduce::or_scratch;
use crate::ops::slice::gpu::{WideRows, in_wide_rows};
use crate::port::Pass;
use crate::shader::Kernel;
use crate::variant::{Needs, Variant};
use bytemuck::{Pod, Zeroable};
use std::ops::RangeInclusive;

/// Rows of a head that a workgroup of the kernels for matrix units owns.
const COOP_ROWS: usize = 64;
const COOP: Variant = Variant::coop(41_984);
/// Widest head whose gradients of keys and values fit the registers together.
const MOST_FOR_BOTH: usize = 128;
/// Heads for two blocks of rows a subgroup, with operands of single f16: of wider ones its registers hold one, and narrower
/// ones gain nothing by it.
const TALL_HEADS: RangeInclusive<usize> = 65..=128;
/// Rows of a workgroup then, and those that one looks after that makes lost ones anew: 128 `PER` there.
const TALL_ROWS: usize = 128;
const REPAIR_ROWS: usize = 512;

/// Mirrors `Params` of `lib/attention_rows`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    t: u32,
    h: u32,
    d: u32,
    heads: u32,
    tiles: u32,
    scale: f32,
}

/// Mirrors `Params` of the kernels that go along a head.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HeadParams {
    t: u32,
    h: u32,
    heads: u32,
    per: u32,
}

impl GpuOp for Attention {
    const VARIANTS: &'static [Variant] = &[
        Variant {
            needs: Needs {
                storage_bindings: 11,
                ..COOP.needs
            },
            ..COOP
        },
        Variant::PLAIN,
    ];

    fn takes(&self, variant: &Variant, _pass: Pass, _io: &Views) -> bool {
        let grid = [self.t.div_ceil(COOP_ROWS), self.b * self.h];
        !variant.needs.coop || grid.iter().all(|extent| *extent <= 65_535)
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (wide, rows) = self.in_quads(l);
        in_wide_rows(l, io, &rows, |l, io| wide.lower_fwd(l, io));
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (wide, rows) = self.in_quads(l);
        in_wide_rows(l, io, &rows, |l, io| wide.lower_bwd(l, io));
    }
}

impl Attention {
    /// The same with heads of whole quads, and what is copied for that: on matrix units.
    fn in_quads(&self, l: &Lower<'_>) -> (Self, Vec<WideRows>) {
        if !l.variant().needs.coop {
            return (self.clone(), Vec::new());
        }
        let rows = ["q", "k", "v", "o"].map(|name| WideRows::quads(name, self.d));
        let d = rows[0].wide;
        (Self { d, ..*self }, rows.to_vec())
    }

    fn lower_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (q, k, v) = (io.read("q"), io.read("k"), io.read("v"));
        let mut bindings = vec![
            ("q", q),
            ("k", k),
            ("v", v),
            ("o", io.write("o")),
            ("lse", io.write("lse")),
        ];
        let coop = l.variant().needs.coop;
        if coop && !l.mixed() {
            bindings.extend([
                ("amax_q", amax(l, q)),
                ("amax_k", amax(l, k)),
                ("amax_v", amax(l, v)),
            ]);
        }
        if self.forget {
            bindings.push(("sums", self.decay_sums(l, io.read("log_f"))));
        }
        if coop {
            let kernel = Kernel::new("attention/attention_fwd_coop");
            let tall = self.t > COOP_ROWS && TALL_HEADS.contains(&self.d);
            if tall && l.mixed() && !self.forget {
                let lost = l.scratch(4 * self.b * self.h * self.t.div_ceil(TALL_ROWS));
                bindings.push(("lost", lost));
                self.run_coop(l, kernel.clone().set("TALL", true), TALL_ROWS, &bindings);
                self.run_coop(l, kernel.set("REPAIR", true), REPAIR_ROWS, &bindings);
            } else {
                self.run_coop(l, kernel, COOP_ROWS, &bindings);
            }
        } else {
            self.run_tiles(l, "attention/attention_fwd", 4, &bindings);
        }
    }

    fn lower_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (q, k, v) = (io.read("q"), io.read("k"), io.read("v"));
        let grad_o = io.grad("o");
        let rows = self.b * self.t * self.h;
        let stats = l.scratch(if self.forget { 4 * rows } else { 2 * rows });
        let mut bindings = vec![
            ("o", io.read("o")),
            ("grad_o", grad_o),
            ("lse", io.read("lse")),
            ("stats", stats),
        ];
        if self.forget {
            bindings.push(("sums", self.decay_sums(l, io.read("log_f"))));
        }
        let params = [rows as u32, self.d as u32];
        let kernel = Kernel::new("attention/attention_stats_bwd")
            .set("FORGET", self.forget)
            .set("VEC", self.d.is_multiple_of(4));
        l.run(kernel, &bindings, params, grid_1d(rows.div_ceil(32)));

        // Row and column sums of dz come with dq and dk, whether or not somebody wants these.
        let grad_log_f = io.wanted("log_f");
        let (grad_q, grad_k, grad_v) = (io.wanted("q"), io.wanted("k"), io.wanted("v"));
        let read = [("q", q), ("k", k), ("v", v), ("grad_o", grad_o), ("stats", stats)];
        let row_sums = self.forget.then(|| l.scratch(rows));
        let col_sums = self.forget.then(|| l.scratch(rows));
        if l.variant().needs.coop {
            let single = l.mixed();
            let mut read = read.to_vec();
            if !single {
                read.extend([("amax_q", amax(l, q)), ("amax_k", amax(l, k))]);
            }
            read.extend([("amax_v", amax(l, v)), ("amax_grad_o", amax(l, grad_o))]);
            let each = [
                (q.len, grad_q, row_sums),
                (k.len, grad_k, col_sums),
                (v.len, grad_v, None),
            ];
            let needed = |of: usize| {
                let (_, target, sums) = each[of];
                target.is_some() || sums.is_some() && grad_log_f.is_some()
            };
            // Keys and values together.
            let both = single && self.d <= MOST_FOR_BOTH && needed(1) && needed(2);
            let launches: &[(usize, &[usize])] = match both {
                true => &[(0, &[0]), (3, &[1, 2])],
                false => &[(0, &[0]), (1, &[1]), (2, &[2])],
            };
            for &(of, targets) in launches {
                if !targets.iter().any(|&target| needed(target)) {
                    continue;
                }
                let mut bindings = read.clone();
                for (&target, name) in targets.iter().zip(["target_rows", "value_rows"]) {
                    let (len, target, sums) = each[target];
                    bindings.push((name, or_scratch(l, target, len)));
                    bindings.extend(sums.map(|sums| ("dz_sums", sums)));
                }
                let kernel = Kernel::new("attention/attention_bwd_coop").set("OF", of);
                self.run_coop(l, kernel, COOP_ROWS, &bindings);
            }
        } else {
            if grad_q.is_some() || grad_log_f.is_some() {
                let mut bindings = read.to_vec();
                bindings.push(("grad_q", or_scratch(l, grad_q, q.len)));
                bindings.extend(row_sums.map(|sums| ("row_sums", sums)));
                self.run_tiles(l, "attention/attention_dq_bwd", 4, &bindings);
            }
            if grad_k.is_some() || grad_v.is_some() || grad_log_f.is_some() {
                let mut bindings = read.to_vec();
                bindings.push(("grad_k", or_scratch(l, grad_k, k.len)));
                bindings.push(("grad_v", or_scratch(l, grad_v, v.len)));
                bindings.extend(col_sums.map(|sums| ("col_sums", sums)));
                // Two sets of output rows: with four rows a thread, heads above 128 would not fit the registers.
                let rows_a_thread = if self.d > 128 { 2 } else { 4 };
                self.run_tiles(l, "attention/attention_dkv_bwd", rows_a_thread, &bindings);
            }
        }
        if let (Some(grad_log_f), Some(row_sums), Some(col_sums)) = (grad_log_f, row_sums, col_sums) {
            let bindings = [
                ("row_sums", row_sums),
                ("col_sums", col_sums),
                ("grad_log_f", grad_log_f.view),
            ];
            self.run_heads(l, "attention/attention_log_f_bwd", &bindings);
        }
    }

    /// Sums of the log decays from the start of each head, two words a row.
    fn decay_sums(&self, l: &mut Lower<'_>, log_f: View) -> View {
        let sums = l.scratch(2 * self.b * self.t * self.h);
        self.run_heads(
            l,
            "attention/attention_decay_sums",
            &[("log_f", log_f), ("sums", sums)],
        );
        sums
    }

    /// A kernel with a workgroup a head.
    fn run_heads(&self, l: &mut Lower<'_>, path: &'static str, bindings: &[Bound]) {
        let heads = self.b * self.h;
        let params = HeadParams {
            t: self.t as u32,
            h: self.h as u32,
            heads: heads as u32,
            per: self.t.div_ceil(256) as u32,
        };
        l.run(Kernel::new(path), bindings, params, grid_1d(heads));
    }

    /// One of the kernels for matrix units, `rows` of a head a workgroup.
    fn run_coop(&self, l: &mut Lower<'_>, kernel: Kernel, rows: usize, bindings: &[Bound]) {
        let tiles = self.t.div_ceil(rows);
        let kernel = kernel.set("D", self.d).set("FORGET", self.forget);
        let grid = [tiles as u32, (self.b * self.h) as u32, 1];
        l.run(kernel, bindings, self.params(tiles), grid);
    }

    /// A kernel whose workgroups take `16 * rows_a_thread` rows of a head.
    fn run_tiles(&self, l: &mut Lower<'_>, path: &'static str, rows_a_thread: usize, bindings: &[Bound]) {
        let tiles = self.t.div_ceil(16 * rows_a_thread);
        let heads = self.b * self.h;
        let kernel = Kernel::new(path)
            .set("RM", rows_a_thread)
            .set("SLICES", self.d.div_ceil(32))
            .set("VEC", self.d.is_multiple_of(4))
            .set("FORGET", self.forget);
        l.run(kernel, bindings, self.params(tiles), grid_1d(heads * tiles));
    }

    fn params(&self, tiles: usize) -> Params {
        Params {
            t: self.t as u32,
            h: self.h as u32,
            d: self.d as u32,
            heads: (self.b * self.h) as u32,
            tiles: tiles as u32,
            scale: self.scale,
        }
    }
}
