// Solves (M_t + diag(lambda)) x_t = rhs_t for all tokens t of a chunk by conjugate gradients from 0, as `solve` does, with the
// products on f16 matrix units at f32 accuracy. The system is that of lib/mesa_operands, (M'_t + 1) x' = rhs'; row t of the
// image of all directions P is
//   P_t + in_t P_t M' + sum_{j<=t} (P_t . K'_j) Gam_tj beta_j K'_j
// Rows of P are scaled to a norm in [2^4, 2^5) before they are split. A row stops when its residual is that of rounding (LOOSE: of
// an f16's), the workgroup when all rows have. A subgroup has 32 rows and 16 COLS columns of all
// vectors, in registers. A workgroup a (chunk, h, b); grid (chunks, H, B). Workgroup memory 47,392 B with COLS 2, 31,008 B with
// 1. Source: von Oswald et al. 2025; models.md 4.14.
alias t_rhs = f32;
alias t_solution = f32;
alias t_operands = f16;
#import lib/mesa_operands

@group(0) @binding(0) var<storage, read_write> rhs: array<t_rhs>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> beta: array<f32>; // [B, T, H]
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(3) var<storage, read_write> lambda: array<f32>; // [H, D]
@group(0) @binding(4) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(5) var<storage, read_write> scales: array<vec4<f32>>; // [B, H, chunks]
@group(0) @binding(6) var<storage, read_write> solution: array<t_solution>; // [B, T, H, D]
@group(0) @binding(7) var<uniform> params: Params;

const LOOSE: bool = false;
// Of the squared residual.
#if LOOSE
const TOLERANCE: f32 = 1.5e-11; // (2^-18)^2
#else
const TOLERANCE: f32 = 2.2e-16; // (2^-26)^2
#endif
const SMALLEST: f32 = 1e-37; // right sides below this count as it
const ROW: u32 = {16 * COLS + 2}; // quads of a row of P: two more, so that rows start in different banks

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

// P, then the weighted scores.
var<workgroup> p_high: array<vec4<f16>, {64 * (16 * COLS + 2)}>;
var<workgroup> p_low: array<vec4<f16>, {64 * (16 * COLS + 2)}>;
var<workgroup> scratch: array<vec4<f32>, 640>; // a block of 16 rows of 5 quads a subgroup
var<workgroup> sums: array<f32, 512>; // two sets of [4 parts of a row, C]
var<workgroup> logs: array<f32, 64>;
var<workgroup> going: array<u32, 8>; // whether a row of the subgroup goes on

// The sum over the four invocations that share a row of a block.
fn quad_sum(x: f32) -> f32 {
    let pair = x + subgroupShuffleXor(x, 1u);
    return pair + subgroupShuffleXor(pair, 2u);
}

fn row_sum(which: u32, i: u32) -> f32 {
    let at = which * 256u + i;
    return (sums[at] + sums[at + 64u]) + (sums[at + 128u] + sums[at + 192u]);
}

// 2^e that brings a vector of this squared norm to [2^4, 2^5).
fn row_exponent(square: f32) -> i32 {
    return clamp(4 - ((i32(bitcast<u32>(square) >> 23u) - 127) >> 1u), -100, 100);
}

// 0, read anew in step i, from a place that changes: a driver that knew how often loops run would unroll them, and take five
// times as long to compile them.
fn unknown(i: u32) -> u32 {
    return params.ends[i % 4u] - params.chunks;
}

fn set_operand(at: u32, value: vec4<f32>) {
    let rounded = high(value);
    p_high[at] = vec4<f16>(rounded);
    p_low[at] = vec4<f16>(value - rounded);
}

@compute @workgroup_size(256)
fn solve_split_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    set_chunk(wg);
    let subgroup = thread / 32u;
    let part = subgroup % 4u; // of the columns
    let upper = subgroup / 4u; // the first 32 rows, or the others
    let mine = subgroup * 80u;
    // A lane's rows r and r + 8 of a block, and its quad there.
    let r = thread % 32u / 4u;
    let q = thread % 4u;
    let first = upper * 32u + r;
    let base = block() * OPERANDS;
    let scale = scales[block()];
    if thread < 64u {
        logs[thread] = table[entry(LOG, thread)];
    }
    workgroupBarrier();
#for a in 0..2
#for n in 0..2
    // Decays between this lane's columns of scores and its rows, with the write strength; scores are below 2^20.
    var weight{a}{n} = vec4(0.0);
    let row{a}{n} = first + {16 * a + 8 * n}u;
    let decay{a}{n} = table[entry(DECAY_IN, row{a}{n})] * scale.x;
#for c in 0..4
    {
        let j = part * 16u + q * 4u + {c}u;
        if j <= row{a}{n} && is_row(j) {
            var sum = 0.0;
            for (var at = j + 1u; at <= row{a}{n}; at++) {
                sum += logs[at];
            }
            weight{a}{n}[{c}] = exp(sum) * (beta[row(j)] * scale.z) * 0.03125;
        }
    }
#end
#end
#end
    // Right sides, scaled to a sum of magnitudes of 1.
#for a in 0..2
#for n in 0..2
#for f in 0..COLS
    var residual{a}{n}{f} = vec4(0.0);
#for c in 0..4
    {
        let j = (part * COLS + {f}u) * 16u + q * 4u + {c}u;
        if is_row(row{a}{n}) && j < params.d_k {
            residual{a}{n}{f}[{c}] = f32(rhs[row(row{a}{n}) * params.d_k + j]);
        }
    }
#end
#end
    {
        var sum = 0.0;
#for f in 0..COLS
        sum += dot(abs(residual{a}{n}{f}), vec4(1.0));
#end
        sum = quad_sum(sum);
        if q == 0u {
            sums[part * 64u + row{a}{n}] = sum;
        }
    }
#end
#end
    workgroupBarrier();
#for a in 0..2
#for n in 0..2
    let size{a}{n} = max(row_sum(0u, row{a}{n}), SMALLEST);
    {
        var sum = 0.0;
#for f in 0..COLS
#for c in 0..4
        {
            let j = (part * COLS + {f}u) * 16u + q * 4u + {c}u;
            if j < params.d_k {
                residual{a}{n}{f}[{c}] *= 1.0 / size{a}{n} / sqrt(lambda[head * params.d_k + j]);
            }
        }
#end
        sum += dot(residual{a}{n}{f}, residual{a}{n}{f});
#end
        sum = quad_sum(sum);
        if q == 0u {
            sums[256u + part * 64u + row{a}{n}] = sum;
        }
    }
#for f in 0..COLS
    var found{a}{n}{f} = vec4(0.0);
    var direction{a}{n}{f} = residual{a}{n}{f};
#end
#end
#end
    workgroupBarrier();
#for a in 0..2
#for n in 0..2
    // The squared residual, the one that is small enough, and the squared norm of the direction: residuals are orthogonal to
    // the directions before them.
    var error{a}{n} = row_sum(1u, row{a}{n});
    let enough{a}{n} = TOLERANCE * error{a}{n};
    var square{a}{n} = error{a}{n};
    var live{a}{n} = error{a}{n} > 0.0;
#end
#end

    for (var step = 0u; step < 4u * params.d_k + 32u; step++) {
#for a in 0..2
#for n in 0..2
        let e{a}{n} = row_exponent(square{a}{n});
#for f in 0..COLS
        set_operand(
            row{a}{n} * ROW + (part * COLS + {f}u) * 4u + q,
            power_of_two(e{a}{n}) * direction{a}{n}{f},
        );
#end
#end
#end
        let some = subgroupAny(live00 || live01 || live10 || live11);
        if thread % 32u == 0u {
            going[subgroup] = select(0u, 1u, some);
        }
        let all = workgroupUniformLoad(&going);
        if all[0] + all[1] + all[2] + all[3] + all[4] + all[5] + all[6] + all[7] == 0u {
            break;
        }
#for a in 0..2
        var s{a} = FragC();
#for f in 0..COLS
        var t{a}{f} = FragC();
#end
#end
        for (var kb = 0u; kb < KEY_BLOCKS + unknown(kb); kb++) {
#for a in 0..2
            let ph{a} = coopLoadT<FragA>(&p_high[(upper * 32u + {16 * a}u) * ROW + kb * 4u], ROW);
            let pl{a} = coopLoadT<FragA>(&p_low[(upper * 32u + {16 * a}u) * ROW + kb * 4u], ROW);
#end
#for f in 0..COLS
            {
                let at = base + (kb * ROW_BLOCKS + part * COLS + {f}u) * 64u;
                let mh = coopLoadT<FragB>(&operands[at + OF_M], 4u);
                let ml = coopLoadT<FragB>(&operands[at + OF_M_LOW], 4u);
#for a in 0..2
                t{a}{f} = coopMultiplyAdd(pl{a}, mh, t{a}{f});
                t{a}{f} = coopMultiplyAdd(ph{a}, ml, t{a}{f});
                t{a}{f} = coopMultiplyAdd(ph{a}, mh, t{a}{f});
#end
            }
#end
            for (var once = part; once < 2u * upper + 2u; once = 4u) {
                let at = base + (part * ROW_BLOCKS + kb) * 64u;
                let kh = coopLoad<FragB>(&operands[at + OF_K], 4u);
                let kl = coopLoad<FragB>(&operands[at + OF_K_LOW], 4u);
#for a in 0..2
                s{a} = coopMultiplyAdd(pl{a}, kh, s{a});
                s{a} = coopMultiplyAdd(ph{a}, kl, s{a});
                s{a} = coopMultiplyAdd(ph{a}, kh, s{a});
#end
            }
        }
        workgroupBarrier();
#for a in 0..2
        coopStoreT(s{a}, &scratch[mine], 5u);
        workgroupBarrier();
#for n in 0..2
        set_operand(row{a}{n} * ROW + part * 4u + q, weight{a}{n} * scratch[mine + ({8 * n}u + r) * 5u + q]);
#end
        workgroupBarrier();
#for f in 0..COLS
        coopStoreT(t{a}{f}, &scratch[mine], 5u);
        workgroupBarrier();
#for n in 0..2
        var image{a}{n}{f} = decay{a}{n} * scratch[mine + ({8 * n}u + r) * 5u + q];
#end
        workgroupBarrier();
#end
#end
        workgroupBarrier();
#for a in 0..2
#for f in 0..COLS
        var u{a}{f} = FragC();
#end
#end
        for (var jb = 0u; jb < 2u * upper + 2u + unknown(jb); jb++) {
#for a in 0..2
            let ph{a} = coopLoadT<FragA>(&p_high[(upper * 32u + {16 * a}u) * ROW + jb * 4u], ROW);
            let pl{a} = coopLoadT<FragA>(&p_low[(upper * 32u + {16 * a}u) * ROW + jb * 4u], ROW);
#end
#for f in 0..COLS
            {
                let at = base + (jb * ROW_BLOCKS + part * COLS + {f}u) * 64u;
                let kh = coopLoadT<FragB>(&operands[at + OF_K], 4u);
                let kl = coopLoadT<FragB>(&operands[at + OF_K_LOW], 4u);
#for a in 0..2
                u{a}{f} = coopMultiplyAdd(pl{a}, kh, u{a}{f});
                u{a}{f} = coopMultiplyAdd(ph{a}, kl, u{a}{f});
                u{a}{f} = coopMultiplyAdd(ph{a}, kh, u{a}{f});
#end
            }
#end
        }
        let unscale = 32.0 * scale.y / scale.z;
#for a in 0..2
#for f in 0..COLS
        coopStoreT(u{a}{f}, &scratch[mine], 5u);
        workgroupBarrier();
#for n in 0..2
        {
            let sum = image{a}{n}{f} + unscale * (scale.y * scratch[mine + ({8 * n}u + r) * 5u + q]);
            image{a}{n}{f} = fma(vec4(power_of_two(-e{a}{n})), sum, direction{a}{n}{f});
        }
#end
        workgroupBarrier();
#end
#for n in 0..2
        {
            var sum = 0.0;
#for f in 0..COLS
            sum += dot(direction{a}{n}{f}, image{a}{n}{f});
#end
            sum = quad_sum(sum);
            if q == 0u {
                sums[part * 64u + row{a}{n}] = sum;
            }
        }
#end
#end
        workgroupBarrier();
#for a in 0..2
#for n in 0..2
        {
            let curvature = row_sum(0u, row{a}{n});
            live{a}{n} = live{a}{n} && curvature > 0.0;
            let length = select(0.0, error{a}{n} / curvature, live{a}{n});
            var sum = 0.0;
#for f in 0..COLS
            found{a}{n}{f} += length * direction{a}{n}{f};
            residual{a}{n}{f} -= length * image{a}{n}{f};
            sum += dot(residual{a}{n}{f}, residual{a}{n}{f});
#end
            sum = quad_sum(sum);
            if q == 0u {
                sums[256u + part * 64u + row{a}{n}] = sum;
            }
        }
#end
#end
        workgroupBarrier();
#for a in 0..2
#for n in 0..2
        {
            let next = row_sum(1u, row{a}{n});
            let kept = select(0.0, next / error{a}{n}, live{a}{n});
#for f in 0..COLS
            direction{a}{n}{f} = fma(vec4(kept), direction{a}{n}{f}, residual{a}{n}{f});
#end
            square{a}{n} = fma(kept * kept, square{a}{n}, next);
            error{a}{n} = next;
            live{a}{n} = live{a}{n} && next > enough{a}{n};
        }
#end
#end
    }

#for a in 0..2
#for n in 0..2
    if is_row(row{a}{n}) {
#for f in 0..COLS
#for c in 0..4
        {
            let j = (part * COLS + {f}u) * 16u + q * 4u + {c}u;
            if j < params.d_k {
                let x = size{a}{n} / sqrt(lambda[head * params.d_k + j]) * found{a}{n}{f}[{c}];
                solution[row(row{a}{n}) * params.d_k + j] = t_solution(x);
            }
        }
#end
#end
    }
#end
#end
}
