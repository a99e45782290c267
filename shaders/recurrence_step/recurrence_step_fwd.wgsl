// S <- diag(A) S, then S <- S + k (beta (v - [DELTA] S^T k))^T a step, and o = scale S^T q. A workgroup does COLUMNS
// columns of a head: LANES threads a column, each with every LANES-th row of it in PER registers, so that S is read and
// written once. Grid: ops::grid_1d over B H tiles. Host: d_k <= LANES PER <= 256. Source: models.md 7.
#import lib/grid
#import lib/decay_factor
#import lib/retention

const COLUMNS: u32 = 32;
const LANES: u32 = 8;
const PER: u32 = 16;
const DECAY: u32 = 2; // 0: none, 1: constant a head, 2: an input a head, 3: an input a key channel
const DELTA: bool = true;
const BETA: bool = true;
const DECAYS: u32 = DECAY / 2;

alias t_q = f32;
alias t_k = f32;
alias t_v = f32;
alias t_o = f32;

struct Params { groups: u32, tiles: u32, h: u32, key_heads: u32, d_k: u32, d_v: u32, householder: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, key_heads, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, steps, key_heads, d_k]
@group(0) @binding(2) var<storage, read_write> v: array<t_v>; // [B, steps, H, d_v]
#if BETA
@group(0) @binding(3) var<storage, read_write> beta: array<f32>; // [B, steps, H]
#endif
#if DECAYS == 1
@group(0) @binding(4) var<storage, read_write> g: array<f32>; // [B, H], DECAY 3: [B, H, d_k]
#endif
@group(0) @binding(5) var<storage, read_write> o: array<t_o>; // [B, H, d_v]
@group(0) @binding(6) var<storage, read_write> state: array<f32>; // [B, H, d_k, d_v]
@group(0) @binding(7) var<uniform> params: Params;

// Of the whole head, 0 past d_k: its decays, a key or the query.
var<workgroup> rows: array<f32, LANES * PER>;
var<workgroup> parts: array<f32, 256>;

// Sum over the threads of the caller's column. For all threads of the workgroup together.
fn column_sum(value: f32, thread: u32) -> f32 {
    parts[thread] = value;
    workgroupBarrier();
    var sum = parts[thread % COLUMNS];
    for (var lane = 1u; lane < LANES; lane++) {
        sum += parts[lane * COLUMNS + thread % COLUMNS];
    }
    return sum;
}

@compute @workgroup_size(256)
fn recurrence_step_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.groups {
        return;
    }
    let head = group / params.tiles;
    let batch = head / params.h;
    let h = head % params.h;
    let key_head = min(h, params.key_heads - 1u);
    let wanted = group % params.tiles * COLUMNS + thread % COLUMNS;
    let is_column = wanted < params.d_v;
    let column = min(wanted, params.d_v - 1u);
    let lane = thread / COLUMNS;
    let at = head * params.d_k * params.d_v + column;
#for i in 0..PER
    let row{i} = {LANES * i}u + lane;
    var s{i} = 0.0;
    if is_column && row{i} < params.d_k {
        s{i} = state[at + row{i} * params.d_v];
    }
#end
#if DECAY == 3
    if thread < LANES * PER {
        rows[thread] = 0.0;
        if thread < params.d_k {
            rows[thread] = decay_factor(g[head * params.d_k + thread]);
        }
    }
    workgroupBarrier();
#for i in 0..PER
    s{i} *= rows[row{i}];
#end
    workgroupBarrier();
#else
#if DECAY > 0
#if DECAY == 2
    let kept = decay_factor(g[head]);
#else
    let kept = 1.0 - forgotten(h);
#endif
#for i in 0..PER
    s{i} *= kept;
#end
#endif
#endif
    for (var j = batch * params.householder; j < (batch + 1u) * params.householder; j++) {
        if thread < LANES * PER {
            rows[thread] = 0.0;
            if thread < params.d_k {
                rows[thread] = f32(k[(j * params.key_heads + key_head) * params.d_k + thread]);
            }
        }
        workgroupBarrier();
        var write = f32(v[(j * params.h + h) * params.d_v + column]);
#if DELTA
        var had = 0.0;
#for i in 0..PER
        had += rows[row{i}] * s{i};
#end
        write -= column_sum(had, thread);
#endif
#if BETA
        write *= beta[j * params.h + h];
#endif
#for i in 0..PER
        s{i} += rows[row{i}] * write;
#end
        workgroupBarrier();
    }
    if thread < LANES * PER {
        rows[thread] = 0.0;
        if thread < params.d_k {
            rows[thread] = f32(q[(batch * params.key_heads + key_head) * params.d_k + thread]);
        }
    }
    workgroupBarrier();
    var read = 0.0;
#for i in 0..PER
    read += rows[row{i}] * s{i};
#end
    let sum = column_sum(read, thread);
    if is_column {
        if lane == 0u {
            o[head * params.d_v + column] = t_o(params.scale * sum);
        }
#for i in 0..PER
        if row{i} < params.d_k {
            state[at + row{i} * params.d_v] = s{i};
        }
#end
    }
}
