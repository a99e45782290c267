use super::S4dScan;
use crate::launch::{GpuOp, GpuOut, Lower, View, Views, grid_1d};
use crate::ops::lanes::{Lanes, pitch};
use crate::ops::reduce::column_sum;
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Workgroups of `s4d_sums_bwd`, two on each of 132 multiprocessors: more of them gain less than their partial sums
/// cost (measured: docs/performance.md).
const FULL: usize = 264;
/// Elements that keep a part of a view aligned for binding.
const ALIGN: usize = 64;
/// Most quads of states a thread.
const QUADS: usize = 2;
/// Steps staged at a time.
const STAGED: usize = 8;

/// What the factors of the recurrence are made of.
pub(crate) const PARAMETERS: [&str; 4] = ["log_dt", "C", "log_A_real", "A_imag"];

/// Mirrors `Params` of `s4d_discretise`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct DiscretiseParams {
    n: u32,
    states: u32,
    padded: u32,
}

/// Mirrors `Params` of `s4d_scan_fwd`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ScanParams {
    t: u32,
    channels: u32,
    tiles: u32,
    groups: u32,
}

/// Mirrors `Params` of `s4d_sums_bwd`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SumsParams {
    b: u32,
    t: u32,
    channels: u32,
    states: u32,
    tiles: u32,
    slots: u32,
    skip_at: u32,
}

/// Mirrors `Params` of `s4d_params_bwd`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GradientParams {
    channels: u32,
    states: u32,
    slots: u32,
    log_a_at: u32,
    imag_at: u32,
    dt_at: u32,
}

/// What the recurrence multiplies by, of `padded` states a channel (`states` are there): seven planes of `s4d_discretise`.
/// `parameters` are `log_dt`, C, `log_A_real`, `A_imag`.
pub(crate) fn discretise(
    l: &mut Lower<'_>,
    parameters: [View; 4],
    channels: usize,
    states: usize,
    padded: usize,
) -> View {
    let n = channels * padded;
    let planes = l.scratch(7 * n);
    let params = DiscretiseParams {
        n: n as u32,
        states: states as u32,
        padded: padded as u32,
    };
    let [log_dt, c, log_a_real, a_imag] = parameters;
    let kernel = Kernel::new("s4d_scan/s4d_discretise");
    let bindings = [
        ("log_dt", log_dt),
        ("c", c),
        ("log_a_real", log_a_real),
        ("a_imag", a_imag),
        ("planes", planes),
    ];
    l.run(kernel, &bindings, params, grid_1d(n.div_ceil(256)));
    planes
}

impl S4dScan {
    fn lanes(&self) -> Lanes {
        Lanes::new(self.states, QUADS)
    }

    fn tiles(&self) -> usize {
        self.channels.div_ceil(self.lanes().channels())
    }

    fn planes(&self, l: &mut Lower<'_>, parameters: [View; 4]) -> View {
        discretise(l, parameters, self.channels, self.states, self.lanes().padded())
    }

    fn scan(&self, l: &mut Lower<'_>, [u, planes, skip, y]: [View; 4], reverse: bool) {
        let (lanes, groups) = (self.lanes(), self.b * self.tiles());
        let params = ScanParams {
            t: self.t as u32,
            channels: self.channels as u32,
            tiles: self.tiles() as u32,
            groups: groups as u32,
        };
        let kernel = lanes
            .kernel("s4d_scan/s4d_scan_fwd", STAGED)
            .set("PITCH", pitch(lanes.lanes))
            .set("REVERSE", reverse);
        l.run(
            kernel,
            &[("u", u), ("planes", planes), ("skip", skip), ("y", y)],
            params,
            grid_1d(groups),
        );
    }

    /// Gradients of the parameters, of D last.
    fn gradients(
        &self,
        l: &mut Lower<'_>,
        parameters: [View; 4],
        [u, grad_y, planes]: [View; 3],
        outs: [Option<GpuOut>; 5],
    ) {
        let (d, matrix, tiles) = (self.channels, self.channels * self.states, self.tiles());
        let slots = self.slots();
        let skip_at = (slots * 4 * matrix).next_multiple_of(ALIGN);
        let sums = l.scratch(skip_at + slots * d);
        let params = SumsParams {
            b: self.b as u32,
            t: self.t as u32,
            channels: d as u32,
            states: self.states as u32,
            tiles: tiles as u32,
            slots: slots as u32,
            skip_at: skip_at as u32,
        };
        let kernel = self.lanes().kernel("s4d_scan/s4d_sums_bwd", STAGED);
        l.run(
            kernel,
            &[("u", u), ("grad_y", grad_y), ("planes", planes), ("sums", sums)],
            params,
            grid_1d(slots * tiles),
        );
        let log_a_at = (2 * matrix).next_multiple_of(ALIGN);
        let imag_at = log_a_at + matrix.next_multiple_of(ALIGN);
        let dt_at = imag_at + matrix.next_multiple_of(ALIGN);
        let grads = l.scratch(dt_at + d);
        let params = GradientParams {
            channels: d as u32,
            states: self.states as u32,
            slots: slots as u32,
            log_a_at: log_a_at as u32,
            imag_at: imag_at as u32,
            dt_at: dt_at as u32,
        };
        let [log_dt, c, log_a_real, a_imag] = parameters;
        let bindings = [
            ("log_dt", log_dt),
            ("c", c),
            ("log_a_real", log_a_real),
            ("a_imag", a_imag),
            ("sums", sums),
            ("grads", grads),
        ];
        l.run(
            Kernel::new("s4d_scan/s4d_params_bwd"),
            &bindings,
            params,
            grid_1d(d),
        );
        let parts = [
            (grads.part(dt_at, d), 1),
            (grads.part(0, 2 * matrix), 1),
            (grads.part(log_a_at, matrix), 1),
            (grads.part(imag_at, matrix), 1),
            (sums.part(skip_at, slots * d), slots),
        ];
        for ((part, rows), out) in parts.into_iter().zip(outs) {
            if let Some(out) = out {
                column_sum(l, part, rows, part.len / rows, out);
            }
        }
    }

    /// Partial sums over sequences: enough to fill the card.
    pub(super) fn slots(&self) -> usize {
        FULL.div_ceil(self.tiles()).min(self.b)
    }
}

impl GpuOp for S4dScan {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let planes = self.planes(l, PARAMETERS.map(|name| io.read(name)));
        self.scan(l, [io.read("u"), planes, io.read("D"), io.write("y")], false);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (u, grad_y) = (io.read("u"), io.grad("y"));
        let parameters = PARAMETERS.map(|name| io.read(name));
        let planes = self.planes(l, parameters);
        if let Some(grad_u) = io.wanted("u") {
            self.scan(l, [grad_y, planes, io.read("D"), grad_u.view], true);
        }
        let [log_dt, c, log_a_real, a_imag] = PARAMETERS.map(|name| io.wanted(name));
        let wanted = [log_dt, c, log_a_real, a_imag, io.wanted("D")];
        if wanted.iter().any(Option::is_some) {
            self.gradients(l, parameters, [u, grad_y, planes], wanted);
        }
    }
}
