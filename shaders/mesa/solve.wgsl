// Solves (M_t + diag(lambda)) x_t = rhs_t for all tokens t of a chunk by conjugate gradients with diag(lambda) as
// preconditioner, from x = 0. No M_t is formed: row t of the image of all directions is
//   p_t (direction_t M) + sum_{j<=t} (direction_t . k_j) Gam_tj beta_j k_j + lambda * direction_t,
// M the state at the chunk's start. A row stops when its residual is that of rounding, the workgroup when all rows have.
// Right sides are scaled to a sum of magnitudes of 1, so that no square underflows. A workgroup a (chunk, h, b); grid
// (chunks, H, B). Source: von Oswald et al. 2025; models.md 4.14.
const DECAYS: bool = true;
alias t_rhs = f32;
alias t_k = f32;
alias t_solution = f32;
#import lib/tile
#import lib/chunk
#import lib/decay

#if WIDE
alias a_k = vec4<t_k>;
#else
alias a_k = t_k;
#endif

@group(0) @binding(0) var<storage, read_write> rhs: array<t_rhs>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> beta: array<f32>; // [B, T, H]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(4) var<storage, read_write> m: array<Value>; // [B, H, chunks, D, D], symmetric
@group(0) @binding(5) var<storage, read_write> lambda: array<f32>; // [H, D]
@group(0) @binding(6) var<storage, read_write> solution: array<t_solution>; // [B, T, H, D]
@group(0) @binding(7) var<storage, read_write> work: array<vec4<f32>>; // [B, H, chunks, 4 C tiles 16 + C C / 4]
@group(0) @binding(8) var<uniform> params: Params;

const TOLERANCE: f32 = 2.2e-16; // of the squared residual: (2^-26)^2
const SMALLEST: f32 = 1e-37; // right sides below this count as it

// Matrices of `work`, [tiles, C, 64] each; then the weights, [C, C].
const SOLUTION: u32 = 0;
const RESIDUAL: u32 = 1;
const DIRECTION: u32 = 2;
const IMAGE: u32 = 3;
const WEIGHTS: u32 = 4;

var<workgroup> factors: array<f32, CHUNK>; // one of each row
var<workgroup> going: u32; // rows that go on

fn tiles() -> u32 {
    return (params.d_k + 63u) / 64u;
}

// First vec4 of a matrix.
fn start(matrix: u32) -> u32 {
    let size = CHUNK * 16u * tiles();
    return block() * (4u * size + CHUNK * CHUNK / 4u) + matrix * size;
}

// This invocation's columns of row i in a tile.
fn slot(matrix: u32, tile: u32, i: u32) -> u32 {
    return start(matrix) + (tile * CHUNK + i) * 16u + x;
}

const OF_DIRECTION: u32 = 0;
const OF_K: u32 = 1;
const OF_M: u32 = 2;
const OF_WEIGHTS: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot = Spot(0u, true);
    var value = Value();
    if operand == OF_DIRECTION {
        value = part_of(work[start(DIRECTION) + (j / 64u * CHUNK + i) * 16u + j % 64u / 4u], j);
    } else if operand == OF_K {
        spot = in_keys(i, j);
        value = Value(k[spot.at]);
    } else if operand == OF_M {
        spot = in_state(i, j);
        value = m[spot.at];
    } else {
        value = part_of(work[start(WEIGHTS) + (i * CHUNK + j) / 4u], j);
    }
    return select(Value(), value, spot.ok);
}

// Four columns of a right side, 0 outside of it.
fn right_side(i: u32, j: u32) -> vec4<f32> {
    var value = vec4(0.0);
    if is_row(i) {
#for c in 0..4
        if j + {c}u < params.d_k {
            value[{c}] = f32(rhs[row(i) * params.d_k + j + {c}u]);
        }
#end
    }
    return value;
}

// Lambda of four columns, 1 for padding.
fn lambdas(j: u32) -> vec4<f32> {
    var value = vec4(1.0);
#for c in 0..4
    if j + {c}u < params.d_k {
        value[{c}] = lambda[head * params.d_k + j + {c}u];
    }
#end
    return value;
}

// Write strength of row i.
fn strength(i: u32) -> f32 {
    var value = 0.0;
    if is_row(i) {
        value = beta[row(i)];
    }
    return value;
}

// One number a row, from the invocation of that number to all.
fn spread(lane: u32, value: f32) {
    if lane < CHUNK {
        factors[lane] = value;
    }
    workgroupBarrier();
}

@compute @workgroup_size({THREADS})
fn solve(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    tile_lanes(lane);
    let i = 4u * y;
    var here = 0.0;
    if lane < CHUNK {
        here = table[entry(LOG, lane)];
    }
    set_log_decay(lane, here);
    var weights = gam_tile();
    let strengths = vec4(strength(4u * x), strength(4u * x + 1u), strength(4u * x + 2u), strength(4u * x + 3u));
#for r in 0..4
    weights.r{r} *= strengths;
    let decay_{r} = table[entry(DECAY_IN, i + {r}u)];
#end

    var part = vec4(0.0);
    for (var tile = 0u; tile < tiles(); tile++) {
#for r in 0..4
        part[{r}] += dot(abs(right_side(i + {r}u, tile * 64u + 4u * x)), vec4(1.0));
#end
    }
    var size = row_sums(part, lane);
    size = select(size, SMALLEST, size < SMALLEST);
    spread(lane, 1.0 / size);
    part = vec4(0.0);
    for (var tile = 0u; tile < tiles(); tile++) {
        let j = tile * 64u + 4u * x;
        let inverse = 1.0 / lambdas(j);
#for r in 0..4
        let residual_{r} = factors[i + {r}u] * right_side(i + {r}u, j);
        work[slot(SOLUTION, tile, i + {r}u)] = vec4(0.0);
        work[slot(RESIDUAL, tile, i + {r}u)] = residual_{r};
        work[slot(DIRECTION, tile, i + {r}u)] = inverse * residual_{r};
        part[{r}] += dot(residual_{r}, inverse * residual_{r});
#end
    }
    storageBarrier();
    // The squared residual, in the norm of the preconditioner, of row `lane`.
    var error = row_sums(part, lane);
    let enough = TOLERANCE * error;
    var live = lane < CHUNK && error > 0.0;

    for (var step = 0u; step < 4u * params.d_k + 32u; step++) {
        let left = workgroup_sum(select(0.0, 1.0, live), lane);
        if lane == 0u {
            going = u32(left);
        }
        if workgroupUniformLoad(&going) == 0u {
            break;
        }
        let scores = product(zero_tile(), OF_DIRECTION, false, 0u, OF_K, true, 0u, params.d_k);
        if x < CHUNK / 4u {
#for r in 0..4
            work[start(WEIGHTS) + (i + {r}u) * (CHUNK / 4u) + x] = scores.r{r} * weights.r{r};
#end
        }
        storageBarrier();
        part = vec4(0.0);
        for (var tile = 0u; tile < tiles(); tile++) {
            var t = product(zero_tile(), OF_DIRECTION, false, 0u, OF_M, false, tile * 64u, params.d_k);
#for r in 0..4
            t.r{r} *= decay_{r};
#end
            t = product(t, OF_WEIGHTS, false, 0u, OF_K, false, tile * 64u, rows_of(wg.x));
            let lambda_here = lambdas(tile * 64u + 4u * x);
#for r in 0..4
            let direction_{r} = work[slot(DIRECTION, tile, i + {r}u)];
            let image_{r} = fma(lambda_here, direction_{r}, t.r{r});
            work[slot(IMAGE, tile, i + {r}u)] = image_{r};
            part[{r}] += dot(direction_{r}, image_{r});
#end
        }
        let curvature = row_sums(part, lane);
        live = live && curvature > 0.0;
        spread(lane, select(0.0, error / curvature, live));
        part = vec4(0.0);
        for (var tile = 0u; tile < tiles(); tile++) {
            let inverse = 1.0 / lambdas(tile * 64u + 4u * x);
#for r in 0..4
            let length_{r} = factors[i + {r}u];
            let solution_{r} = slot(SOLUTION, tile, i + {r}u);
            work[solution_{r}] += length_{r} * work[slot(DIRECTION, tile, i + {r}u)];
            let at_{r} = slot(RESIDUAL, tile, i + {r}u);
            let residual_{r} = work[at_{r}] - length_{r} * work[slot(IMAGE, tile, i + {r}u)];
            work[at_{r}] = residual_{r};
            part[{r}] += dot(residual_{r}, inverse * residual_{r});
#end
        }
        let next = row_sums(part, lane);
        spread(lane, select(0.0, next / error, live));
        error = next;
        live = live && next > enough;
        for (var tile = 0u; tile < tiles(); tile++) {
            let inverse = 1.0 / lambdas(tile * 64u + 4u * x);
#for r in 0..4
            let at_{r} = slot(DIRECTION, tile, i + {r}u);
            let descent_{r} = inverse * work[slot(RESIDUAL, tile, i + {r}u)];
            work[at_{r}] = fma(vec4(factors[i + {r}u]), work[at_{r}], descent_{r});
#end
        }
        storageBarrier();
    }

    spread(lane, size);
    for (var tile = 0u; tile < tiles(); tile++) {
        let j = tile * 64u + 4u * x;
#for r in 0..4
        if is_row(i + {r}u) {
            let found = factors[i + {r}u] * work[slot(SOLUTION, tile, i + {r}u)];
#for c in 0..4
            if j + {c}u < params.d_k {
                solution[row(i + {r}u) * params.d_k + j + {c}u] = t_solution(found[{c}]);
            }
#end
        }
#end
    }
}
