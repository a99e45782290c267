// Gradients of keys and values (models.md 4.8): dz = p (grad_o v^T - del) with p from lse, dk = scale dz^T q, dv = p^T grad_o.
// A workgroup: ROWS keys of one (b, h), over the tiles of 32 queries from its first key on; tiles are transposed, keys
// down and queries across. Grid: ops::grid_1d over B H ceil(T / ROWS).
#import lib/grid
const BACK: bool = true;
#import lib/attention_tile

alias t_grad_k = f32;
alias t_grad_v = f32;
#if VEC
alias a_grad_k = vec4<t_grad_k>;
alias a_grad_v = vec4<t_grad_v>;
#else
alias a_grad_k = t_grad_k;
alias a_grad_v = t_grad_v;
#endif

@group(0) @binding(5) var<storage, read_write> grad_k: array<a_grad_k>; // [B, T, H, D]
@group(0) @binding(6) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T, H, D]
#if FORGET
@group(0) @binding(7) var<storage, read_write> col_sums: array<f32>; // [B, T, H]: of dz below the diagonal
#endif
@group(0) @binding(8) var<uniform> params: Params;

const GRAD_K: u32 = 0u;
const GRAD_V: u32 = 1u;

fn put(operand: u32, i: u32, x: Value) {
    if operand == GRAD_K {
        grad_k[i] = a_grad_k(x);
    } else {
        grad_v[i] = a_grad_v(x);
    }
}

@compute @workgroup_size(128)
fn attention_dkv_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup_index(wg, count);
    if index >= params.heads * params.tiles {
        return;
    }
    place(index / params.tiles, lane);
    // The first keys have the most queries; they come first.
    let k0 = index % params.tiles * ROWS;
#for s in 0..SLICES
    var grad_k{s}: Acc;
    var grad_v{s}: Acc;
#end
#for i in 0..RM
    let key{i} = vec4<u32>(k0 + ty + {16 * i}u);
#if FORGET
    let sum{i} = stats[rows_of(key{i}).x].zw;
    let early{i} = sums_at(sum{i}, sum{i}, sum{i}, sum{i});
#endif
#end
#if FORGET
    var below: array<f32, RM>;
#endif
    for (var q0 = k0; q0 < params.t; q0 += 32u) {
        var z: Acc;
        var grad_p: Acc;
        multiply_rows(&z, K, k0, Q, q0);
        multiply_rows(&grad_p, V, k0, GRAD_O, q0);
        workgroupBarrier();
        let queries = across(q0);
        let rows = rows_of(queries);
#for j in 0..4
        let stat{j} = stats[rows[{j}]];
#end
        let log_sum = bitcast<vec4<f32>>(vec4<i32>(stat0.x, stat1.x, stat2.x, stat3.x));
        let mean = bitcast<vec4<f32>>(vec4<i32>(stat0.y, stat1.y, stat2.y, stat3.y));
#if FORGET
        let late = sums_at(stat0.zw, stat1.zw, stat2.zw, stat3.zw);
#endif
#for i in 0..RM
        let seen{i} = (key{i} <= queries) & (queries < vec4<u32>(params.t));
        var score{i} = params.scale * z[{i}];
#if FORGET
        score{i} += log_decay(late, early{i});
#endif
        let p{i} = probability(score{i}, log_sum, seen{i});
        let grad_z{i} = through_softmax(p{i}, grad_p[{i}], mean);
#if FORGET
        below[{i}] += dot(select(vec4<f32>(), grad_z{i}, key{i} < queries), vec4<f32>(1.0));
#endif
        left[(ty + {16 * i}u) * PITCH + tx] = p{i};
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        multiply_columns(&grad_v{s}, GRAD_O, q0, {s}u);
#end
        workgroupBarrier();
#for i in 0..RM
        left[(ty + {16 * i}u) * PITCH + tx] = grad_z{i};
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        multiply_columns(&grad_k{s}, Q, q0, {s}u);
#end
    }
#if FORGET
    let sum = row_totals(below);
#endif
#for i in 0..RM
#if FORGET
    if tx == 0u && key{i}.x < params.t {
        col_sums[rows_of(key{i}).x] = sum[{i}];
    }
#endif
#for s in 0..SLICES
    store(GRAD_K, key{i}.x, {8 * s}u + tx, params.scale * grad_k{s}[{i}]);
    store(GRAD_V, key{i}.x, {8 * s}u + tx, grad_v{s}[{i}]);
#end
#end
}
