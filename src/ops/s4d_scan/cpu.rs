use super::S4dScan;
use crate::step::StepParams;
use crate::twin::{CpuOp, Real, Slices};
use rayon::prelude::*;

/// Channels that lie side by side in the loops, so that these vectorise.
const WIDTH: usize = 16;
/// Pieces that the sequences are split into for sums over them, whatever the number of threads.
const PIECES: usize = 4;

/// Steps after which states get back what the rounding of e^z took from them, alike each time.
pub(crate) const DRIFT: usize = 8;

/// A number of each channel of a block.
type Lane<R> = [R; WIDTH];
/// Real and imaginary parts of those.
type Complex<R> = [Lane<R>; 2];

fn zero<R: Real>() -> Complex<R> {
    [[R::ZERO; WIDTH]; 2]
}

fn times(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

fn over(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    let scale = 1.0 / (b[0] * b[0] + b[1] * b[1]);
    times(a, [b[0] * scale, -b[1] * scale])
}

/// A discretised state. It is computed in f64 for both number types: there are few of them, and their errors add up
/// over time.
struct Rate {
    dt: f64,
    a: [f64; 2],
    z: [f64; 2],
    /// e^z - 1.
    e: [f64; 2],
    /// e^z.
    power: [f64; 2],
    /// (e^z - 1) / z.
    phi: [f64; 2],
}

impl Rate {
    fn new(log_dt: f64, log_a_real: f64, a_imag: f64) -> Self {
        let dt = log_dt.clamp(-87.0, 87.0).exp();
        let a = [-log_a_real.clamp(-87.0, 87.0).exp(), a_imag];
        let z = [dt * a[0], dt * a[1]];
        let shrink = z[0].exp_m1();
        // cos - 1 without cancellation.
        let versine = -2.0 * (0.5 * z[1]).sin().powi(2);
        let e = [shrink * (1.0 + versine) + versine, (1.0 + shrink) * z[1].sin()];
        let power = [z[1].cos(), z[1].sin()].map(|x| z[0].exp() * x);
        let small = z[0] * z[0] + z[1] * z[1] < 1e-24;
        let phi = if small {
            [1.0 + 0.5 * z[0], 0.5 * z[1]]
        } else {
            over(e, z)
        };
        Self {
            dt,
            a,
            z,
            e,
            power,
            phi,
        }
    }

    /// Whether states remember more than a few steps.
    fn is_slow(&self) -> bool {
        self.power[0] * self.power[0] + self.power[1] * self.power[1] > 0.25
    }

    /// phi'(z) = (e^z - phi) / z, or its series sum of z^k (k + 1) / (k + 2)! where that difference cancels.
    fn phi_slope(&self) -> [f64; 2] {
        let z = self.z;
        if z[0] * z[0] + z[1] * z[1] > 0.25 {
            return over([self.power[0] - self.phi[0], self.power[1] - self.phi[1]], z);
        }
        let mut coefficient = 0.5;
        let (mut power, mut sum) = ([1.0, 0.0], [0.0, 0.0]);
        for k in 0..16 {
            sum = [sum[0] + coefficient * power[0], sum[1] + coefficient * power[1]];
            power = times(power, z);
            let k = f64::from(k);
            coefficient *= (k + 2.0) / ((k + 1.0) * (k + 3.0));
        }
        sum
    }
}

/// The inputs.
pub(crate) struct Inputs<'a, R> {
    /// u.
    pub(crate) u: &'a [R],
    log_dt: &'a [R],
    c: &'a [R],
    log_a_real: &'a [R],
    a_imag: &'a [R],
    /// D.
    pub(crate) skip: &'a [R],
}

/// What the recurrence multiplies by, of one state: e^z = keep + f. Where that is close to 1, keep is 1 and f = e^z - 1,
/// which has the digits that e^z has not; elsewhere keep is 0.
pub(crate) struct Factor<R> {
    /// Real and imaginary part.
    pub(crate) f: [R; 2],
    /// 1 or 0.
    pub(crate) keep: R,
    /// What rounding f takes from h in [`DRIFT`] steps, as a part of h.
    pub(crate) drift: [R; 2],
    /// 2 Ct.
    pub(crate) ct: [R; 2],
}

/// [`Factor`] of a state of each channel of a block.
struct Factors<R> {
    f: Complex<R>,
    keep: Lane<R>,
    drift: Complex<R>,
    ct: Complex<R>,
}

impl<R: Real> Factors<R> {
    fn give_back(&self, [re, im]: &mut Complex<R>) {
        let [dr, di] = &self.drift;
        for i in 0..WIDTH {
            let more = dr[i] * re[i] - di[i] * im[i];
            im[i] += dr[i] * im[i] + di[i] * re[i];
            re[i] += more;
        }
    }
}

/// Channels next to each other.
struct Block {
    first: usize,
    count: usize,
}

impl Block {
    /// The block's share of a row.
    fn load<R: Real>(&self, row: &[R]) -> Lane<R> {
        let mut lane = [R::ZERO; WIDTH];
        lane[..self.count].copy_from_slice(&row[self.first..][..self.count]);
        lane
    }
}

/// Sums over sequences: W0 and W1 of each state, and dD.
struct Sums<R> {
    w: Vec<[Complex<R>; 2]>,
    grad_skip: Lane<R>,
}

impl<'a, R: Real> Inputs<'a, R> {
    pub(crate) fn new(io: &Slices<'a, R>) -> Self {
        Self {
            u: io.read("u"),
            log_dt: io.read("log_dt"),
            c: io.read("C"),
            log_a_real: io.read("log_A_real"),
            a_imag: io.read("A_imag"),
            skip: io.read("D"),
        }
    }

    fn rate(&self, channel: usize, at: usize) -> Rate {
        Rate::new(
            self.log_dt[channel].f64(),
            self.log_a_real[at].f64(),
            self.a_imag[at].f64(),
        )
    }

    fn c(&self, at: usize) -> [f64; 2] {
        [self.c[2 * at].f64(), self.c[2 * at + 1].f64()]
    }

    /// Of a state of a channel; `at` is its place in \[d, N / 2\].
    pub(crate) fn factor(&self, channel: usize, at: usize) -> Factor<R> {
        let rate = self.rate(channel, at);
        let read = times(self.c(at), rate.phi);
        let close = rate.e[0] * rate.e[0] + rate.e[1] * rate.e[1] < 0.25;
        let from = if close { rate.e } else { rate.power };
        let rounded = from.map(R::of);
        let lost = [from[0] - rounded[0].f64(), from[1] - rounded[1].f64()];
        let lost = if rate.is_slow() {
            over(lost, rate.power)
        } else {
            [0.0; 2]
        };
        Factor {
            f: rounded,
            drift: lost.map(|x| R::of(DRIFT as f64 * x)),
            keep: if close { R::ONE } else { R::ZERO },
            ct: read.map(|x| R::of(2.0 * rate.dt * x)),
        }
    }

    fn factors(&self, states: usize, block: &Block) -> Vec<Factors<R>> {
        let of_state = |n: usize| {
            let (mut f, mut keep, mut drift, mut ct) = (zero(), [R::ZERO; WIDTH], zero(), zero());
            for i in 0..block.count {
                let channel = block.first + i;
                let own = self.factor(channel, channel * states + n);
                keep[i] = own.keep;
                for part in 0..2 {
                    f[part][i] = own.f[part];
                    drift[part][i] = own.drift[part];
                    ct[part][i] = own.ct[part];
                }
            }
            Factors { f, keep, drift, ct }
        };
        (0..states).map(of_state).collect()
    }
}

impl S4dScan {
    fn blocks(&self) -> Vec<Block> {
        let of = |first: usize| Block {
            first,
            count: WIDTH.min(self.channels - first),
        };
        (0..self.channels).step_by(WIDTH).map(of).collect()
    }

    /// The scan of a block of one sequence x \[T, d\], forwards or backwards in time: \[T, count\].
    fn scan_block<R: Real>(
        &self,
        factors: &[Factors<R>],
        skip: &Lane<R>,
        x: &[R],
        block: &Block,
        back: bool,
    ) -> Vec<R> {
        let mut y = vec![R::ZERO; self.t * block.count];
        let mut h = vec![zero::<R>(); self.states];
        for step in 0..self.t {
            let t = if back { self.t - 1 - step } else { step };
            let u = block.load(&x[t * self.channels..]);
            let mut sum = [R::ZERO; WIDTH];
            for i in 0..WIDTH {
                sum[i] = skip[i] * u[i];
            }
            for ([hr, hi], Factors { f, keep, ct, .. }) in h.iter_mut().zip(factors) {
                for i in 0..WIDTH {
                    let dr = f[0][i] * hr[i] - f[1][i] * hi[i] + u[i];
                    let di = f[0][i] * hi[i] + f[1][i] * hr[i];
                    hr[i] = keep[i] * hr[i] + dr;
                    hi[i] = keep[i] * hi[i] + di;
                    sum[i] += ct[0][i] * hr[i] - ct[1][i] * hi[i];
                }
            }
            if (step + 1).is_multiple_of(DRIFT) {
                h.iter_mut().zip(factors).for_each(|(h, f)| f.give_back(h));
            }
            y[t * block.count..][..block.count].copy_from_slice(&sum[..block.count]);
        }
        y
    }

    /// All scans of x \[B, T, d\], into `out`.
    fn scans<R: Real>(&self, inputs: &Inputs<'_, R>, x: &[R], back: bool, out: &mut [R]) {
        let blocks = self.blocks();
        let factors: Vec<_> = blocks
            .par_iter()
            .map(|block| inputs.factors(self.states, block))
            .collect();
        let sequence = self.t * self.channels;
        out.par_chunks_mut(sequence)
            .zip(x.par_chunks(sequence))
            .for_each(|(out, x)| {
                let of_block = |(block, factors): (&Block, &Vec<Factors<R>>)| {
                    self.scan_block(factors, &block.load(inputs.skip), x, block, back)
                };
                let parts: Vec<Vec<R>> = blocks.par_iter().zip(&factors).map(of_block).collect();
                for (block, part) in blocks.iter().zip(&parts) {
                    for (row, part) in out.chunks_mut(self.channels).zip(part.chunks(block.count)) {
                        row[block.first..][..block.count].copy_from_slice(part);
                    }
                }
            });
    }

    /// The sums over one sequence, u and dy \[T, d\].
    fn sums<R: Real>(&self, factors: &[Factors<R>], u: &[R], grad_y: &[R], block: &Block) -> Sums<R> {
        let mut w = vec![[zero::<R>(); 2]; self.states];
        let mut grad_skip = [R::ZERO; WIDTH];
        let mut states = vec![[zero::<R>(); 2]; self.states];
        for t in 0..self.t {
            let u = block.load(&u[t * self.channels..]);
            let grad_y = block.load(&grad_y[t * self.channels..]);
            for i in 0..WIDTH {
                grad_skip[i] += grad_y[i] * u[i];
            }
            for (([h, q], [w0, w1]), Factors { f, keep, .. }) in states.iter_mut().zip(&mut w).zip(factors) {
                for i in 0..WIDTH {
                    let (sr, si) = (q[0][i] + h[0][i], q[1][i] + h[1][i]);
                    q[0][i] = keep[i] * sr + (f[0][i] * sr - f[1][i] * si);
                    q[1][i] = keep[i] * si + (f[0][i] * si + f[1][i] * sr);
                    let dr = f[0][i] * h[0][i] - f[1][i] * h[1][i] + u[i];
                    let di = f[0][i] * h[1][i] + f[1][i] * h[0][i];
                    h[0][i] = keep[i] * h[0][i] + dr;
                    h[1][i] = keep[i] * h[1][i] + di;
                    for part in 0..2 {
                        w0[part][i] += grad_y[i] * h[part][i];
                        w1[part][i] += grad_y[i] * q[part][i];
                    }
                }
            }
            if (t + 1).is_multiple_of(DRIFT) {
                let both = states.iter_mut().zip(factors);
                both.for_each(|(both, f)| both.iter_mut().for_each(|x| f.give_back(x)));
            }
        }
        Sums { w, grad_skip }
    }

    /// The sums over all sequences: those of a piece in order, then the pieces in order.
    fn all_sums<R: Real>(&self, inputs: &Inputs<'_, R>, grad_y: &[R], block: &Block) -> Sums<R> {
        let factors = inputs.factors(self.states, block);
        let sequence = self.t * self.channels;
        let add = |mut sum: Sums<R>, part: Sums<R>| {
            for (sum, part) in sum.w.as_flattened_mut().iter_mut().zip(part.w.as_flattened()) {
                for (sum, part) in sum.as_flattened_mut().iter_mut().zip(part.as_flattened()) {
                    *sum += *part;
                }
            }
            for (sum, part) in sum.grad_skip.iter_mut().zip(part.grad_skip) {
                *sum += part;
            }
            sum
        };
        let zeros = || Sums {
            w: vec![[zero::<R>(); 2]; self.states],
            grad_skip: [R::ZERO; WIDTH],
        };
        let piece = self.b.div_ceil(PIECES) * sequence;
        let pieces: Vec<Sums<R>> = inputs
            .u
            .par_chunks(piece)
            .zip(grad_y.par_chunks(piece))
            .map(|(u, grad_y)| {
                let sequences = u.chunks(sequence).zip(grad_y.chunks(sequence));
                let of_sequence = |(u, grad_y): (&[R], &[R])| self.sums(&factors, u, grad_y, block);
                sequences.map(of_sequence).fold(zeros(), add)
            })
            .collect();
        pieces.into_iter().fold(zeros(), add)
    }
}

/// Gradients of the parameters of all channels, in port order: `log_dt`, C, `log_A_real`, `A_imag`, D.
fn parameters<R: Real>(
    op: &S4dScan,
    inputs: &Inputs<'_, R>,
    blocks: &[Block],
    sums: &[Sums<R>],
) -> [Vec<R>; 5] {
    let (d, matrix) = (op.channels, op.channels * op.states);
    let [
        mut grad_log_dt,
        mut grad_c,
        mut grad_log_a,
        mut grad_imag,
        mut grad_skip,
    ] = [d, 2 * matrix, matrix, matrix, d].map(|len| vec![R::ZERO; len]);
    for (block, sums) in blocks.iter().zip(sums) {
        for i in 0..block.count {
            let channel = block.first + i;
            let mut step = 0.0;
            for (n, w) in sums.w.iter().enumerate() {
                let at = channel * op.states + n;
                let rate = inputs.rate(channel, at);
                let [w0, w1] = [0, 1].map(|which| [w[which][0][i].f64(), w[which][1][i].f64()]);
                let double = |x: [f64; 2]| [2.0 * rate.dt * x[0], 2.0 * rate.dt * x[1]];
                let weight = double(inputs.c(at));
                let read = times(weight, w0);
                let kept = times(times(weight, rate.phi), w1);
                let gc = double(times(w0, rate.phi));
                let through = times(read, rate.phi_slope());
                let g = [0, 1].map(|part| rate.dt * (through[part] + kept[part]));
                grad_c[2 * at] = R::of(gc[0]);
                grad_c[2 * at + 1] = R::of(-gc[1]);
                grad_log_a[at] = R::of(rate.a[0] * g[0]);
                grad_imag[at] = R::of(-g[1]);
                step += times(read, rate.power)[0] + times(kept, rate.z)[0];
            }
            grad_log_dt[channel] = R::of(step);
            grad_skip[channel] = sums.grad_skip[i];
        }
    }
    [grad_log_dt, grad_c, grad_log_a, grad_imag, grad_skip]
}

impl CpuOp for S4dScan {
    fn cpu_fwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let inputs = Inputs::new(&io);
        self.scans(&inputs, inputs.u, false, io.write("y"));
    }

    fn cpu_bwd<R: Real>(&self, _step: &StepParams, mut io: Slices<'_, R>) {
        let (inputs, grad_y) = (Inputs::new(&io), io.grad("y"));
        if let Some((grad_u, _)) = io.wanted("u") {
            self.scans(&inputs, grad_y, true, grad_u);
        }
        let blocks = self.blocks();
        let sums: Vec<_> = blocks
            .par_iter()
            .map(|block| self.all_sums(&inputs, grad_y, block))
            .collect();
        let gradients = parameters(self, &inputs, &blocks, &sums);
        let ports = ["log_dt", "C", "log_A_real", "A_imag", "D"];
        for (port, gradient) in ports.into_iter().zip(gradients) {
            let Some(sum) = io.sum(port) else { continue };
            for (sum, g) in sum.iter_mut().zip(gradient) {
                *sum += g;
            }
        }
    }
}
