// Solves (M_t + diag(lambda)) x_t = rhs_t for all tokens t of a chunk by conjugate gradients from 0, as `solve` does, with the
// products on f16 matrix units at f32 accuracy. The system is that of lib/mesa_operands, (M'_t + 1) x' = rhs'; row t of the
// image of all directions P is
//   P_t + in_t P_t M' + sum_{j<=t} (P_t . K'_j) Gam_tj beta_j K'_j
// Rows of P are scaled to a norm in [2^4, 2^5) before they are split. A row stops when its residual is that of rounding (LOOSE: of
// an f16's), the workgroup when all its rows have. A subgroup has 16 COLS columns of all vectors, in registers. A workgroup a
// (16 rows of a chunk, h, b); grid (4 chunks, H, B). Workgroup memory 14,608 B with COLS 2, 10,512 B with 1, so that a
// multiprocessor has three or four. Source: von Oswald et al. 2025; models.md 4.14.
alias t_rhs = f32;
alias t_solution = f32;
alias t_operands = f16;
alias t_rounded = f16;
const ROUNDED: bool = false; // the solution in f16, too
#import lib/mesa_operands

@group(0) @binding(0) var<storage, read_write> rhs: array<t_rhs>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> beta: array<f32>; // [B, T, H]
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(3) var<storage, read_write> lambda: array<f32>; // [H, D]
@group(0) @binding(4) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(5) var<storage, read_write> scales: array<vec4<f32>>; // [B, H, chunks]
@group(0) @binding(6) var<storage, read_write> solution: array<t_solution>; // [B, T, H, D]
#if ROUNDED
@group(0) @binding(7) var<storage, read_write> rounded: array<t_rounded>; // [B, T, H, D]
#endif
@group(0) @binding(8) var<uniform> params: Params;

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
var<workgroup> p_high: array<vec4<f16>, {16 * (16 * COLS + 2)}>;
var<workgroup> p_low: array<vec4<f16>, {16 * (16 * COLS + 2)}>;
var<workgroup> scratch: array<vec4<f32>, 320>; // a block of 16 rows of 5 quads a subgroup
var<workgroup> sums: array<f32, 128>; // two sets of [4 parts of a row, 16 rows]
var<workgroup> logs: array<f32, 64>;
var<workgroup> going: array<u32, 4>; // whether a row of the subgroup goes on

// The sum over the four invocations that share a row of a block.
fn quad_sum(x: f32) -> f32 {
    let pair = x + subgroupShuffleXor(x, 1u);
    return pair + subgroupShuffleXor(pair, 2u);
}

fn row_sum(which: u32, i: u32) -> f32 {
    let at = which * 64u + i;
    return (sums[at] + sums[at + 16u]) + (sums[at + 32u] + sums[at + 48u]);
}

// 2^e that brings a vector of this squared norm to [2^4, 2^5).
fn row_exponent(square: f32) -> i32 {
    return clamp(4 - ((i32(bitcast<u32>(square) >> 23u) - 127) >> 1u), -100, 100);
}

fn set_operand(at: u32, value: vec4<f32>) {
    let rounded = high(value);
    p_high[at] = vec4<f16>(rounded);
    p_low[at] = vec4<f16>(value - rounded);
}

@compute @workgroup_size(128)
fn solve_split_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let section = wg.x % 4u; // of the chunk's rows
    set_chunk(vec3(wg.x / 4u, wg.yz));
    let part = thread / 32u; // of the columns
    let mine = part * 80u;
    // A lane's rows r and r + 8, and its quad of a block.
    let r = thread % 32u / 4u;
    let q = thread % 4u;
    let base = block() * OPERANDS;
    let scale = scales[block()];
    if thread < 64u {
        logs[thread] = table[entry(LOG, thread)];
    }
    workgroupBarrier();
    // Decays between this lane's columns of scores and its rows, with the write strength; scores are below 2^20.
#for n in 0..2
    let row{n} = section * 16u + r + {8 * n}u;
    let decay{n} = table[entry(DECAY_IN, row{n})] * scale.x;
    var weight{n} = vec4(0.0);
    {
        let first = part * 16u + q * 4u;
        var sum = 0.0;
        for (var at = first + 4u; at <= row{n}; at++) {
            sum += logs[at];
        }
#for c in 0..4
        {
            let j = first + {3 - c}u;
            if j <= row{n} {
                if is_row(j) {
                    weight{n}[{3 - c}] = exp(sum) * (beta[row(j)] * scale.z) * 0.03125;
                }
                sum += logs[j];
            }
        }
#end
    }
#end
    // Right sides, scaled to a sum of magnitudes of 1.
#for n in 0..2
#for f in 0..COLS
    var residual{n}{f} = vec4(0.0);
#for c in 0..4
    {
        let j = (part * COLS + {f}u) * 16u + q * 4u + {c}u;
        if is_row(row{n}) && j < params.d_k {
            residual{n}{f}[{c}] = f32(rhs[row(row{n}) * params.d_k + j]);
        }
    }
#end
#end
    {
        var sum = 0.0;
#for f in 0..COLS
        sum += dot(abs(residual{n}{f}), vec4(1.0));
#end
        sum = quad_sum(sum);
        if q == 0u {
            sums[part * 16u + r + {8 * n}u] = sum;
        }
    }
#end
    workgroupBarrier();
#for n in 0..2
    let size{n} = max(row_sum(0u, r + {8 * n}u), SMALLEST);
    {
        var sum = 0.0;
#for f in 0..COLS
#for c in 0..4
        {
            let j = (part * COLS + {f}u) * 16u + q * 4u + {c}u;
            if j < params.d_k {
                residual{n}{f}[{c}] *= 1.0 / size{n} / sqrt(lambda[head * params.d_k + j]);
            }
        }
#end
        sum += dot(residual{n}{f}, residual{n}{f});
#end
        sum = quad_sum(sum);
        if q == 0u {
            sums[64u + part * 16u + r + {8 * n}u] = sum;
        }
    }
#for f in 0..COLS
    var found{n}{f} = vec4(0.0);
    var direction{n}{f} = residual{n}{f};
#end
#end
    workgroupBarrier();
#for n in 0..2
    // The squared residual, the one that is small enough, and the squared norm of the direction: residuals are orthogonal to
    // the directions before them.
    var error{n} = row_sum(1u, r + {8 * n}u);
    let enough{n} = TOLERANCE * error{n};
    var square{n} = error{n};
    var live{n} = error{n} > 0.0;
#end

    for (var step = 0u; step < 4u * params.d_k + 32u; step++) {
#for n in 0..2
        let e{n} = row_exponent(square{n});
#for f in 0..COLS
        set_operand((r + {8 * n}u) * ROW + (part * COLS + {f}u) * 4u + q, power_of_two(e{n}) * direction{n}{f});
#end
#end
        let some = subgroupAny(live0 || live1);
        if thread % 32u == 0u {
            going[part] = select(0u, 1u, some);
        }
        let all = workgroupUniformLoad(&going);
        if all[0] + all[1] + all[2] + all[3] == 0u {
            break;
        }
        var s = FragC();
#for f in 0..COLS
        var t{f} = FragC();
#end
#for n in 0..KEY_BLOCKS
        {
            let large = coopLoadT<FragA>(&p_high[{4 * n}u], ROW);
            let small = coopLoadT<FragA>(&p_low[{4 * n}u], ROW);
#for f in 0..COLS
            {
                let at = base + ({n}u * ROW_BLOCKS + part * COLS + {f}u) * 64u;
                let mh = coopLoadT<FragB>(&operands[at + OF_M], 4u);
                t{f} = coopMultiplyAdd(small, mh, t{f});
                t{f} = coopMultiplyAdd(large, coopLoadT<FragB>(&operands[at + OF_M_LOW], 4u), t{f});
                t{f} = coopMultiplyAdd(large, mh, t{f});
            }
#end
            for (var once = part; once <= section; once = 4u) {
                let at = base + (part * ROW_BLOCKS + {n}u) * 64u;
                let kh = coopLoad<FragB>(&operands[at + OF_K], 4u);
                s = coopMultiplyAdd(small, kh, s);
                s = coopMultiplyAdd(large, coopLoad<FragB>(&operands[at + OF_K_LOW], 4u), s);
                s = coopMultiplyAdd(large, kh, s);
            }
        }
#end
        workgroupBarrier();
        coopStoreT(s, &scratch[mine], 5u);
        workgroupBarrier();
#for n in 0..2
        set_operand((r + {8 * n}u) * ROW + part * 4u + q, weight{n} * scratch[mine + ({8 * n}u + r) * 5u + q]);
#end
        workgroupBarrier();
#for f in 0..COLS
        coopStoreT(t{f}, &scratch[mine], 5u);
        workgroupBarrier();
#for n in 0..2
        var image{n}{f} = decay{n} * scratch[mine + ({8 * n}u + r) * 5u + q];
#end
        workgroupBarrier();
#end
#for f in 0..COLS
        var u{f} = FragC();
#end
#for n in 0..4
        for (var once = {n}u; once <= section; once = 4u) {
            let large = coopLoadT<FragA>(&p_high[{4 * n}u], ROW);
            let small = coopLoadT<FragA>(&p_low[{4 * n}u], ROW);
#for f in 0..COLS
            {
                let at = base + ({n}u * ROW_BLOCKS + part * COLS + {f}u) * 64u;
                let kh = coopLoadT<FragB>(&operands[at + OF_K], 4u);
                u{f} = coopMultiplyAdd(small, kh, u{f});
                u{f} = coopMultiplyAdd(large, coopLoadT<FragB>(&operands[at + OF_K_LOW], 4u), u{f});
                u{f} = coopMultiplyAdd(large, kh, u{f});
            }
#end
        }
#end
        let unscale = 32.0 * scale.y / scale.z;
#for f in 0..COLS
        coopStoreT(u{f}, &scratch[mine], 5u);
        workgroupBarrier();
#for n in 0..2
        {
            let sum = image{n}{f} + unscale * (scale.y * scratch[mine + ({8 * n}u + r) * 5u + q]);
            image{n}{f} = fma(vec4(power_of_two(-e{n})), sum, direction{n}{f});
        }
#end
        workgroupBarrier();
#end
#for n in 0..2
        {
            var sum = 0.0;
#for f in 0..COLS
            sum += dot(direction{n}{f}, image{n}{f});
#end
            sum = quad_sum(sum);
            if q == 0u {
                sums[part * 16u + r + {8 * n}u] = sum;
            }
        }
#end
        workgroupBarrier();
#for n in 0..2
        {
            let curvature = row_sum(0u, r + {8 * n}u);
            live{n} = live{n} && curvature > 0.0;
            let length = select(0.0, error{n} / curvature, live{n});
            var sum = 0.0;
#for f in 0..COLS
            found{n}{f} += length * direction{n}{f};
            residual{n}{f} -= length * image{n}{f};
            sum += dot(residual{n}{f}, residual{n}{f});
#end
            sum = quad_sum(sum);
            if q == 0u {
                sums[64u + part * 16u + r + {8 * n}u] = sum;
            }
        }
#end
        workgroupBarrier();
#for n in 0..2
        {
            let next = row_sum(1u, r + {8 * n}u);
            let kept = select(0.0, next / error{n}, live{n});
#for f in 0..COLS
            direction{n}{f} = fma(vec4(kept), direction{n}{f}, residual{n}{f});
#end
            square{n} = fma(kept * kept, square{n}, next);
            error{n} = next;
            live{n} = live{n} && next > enough{n};
        }
#end
    }

#for n in 0..2
    if is_row(row{n}) {
#for f in 0..COLS
#for c in 0..4
        {
            let j = (part * COLS + {f}u) * 16u + q * 4u + {c}u;
            if j < params.d_k {
                let x = size{n} / sqrt(lambda[head * params.d_k + j]) * found{n}{f}[{c}];
                solution[row(row{n}) * params.d_k + j] = t_solution(x);
#if ROUNDED
                rounded[row(row{n}) * params.d_k + j] = t_rounded(x);
#endif
            }
        }
#end
#end
    }
#end
}
