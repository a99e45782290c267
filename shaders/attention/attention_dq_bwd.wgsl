// Gradient of the queries (models.md 4.8): dz = p (grad_o v^T - del) with p from lse, dq = scale dz k.
// A workgroup: ROWS queries of one (b, h), over the tiles of 32 keys up to its last query.
// Grid: ops::grid_1d over B H ceil(T / ROWS).
#import lib/grid
const BACK: bool = true;
#import lib/attention_tile

alias t_grad_q = f32;
#if VEC
alias a_grad_q = vec4<t_grad_q>;
#else
alias a_grad_q = t_grad_q;
#endif

@group(0) @binding(5) var<storage, read_write> grad_q: array<a_grad_q>; // [B, T, H, D]
#if FORGET
@group(0) @binding(6) var<storage, read_write> row_sums: array<f32>; // [B, T, H]: of dz before the diagonal
#endif
@group(0) @binding(7) var<uniform> params: Params;

fn put(operand: u32, i: u32, x: Value) {
    grad_q[i] = a_grad_q(x);
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
    var grad_q{s}: Acc;
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
        var grad_p: Acc;
        multiply_rows(&z, Q, q0, K, k0);
        multiply_rows(&grad_p, GRAD_O, q0, V, k0);
        workgroupBarrier();
        let keys = across(k0);
#if FORGET
        let rows = rows_of(keys);
        let early = sums_at(stats[rows.x].zw, stats[rows.y].zw, stats[rows.z].zw, stats[rows.w].zw);
#endif
#for i in 0..RM
        var score{i} = params.scale * z[{i}];
#if FORGET
        score{i} += log_decay(late{i}, early);
#endif
        let p{i} = probability(score{i}, vec4<f32>(lse{i}), keys <= query{i});
        let grad_z{i} = through_softmax(p{i}, grad_p[{i}], vec4<f32>(del{i}));
#if FORGET
        before[{i}] += dot(select(vec4<f32>(), grad_z{i}, keys < query{i}), vec4<f32>(1.0));
#endif
        left[(ty + {16 * i}u) * PITCH + tx] = grad_z{i};
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        multiply_columns(&grad_q{s}, K, k0, {s}u);
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
    store(0u, query{i}.x, {8 * s}u + tx, params.scale * grad_q{s}[{i}]);
#end
#end
}
