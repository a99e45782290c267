// Causal softmax attention, online over key tiles (models.md 4.8; FlashAttention, algorithm 1).
// A workgroup: ROWS queries of one (b, h); it walks the tiles of 32 keys up to its last query, keeping output rows,
// running maxima and its share of the running sums in registers. Grid: ops::grid_1d over B H ceil(T / ROWS).
// The host guarantees B T H D < 2^32.
#import lib/grid
const BACK: bool = false;
#import lib/attention_tile

alias t_o = f32;
#if VEC
alias a_o = vec4<t_o>;
#else
alias a_o = t_o;
#endif

@group(0) @binding(3) var<storage, read_write> o: array<a_o>; // [B, T, H, D]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [B, T, H]
#if FORGET
@group(0) @binding(5) var<storage, read_write> sums: array<vec2<i32>>; // [B, T, H], of attention_decay_sums
#endif
@group(0) @binding(6) var<uniform> params: Params;

// One value a row and tx.
var<workgroup> parts: array<f32, ROWS * 8u>;

fn put(operand: u32, i: u32, x: Value) {
    o[i] = a_o(x);
}

@compute @workgroup_size(128)
fn attention_fwd(
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
    var o{s}: Acc;
#end
    var maximum: array<f32, RM>;
    var total: array<f32, RM>;
#for i in 0..RM
    let query{i} = vec4<u32>(q0 + ty + {16 * i}u);
    maximum[{i}] = -3.0e38;
#if FORGET
    let sum{i} = sums[rows_of(query{i}).x];
    let late{i} = sums_at(sum{i}, sum{i}, sum{i}, sum{i});
#endif
#end
    for (var k0 = 0u; k0 < min(q0 + ROWS, params.t); k0 += 32u) {
        var z: Acc;
        multiply_rows(&z, Q, q0, K, k0);
        let keys = across(k0);
#if FORGET
        let rows = rows_of(keys);
        let early = sums_at(sums[rows.x], sums[rows.y], sums[rows.z], sums[rows.w]);
#endif
#for i in 0..RM
        let seen{i} = keys <= query{i};
        var score{i} = params.scale * z[{i}];
#if FORGET
        score{i} += log_decay(late{i}, early);
#endif
        z[{i}] = select(vec4<f32>(-3.0e38), score{i}, seen{i});
        parts[(ty + {16 * i}u) * 8u + tx] = max(max(z[{i}].x, z[{i}].y), max(z[{i}].z, z[{i}].w));
#end
        workgroupBarrier();
#for i in 0..RM
        var m{i} = maximum[{i}];
        for (var j = 0u; j < 8u; j++) {
            m{i} = max(m{i}, parts[(ty + {16 * i}u) * 8u + j]);
        }
        let keep{i} = exp(max(maximum[{i}] - m{i}, -100.0));
        maximum[{i}] = m{i};
        let p{i} = select(vec4<f32>(), exp(max(z[{i}] - m{i}, vec4<f32>(-100.0))), seen{i});
        total[{i}] = total[{i}] * keep{i} + ((p{i}.x + p{i}.y) + (p{i}.z + p{i}.w));
        left[(ty + {16 * i}u) * PITCH + tx] = p{i};
#for s in 0..SLICES
        o{s}[{i}] *= keep{i};
#end
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        multiply_columns(&o{s}, V, k0, {s}u);
#end
    }
    let sum = row_totals(total);
#for i in 0..RM
    if tx == 0u && query{i}.x < params.t {
        lse[rows_of(query{i}).x] = maximum[{i}] + log(sum[{i}]);
    }
#for s in 0..SLICES
    store(0u, query{i}.x, {8 * s}u + tx, o{s}[{i}] / sum[{i}]);
#end
#end
}
