// Attention of one query over KEYS keys: sums that attention_step_fwd puts together. A workgroup: one (b, h) and one part
// of its keys; eight threads a key for the scores, then a thread a column and quarter of the keys. Keys past the
// position are masked; the last one is read in their place. With FORGETS, first what the new token leaves of each key: its bias.
// Grid: ops::grid_1d over B H parts. Host: D <= 256. Source: models.md 4.8, 7.
#import lib/grid
#import lib/decay_factor

const FORGETS: bool = false;
const KEYS: u32 = 128;
const LANES: u32 = 8; // threads of a key
const COLUMNS: u32 = 64;
const SHARES: u32 = 4; // 256 / COLUMNS

alias t_q = f32;

struct Params { heads: u32, h: u32, d: u32, rows: u32, parts: u32, scale: f32 } // heads: B H

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, H, D]
@group(0) @binding(1) var<storage, read_write> position: array<u32>; // [1]
@group(0) @binding(2) var<storage, read_write> keys: array<f32>; // [B, rows, H, D]
@group(0) @binding(3) var<storage, read_write> values: array<f32>; // [B, rows, H, D]
@group(0) @binding(4) var<storage, read_write> sums: array<f32>; // [B, H, parts, D + 2]: sum p v, maximum, sum p
#if FORGETS
@group(0) @binding(5) var<storage, read_write> log_f: array<f32>; // [B, H]
@group(0) @binding(6) var<storage, read_write> bias: array<f32>; // [B, rows, H]
#endif
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> query: array<f32, 256>;
var<workgroup> parts: array<f32, KEYS * LANES>;
var<workgroup> p: array<f32, KEYS>;
var<workgroup> tree: array<f32, KEYS>;

@compute @workgroup_size(256)
fn attention_step_parts_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.heads * params.parts {
        return;
    }
    let head = group / params.parts;
    let h = head % params.h;
    let row0 = head / params.h * params.rows;
    let t = min(position[0], params.rows - 1u);
    let first = group % params.parts * KEYS;
    if thread < params.d {
        query[thread] = f32(q[head * params.d + thread]);
    }
    workgroupBarrier();
    let lane = thread % LANES;
    // FXC takes no barrier after a loop whose bounds differ from thread to thread, or that some threads skip.
    for (var turn = 0u; turn < KEYS * LANES / 256u; turn++) {
        let i = turn * (256u / LANES) + thread / LANES;
        var sum = 0.0;
        let at = ((row0 + min(first + i, t)) * params.h + h) * params.d;
        for (var c0 = 0u; c0 < params.d; c0 += LANES) {
            let c = c0 + lane;
            if c < params.d {
                sum += query[c] * keys[at + c];
            }
        }
        parts[i * LANES + lane] = sum;
    }
    workgroupBarrier();
    let key = first + thread;
    let seen = thread < KEYS && key <= t;
    var z = -3.0e38;
    if seen {
        var sum = 0.0;
#for i in 0..LANES
        sum += parts[thread * LANES + {i}u];
#end
        z = params.scale * sum;
#if FORGETS
        let at = (row0 + key) * params.h + h;
        var kept = 0.0;
        if key < t {
            kept = bias[at] + max(log_f[head], -1e4);
        }
        bias[at] = kept;
        z += kept;
#endif
    }
    if thread < KEYS {
        tree[thread] = z;
    }
    workgroupBarrier();
    for (var half = KEYS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            tree[thread] = max(tree[thread], tree[thread + half]);
        }
        workgroupBarrier();
    }
    let maximum = tree[0];
    workgroupBarrier();
    if thread < KEYS {
        let weight = select(0.0, decay_factor(z - maximum), seen);
        p[thread] = weight;
        tree[thread] = weight;
    }
    workgroupBarrier();
    for (var half = KEYS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            tree[thread] += tree[thread + half];
        }
        workgroupBarrier();
    }
    let out = group * (params.d + 2u);
    if thread == 0u {
        sums[out + params.d] = maximum;
        sums[out + params.d + 1u] = tree[0];
    }
    let share = thread / COLUMNS;
    for (var c0 = 0u; c0 < params.d; c0 += COLUMNS) {
        let c = c0 + thread % COLUMNS;
        var sum = 0.0;
        for (var n = 0u; n < KEYS / SHARES; n++) {
            let i = n * SHARES + share;
            if c < params.d && first + i <= t {
                sum += p[i] * values[((row0 + first + i) * params.h + h) * params.d + c];
            }
        }
        parts[thread] = sum;
        workgroupBarrier();
        if share == 0u && c < params.d {
#for i in 1..SHARES
            sum += parts[{i}u * COLUMNS + thread];
#end
            sums[out + c] = sum;
        }
        workgroupBarrier();
    }
}
