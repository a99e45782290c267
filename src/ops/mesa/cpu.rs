use super::Mesa;
use crate::ops::chunks::{Chunk, clamped, decay_factors, head_rows, product};
use crate::ops::reduce::{Pieces, add_partials, wanted_or};
use crate::ops::rows::dot;
use crate::step::StepParams;
use crate::twin::matmul::Mat;
use crate::twin::{CpuOp, In, Out, Real, Slices};
use rayon::prelude::*;

/// What makes the matrices M.
#[derive(Clone, Copy)]
struct System<'a, R> {
    k: &'a [R],
    g: &'a [R],
    beta: &'a [R],
    lambda: &'a [R],
}

/// Matrices of one chunk; reused by all chunks that a thread works on.
struct Work<R> {
    /// `[C]`: decay from the chunk's start to each token, and from each token to the chunk's end.
    decay_in: Vec<R>,
    decay_out: Vec<R>,
    /// `[C,C]`, lower triangle with diagonal: what a token keeps of the write of another, decay times beta.
    weights: Vec<R>,
    /// `[C,C]`: scores of directions and keys, weighted.
    scores: Vec<R>,
    /// `[C,D]`: written keys, decayed to the chunk's end.
    decayed_kb: Vec<R>,
    /// `[D]`: 1 / lambda.
    inverse: Vec<R>,
    /// `[C,D]`: x, and residual, direction and its image.
    solution: Vec<R>,
    residual: Vec<R>,
    direction: Vec<R>,
    image: Vec<R>,
    /// `[C]`: sum of magnitudes of each right side; the squared residual, in the norm of the preconditioner, and the one
    /// that is small enough.
    size: Vec<R>,
    error: Vec<R>,
    enough: Vec<R>,
}

impl<R: Real> Work<R> {
    fn new(op: &Mesa) -> Self {
        let (c, d) = (op.chunk, op.d);
        let zeros = |n: usize| vec![R::ZERO; n];
        Self {
            decay_in: zeros(c),
            decay_out: zeros(c),
            weights: zeros(c * c),
            scores: zeros(c * c),
            decayed_kb: zeros(c * d),
            inverse: zeros(d),
            solution: zeros(c * d),
            residual: zeros(c * d),
            direction: zeros(c * d),
            image: zeros(c * d),
            size: zeros(c),
            error: zeros(c),
            enough: zeros(c),
        }
    }

    /// What of a chunk depends neither on the state nor on right sides.
    fn chunk_prep(&mut self, op: &Mesa, system: System<'_, R>, at: Chunk) {
        let (c, d) = (op.chunk, op.d);
        let log_decay = |i: usize| clamped(system.g[at.row_at(i)]);
        decay_factors(
            at.n,
            c,
            log_decay,
            &mut self.decay_in,
            &mut self.decay_out,
            &mut self.weights,
        );
        for row in self.weights.chunks_mut(c).take(at.n) {
            for (j, weight) in row.iter_mut().enumerate().take(at.n) {
                *weight *= system.beta[at.row_at(j)];
            }
        }
        for (i, row) in self.decayed_kb.chunks_mut(d).enumerate().take(at.n) {
            let factor = self.decay_out[i] * system.beta[at.row_at(i)];
            let key = at.at(system.k, d, i);
            row.iter_mut().zip(key).for_each(|(y, k)| *y = factor * *k);
        }
    }

    /// Solves (M + diag(lambda)) x = rhs for the tokens of a chunk, which was prepared, each with its own M: x is left in
    /// `solution`. `m` is M at the chunk's start. Each row has its own step lengths; one that has converged stands still.
    fn solve<'a>(
        &mut self,
        op: &Mesa,
        system: System<'_, R>,
        at: Chunk,
        m: &[R],
        lambda: &[R],
        rhs: impl Fn(usize) -> &'a [R],
    ) {
        let (d, n) = (op.d, at.n);
        for (inverse, lambda) in self.inverse.iter_mut().zip(lambda) {
            *inverse = R::ONE / *lambda;
        }
        let tolerance = R::EPSILON * R::of(0.125);
        for i in 0..n {
            let rows = i * d..(i + 1) * d;
            // Scaled, so that no square underflows.
            let size: R = rhs(i).iter().map(|x| x.abs()).sum();
            let scale = if size > R::ZERO { R::ONE / size } else { R::ZERO };
            let residual = &mut self.residual[rows.clone()];
            let direction = &mut self.direction[rows.clone()];
            for j in 0..d {
                residual[j] = scale * rhs(i)[j];
                direction[j] = self.inverse[j] * residual[j];
            }
            self.solution[rows].fill(R::ZERO);
            self.size[i] = size;
            self.error[i] = dot(residual, direction);
            self.enough[i] = tolerance * tolerance * self.error[i];
        }
        for _ in 0..4 * d + 32 {
            if !(0..n).any(|i| self.is_live(i)) {
                break;
            }
            self.multiply(op, system.k, at, m);
            for i in 0..n {
                if self.is_live(i) {
                    self.advance(i, lambda);
                }
            }
        }
        for (row, size) in self.solution.chunks_mut(d).zip(&self.size).take(n) {
            row.iter_mut().for_each(|x| *x *= *size);
        }
    }

    /// Whether a row has not converged; one that is not a number stops, too.
    fn is_live(&self, row: usize) -> bool {
        self.error[row] > self.enough[row]
    }

    /// One step of a row, from the product of M and its direction in `image`.
    fn advance(&mut self, row: usize, lambda: &[R]) {
        let d = lambda.len();
        let rows = row * d..(row + 1) * d;
        let solution = &mut self.solution[rows.clone()];
        let residual = &mut self.residual[rows.clone()];
        let direction = &mut self.direction[rows.clone()];
        let image = &mut self.image[rows];
        for j in 0..d {
            image[j] += lambda[j] * direction[j];
        }
        let length = self.error[row] / dot(direction, image);
        for j in 0..d {
            solution[j] += length * direction[j];
            residual[j] += -length * image[j];
            image[j] = self.inverse[j] * residual[j];
        }
        let error = dot(residual, image);
        let keep = error / self.error[row];
        for j in 0..d {
            direction[j] = image[j] + keep * direction[j];
        }
        self.error[row] = error;
    }

    /// `image` = the product of each row of `direction` and its own M.
    fn multiply(&mut self, op: &Mesa, k: &[R], at: Chunk, m: &[R]) {
        let (c, d, n) = (op.chunk, op.d, at.n);
        let (k, direction) = (at.mat(k, d), Mat::rows(&self.direction, d));
        product((n, n, d), direction, k.t(), &mut self.scores, c, R::ZERO);
        for i in 0..n {
            let (own, later) = self.scores[i * c..][..n].split_at_mut(i + 1);
            own.iter_mut()
                .zip(&self.weights[i * c..])
                .for_each(|(x, w)| *x *= *w);
            later.fill(R::ZERO);
        }
        product((n, d, d), direction, Mat::rows(m, d), &mut self.image, d, R::ZERO);
        for (row, decay) in self.image.chunks_mut(d).zip(&self.decay_in).take(n) {
            row.iter_mut().for_each(|x| *x *= *decay);
        }
        product(
            (n, d, n),
            Mat::rows(&self.scores, c),
            k,
            &mut self.image,
            d,
            R::ONE,
        );
    }
}

impl CpuOp for Mesa {
    fn cpu_fwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let q = io.read("q");
        let system = system(&io);
        let (o, x, m, n) = (io.write("o"), io.write("x"), io.write("m"), io.write("n"));
        let states = m.len() / (self.b * self.h);
        head_rows(x, self.d, self.t, self.h)
            .into_par_iter()
            .zip(m.par_chunks_mut(states))
            .enumerate()
            .for_each_init(
                || Work::new(self),
                |w, (head, (mut x, m))| self.head_fwd(q, system, head, &mut x, m, w),
            );
        let kb = written_keys(system, self.d);
        let read_out = Slices {
            reads: named([("q", x), ("k", &kb), ("v", io.read("v")), ("g", system.g)]),
            writes: vec![("o", Out::new(o)), ("states", Out::new(n))],
            ..Slices::default()
        };
        self.memory(1.0).cpu_fwd(step, read_out);
    }

    fn cpu_bwd<R: Real>(&self, step: &StepParams, mut io: Slices<'_, R>) {
        let (d, system) = (self.d, system(&io));
        let (x, m, n) = (io.read("x"), io.read("m"), io.read("n"));
        // Gradients that nobody wants still need a place.
        let mut spare: [Vec<R>; 5] = Default::default();
        let [spare_q, spare_k, spare_v, spare_g, spare_beta] = &mut spare;
        let (size, rows) = (x.len(), system.g.len());
        let y = wanted_or(io.wanted("q"), spare_q, size);
        let grad_k = wanted_or(io.wanted("k"), spare_k, size);
        let grad_v = wanted_or(io.wanted("v"), spare_v, size);
        let grad_g = wanted_or(io.wanted("g"), spare_g, rows);
        let grad_beta = wanted_or(io.wanted("beta"), spare_beta, rows);
        let zeros = |n: usize| vec![R::ZERO; n];
        let (mut u, mut grad_kb_n, mut grad_kb_m) = (zeros(size), zeros(size), zeros(size));
        let (mut grad_g_m, kb) = (zeros(rows), written_keys(system, d));

        let values = Slices {
            reads: named([
                ("q", x),
                ("k", &kb),
                ("v", io.read("v")),
                ("g", system.g),
                ("states", n),
            ]),
            grads: named([("o", io.grad("o"))]),
            wanted: vec![
                ("q", Out::new(&mut u)),
                ("k", Out::new(&mut grad_kb_n)),
                ("v", Out::new(grad_v)),
                ("g", Out::new(grad_g)),
            ],
            ..Slices::default()
        };
        self.memory(1.0).cpu_bwd(step, values);
        head_rows(y, d, self.t, self.h)
            .into_par_iter()
            .enumerate()
            .for_each_init(
                || Work::new(self),
                |w, (head, mut y)| self.head_bwd(&u, system, head, m, &mut y, w),
            );
        // d_k takes the gradient of the keys as values of M.
        let keys = Slices {
            reads: named([
                ("q", x),
                ("k", &kb),
                ("v", system.k),
                ("g", system.g),
                ("states", m),
            ]),
            grads: named([("o", &*y)]),
            wanted: vec![
                ("k", Out::new(&mut grad_kb_m)),
                ("v", Out::new(grad_k)),
                ("g", Out::new(&mut grad_g_m)),
            ],
            ..Slices::default()
        };
        self.memory(-1.0).cpu_bwd(step, keys);

        grad_g
            .iter_mut()
            .zip(&grad_g_m)
            .for_each(|(sum, part)| *sum += *part);
        let parts = grad_kb_n.par_chunks_mut(d).zip(grad_kb_m.par_chunks(d));
        let targets = grad_k.par_chunks_mut(d).zip(grad_beta.par_iter_mut());
        targets
            .zip(parts)
            .enumerate()
            .for_each(|(row, ((grad_k, grad_beta), (grad_kb, more)))| {
                grad_kb.iter_mut().zip(more).for_each(|(sum, part)| *sum += *part);
                let beta = system.beta[row];
                grad_k
                    .iter_mut()
                    .zip(&*grad_kb)
                    .for_each(|(sum, grad_kb)| *sum += beta * *grad_kb);
                *grad_beta = dot(&system.k[row * d..][..d], grad_kb);
            });
        if let Some(sum) = io.sum("lambda") {
            self.add_grad_lambda(x, y, sum);
        }
    }
}

impl Mesa {
    fn rows_of(&self, head: usize, chunk: usize) -> Chunk {
        let first = chunk * self.chunk;
        Chunk::new(head, self.t, self.h, first, self.chunk.min(self.t - first))
    }

    /// Lambda of a head.
    fn lambda<'a, R>(&self, system: System<'a, R>, head: usize) -> &'a [R] {
        &system.lambda[head % self.h * self.d..][..self.d]
    }

    /// x and M at the start of each chunk of one head: `x` by rows, `m` by chunks.
    fn head_fwd<R: Real>(
        &self,
        q: &[R],
        system: System<'_, R>,
        head: usize,
        x: &mut [&mut [R]],
        m: &mut [R],
        w: &mut Work<R>,
    ) {
        let (c, d) = (self.chunk, self.d);
        let lambda = self.lambda(system, head);
        m[..d * d].fill(R::ZERO);
        for i in 0..self.chunks() {
            let at = self.rows_of(head, i);
            let (before, after) = m.split_at_mut((i + 1) * d * d);
            let state = &before[i * d * d..];
            w.chunk_prep(self, system, at);
            w.solve(self, system, at, state, lambda, |row| at.at(q, d, row));
            for (to, from) in x[i * c..].iter_mut().zip(w.solution.chunks(d)).take(at.n) {
                to.copy_from_slice(from);
            }
            if !after.is_empty() {
                let (next, whole) = (&mut after[..d * d], w.decay_in[at.n - 1]);
                next.iter_mut().zip(state).for_each(|(y, x)| *y = whole * *x);
                let decayed_kb = Mat::rows(&w.decayed_kb, d).t();
                product((d, d, at.n), decayed_kb, at.mat(system.k, d), next, d, R::ONE);
            }
        }
    }

    /// y of one head from the gradients u of x.
    fn head_bwd<R: Real>(
        &self,
        u: &[R],
        system: System<'_, R>,
        head: usize,
        m: &[R],
        y: &mut [&mut [R]],
        w: &mut Work<R>,
    ) {
        let (c, d, chunks) = (self.chunk, self.d, self.chunks());
        let lambda = self.lambda(system, head);
        for i in 0..chunks {
            let at = self.rows_of(head, i);
            let state = &m[(head * chunks + i) * d * d..][..d * d];
            w.chunk_prep(self, system, at);
            w.solve(self, system, at, state, lambda, |row| at.at(u, d, row));
            for (to, from) in y[i * c..].iter_mut().zip(w.solution.chunks(d)).take(at.n) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Adds -y * x to `sum` `[H,D]`, over tokens.
    fn add_grad_lambda<R: Real>(&self, x: &[R], y: &[R], sum: &mut [R]) {
        let n = self.h * self.d;
        let pieces = Pieces::new(self.b * self.t);
        let mut partials = pieces.partials(n);
        let rows = x.par_chunks(pieces.rows * n).zip(y.par_chunks(pieces.rows * n));
        partials.par_chunks_mut(n).zip(rows).for_each(|(sum, (x, y))| {
            for (x, y) in x.chunks(n).zip(y.chunks(n)) {
                for i in 0..n {
                    sum[i] += -(x[i] * y[i]);
                }
            }
        });
        add_partials(sum, &partials);
    }
}

fn system<'a, R: Real>(io: &Slices<'a, R>) -> System<'a, R> {
    let [k, g, beta, lambda] = ["k", "g", "beta", "lambda"].map(|name| io.read(name));
    System { k, g, beta, lambda }
}

/// kb = beta k.
fn written_keys<R: Real>(system: System<'_, R>, d: usize) -> Vec<R> {
    let mut kb = system.k.to_vec();
    kb.par_chunks_mut(d).zip(system.beta).for_each(|(row, beta)| {
        row.iter_mut().for_each(|x| *x *= *beta);
    });
    kb
}

/// What a call within this one reads.
fn named<'a, R, const N: usize>(all: [(&'static str, &'a [R]); N]) -> Vec<(&'static str, In<'a, R>)> {
    all.into_iter().map(|(name, x)| (name, In::Real(x))).collect()
}
