// Gradient of the queries (models.md 4.8): dz = p (d_o v^T - del) with p from lse, dq = scale dz k.
// A workgroup: ROWS queries of one (b, h), over the tiles of 32 keys up to its last query.
// Grid: ops::grid_1d over B H ceil(T / ROWS). The host guarantees D <= 32 SLICES, D % 4 == 0 if VEC.
#import lib/grid

alias t_q = f32;
alias t_k = f32;
alias t_v = f32;
alias t_d_o = f32;
alias t_dq = f32;
const RM: u32 = 4u; // rows a thread
const SLICES: u32 = 4u;
const VEC: bool = true; // 16-byte loads
const FORGET: bool = false; // log decays between key and query are added to the score
#import lib/attention_tile

#if VEC
alias a_q = vec4<t_q>;
alias a_k = vec4<t_k>;
alias a_v = vec4<t_v>;
alias a_d_o = vec4<t_d_o>;
alias a_dq = vec4<t_dq>;
#else
alias a_q = t_q;
alias a_k = t_k;
alias a_v = t_v;
alias a_d_o = t_d_o;
alias a_dq = t_dq;
#endif

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<a_v>; // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> d_o: array<a_d_o>; // [B, T, H, D]
#if FORGET
@group(0) @binding(4) var<storage, read_write> stats: array<vec4<i32>>; // [B, T, H], of attention_stats_bwd
@group(0) @binding(6) var<storage, read_write> row_sums: array<f32>; // [B, T, H]: of dz before the diagonal
#else
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<i32>>; // [B, T, H], of attention_stats_bwd
#endif
@group(0) @binding(5) var<storage, read_write> dq: array<a_dq>; // [B, T, H, D]
@group(0) @binding({6 + FORGET}) var<uniform> params: Params;

fn value(operand: u32, i: u32) -> Value {
    if operand == Q {
        return Value(q[i]);
    }
    if operand == K {
        return Value(k[i]);
    }
    if operand == V {
        return Value(v[i]);
    }
    return Value(d_o[i]);
}

fn put(operand: u32, i: u32, x: Value) {
    dq[i] = a_dq(x);
}

@compute @workgroup_size(128)
fn attention_dq_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup_index(wg, count);
    if index >= params.heads * params.tiles {
        return;
    }
    place(index / params.tiles, lane);
    // The longest rows first: short ones fill the end of the launch.
    let q0 = (params.tiles - 1u - index % params.tiles) * ROWS;
#for s in 0..SLICES
    var dq{s}: Acc;
#end
#for i in 0..RM
    // Rows past the end read the last row's statistics and are not stored.
    let query{i} = vec4<u32>(q0 + ty + {16 * i}u);
    let stat{i} = stats[rows_of(query{i}).x];
    let lse{i} = bitcast<f32>(stat{i}.x);
    let del{i} = bitcast<f32>(stat{i}.y);
#if FORGET
    let late{i} = sums_at(stat{i}.zw, stat{i}.zw, stat{i}.zw, stat{i}.zw);
#endif
#end
#if FORGET
    var before: array<f32, RM>;
#endif
    for (var k0 = 0u; k0 < min(q0 + ROWS, params.t); k0 += 32u) {
        var z: Acc;
        var dp: Acc;
        multiply_rows(&z, Q, q0, K, k0);
        multiply_rows(&dp, D_O, q0, V, k0);
        workgroupBarrier();
        let keys = vec4<u32>(k0 + 4u * tx) + vec4<u32>(0u, 1u, 2u, 3u);
#if FORGET
        let rows = rows_of(keys);
        let early = sums_at(stats[rows.x].zw, stats[rows.y].zw, stats[rows.z].zw, stats[rows.w].zw);
#endif
#for i in 0..RM
        var score{i} = params.scale * z[{i}];
#if FORGET
        score{i} += log_decay(late{i}, early);
#endif
        let log_p{i} = clamp(score{i} - lse{i}, vec4<f32>(-100.0), vec4<f32>(1.0));
        let p{i} = select(vec4<f32>(), exp(log_p{i}), keys <= query{i});
        // All of the row's weight: dz is 0, and the two sums over D are only nearly the same.
        let dz{i} = select(p{i} * (dp[{i}] - del{i}), vec4<f32>(), p{i} >= vec4<f32>(1.0));
#if FORGET
        before[{i}] += dot(select(vec4<f32>(), dz{i}, keys < query{i}), vec4<f32>(1.0));
#endif
        left[(ty + {16 * i}u) * PITCH + tx] = dz{i};
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        multiply_columns(&dq{s}, K, k0, {s}u);
#end
    }
#if FORGET
    let sum = row_totals(before);
#endif
#for i in 0..RM
#if FORGET
    if tx == 0u && query{i}.x < params.t {
        row_sums[rows_of(query{i}).x] = sum[{i}];
    }
#endif
#for s in 0..SLICES
    store(0u, query{i}.x, {8 * s}u + tx, params.scale * dq{s}[{i}]);
#end
#end
}
