use super::S4dScan;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
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
    let bindings = [log_dt, c, log_a_real, a_imag, planes];
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
        l.run(kernel, &[u, planes, skip, y], params, grid_1d(groups));
    }

    /// Gradients of the parameters, into the outputs of the ports from `log_dt` on.
    fn gradients(
        &self,
        l: &mut Lower<'_>,
        parameters: [View; 4],
        [u, grad_y, planes]: [View; 3],
        outs: &[Option<GpuOut>],
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
        l.run(kernel, &[u, grad_y, planes, sums], params, grid_1d(slots * tiles));
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
        let bindings = [log_dt, c, log_a_real, a_imag, sums, grads];
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
            if let Some(out) = *out {
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
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let &[u, log_dt, c, log_a_real, a_imag, skip] = ins else {
            unreachable!("the graph gives all inputs")
        };
        let planes = self.planes(l, [log_dt, c, log_a_real, a_imag]);
        self.scan(l, [u, planes, skip, outs[0].view], false);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        _outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let ins: Vec<View> = ins.iter().copied().flatten().collect();
        let (&[u, log_dt, c, log_a_real, a_imag, skip], Some(grad_y)) = (&ins[..], grad_outs[0]) else {
            return;
        };
        let parameters = [log_dt, c, log_a_real, a_imag];
        let planes = self.planes(l, parameters);
        if let Some(grad_u) = grad_ins[0] {
            self.scan(l, [grad_y, planes, skip, grad_u.view], true);
        }
        if grad_ins[1..].iter().any(Option::is_some) {
            self.gradients(l, parameters, [u, grad_y, planes], &grad_ins[1..]);
        }
    }
}
