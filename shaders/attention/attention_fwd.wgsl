// Causal softmax attention, online over key tiles (models.md 4.8; FlashAttention, algorithm 1).
// A workgroup: ROWS queries of one (b, h); it walks the tiles of 32 keys up to its last query, keeping output rows,
// running maxima and its share of the running sums in registers. Grid: ops::grid_1d over B H ceil(T / ROWS).
// Reads q, k, v; writes o and lse. The host guarantees D <= 32 SLICES, D % 4 == 0 if VEC, and B T H D < 2^32.
#import lib/grid

alias t_q = f32;
alias t_k = f32;
alias t_v = f32;
alias t_o = f32;
const RM: u32 = 4u; // rows a thread
const SLICES: u32 = 4u;
const VEC: bool = true; // 16-byte loads
#import lib/attention_tile

struct Params { t: u32, h: u32, d: u32, heads: u32, tiles: u32, scale: f32 }

#if VEC
@group(0) @binding(0) var<storage, read_write> q: array<vec4<t_q>>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<t_k>>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<t_v>>; // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> o: array<vec4<t_o>>; // [B, T, H, D]
#else
@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<t_v>; // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> o: array<t_o>; // [B, T, H, D]
#endif
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [B, T, H]
@group(0) @binding(5) var<uniform> params: Params;

// One value a row and tx.
var<workgroup> parts: array<f32, ROWS * 8u>;

// Four components of row t of a head whose row 0 is `first`; zeros past the ends of the row and of the sequence.
fn load_q(first: u32, t: u32, c: u32) -> vec4<f32> {
    if t >= params.t || 4u * c >= params.d {
        return vec4<f32>();
    }
#if VEC
    return vec4<f32>(q[(first + t * params.h) * (params.d / 4u) + c]);
#else
    let i = (first + t * params.h) * params.d + 4u * c + offsets(c, params.d);
    let row = vec4<f32>(f32(q[i.x]), f32(q[i.y]), f32(q[i.z]), f32(q[i.w]));
    return select(vec4<f32>(), row, inside(c, params.d));
#endif
}

fn load_k(first: u32, t: u32, c: u32) -> vec4<f32> {
    if t >= params.t || 4u * c >= params.d {
        return vec4<f32>();
    }
#if VEC
    return vec4<f32>(k[(first + t * params.h) * (params.d / 4u) + c]);
#else
    let i = (first + t * params.h) * params.d + 4u * c + offsets(c, params.d);
    let row = vec4<f32>(f32(k[i.x]), f32(k[i.y]), f32(k[i.z]), f32(k[i.w]));
    return select(vec4<f32>(), row, inside(c, params.d));
#endif
}

fn load_v(first: u32, t: u32, c: u32) -> vec4<f32> {
    if t >= params.t || 4u * c >= params.d {
        return vec4<f32>();
    }
#if VEC
    return vec4<f32>(v[(first + t * params.h) * (params.d / 4u) + c]);
#else
    let i = (first + t * params.h) * params.d + 4u * c + offsets(c, params.d);
    let row = vec4<f32>(f32(v[i.x]), f32(v[i.y]), f32(v[i.z]), f32(v[i.w]));
    return select(vec4<f32>(), row, inside(c, params.d));
#endif
}

fn store_o(first: u32, t: u32, c: u32, row: vec4<f32>) {
    if t >= params.t || 4u * c >= params.d {
        return;
    }
#if VEC
    o[(first + t * params.h) * (params.d / 4u) + c] = vec4<t_o>(row);
#else
    let i = (first + t * params.h) * params.d + 4u * c;
    let n = params.d - 4u * c;
    o[i] = t_o(row.x);
    if n > 1u {
        o[i + 1u] = t_o(row.y);
    }
    if n > 2u {
        o[i + 2u] = t_o(row.z);
    }
    if n > 3u {
        o[i + 3u] = t_o(row.w);
    }
#endif
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
    let head = index / params.tiles;
    let first = head / params.h * params.t * params.h + head % params.h;
    // The longest rows first: short ones fill the end of the launch.
    let q0 = (params.tiles - 1u - index % params.tiles) * ROWS;
    let ty = lane / 8u;
    let tx = lane % 8u;
#for s in 0..SLICES
    var o{s}: Acc;
#end
    var maximum: array<f32, RM>;
    var total: array<f32, RM>;
#for i in 0..RM
    maximum[{i}] = -3.0e38;
#end
    for (var k0 = 0u; k0 < min(q0 + ROWS, params.t); k0 += 32u) {
        var z: Acc;
        for (var s = 0u; s < SLICES; s++) {
            workgroupBarrier();
#for i in 0..RM
            left[(ty + {16 * i}u) * PITCH + tx] = load_q(first, q0 + ty + {16 * i}u, 8u * s + tx);
#end
            right[spread(ty) * PITCH + tx] = load_k(first, k0 + ty, 8u * s + tx);
            right[spread(ty + 16u) * PITCH + tx] = load_k(first, k0 + ty + 16u, 8u * s + tx);
            workgroupBarrier();
            multiply_rows(&z, ty, tx);
        }
        let keys = vec4<u32>(k0 + 4u * tx) + vec4<u32>(0u, 1u, 2u, 3u);
#for i in 0..RM
        let seen{i} = keys <= vec4<u32>(q0 + ty + {16 * i}u);
        z[{i}] = select(vec4<f32>(-3.0e38), params.scale * z[{i}], seen{i});
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
        right[ty * PITCH + tx] = load_v(first, k0 + ty, {8 * s}u + tx);
        right[(ty + 16u) * PITCH + tx] = load_v(first, k0 + ty + 16u, {8 * s}u + tx);
        workgroupBarrier();
        multiply_columns(&o{s}, ty, tx);
#end
    }
#for i in 0..RM
    parts[(ty + {16 * i}u) * 8u + tx] = total[{i}];
#end
    workgroupBarrier();
#for i in 0..RM
    var sum{i} = 0.0;
    for (var j = 0u; j < 8u; j++) {
        sum{i} += parts[(ty + {16 * i}u) * 8u + j];
    }
    let t{i} = q0 + ty + {16 * i}u;
    if tx == 0u && t{i} < params.t {
        lse[first + t{i} * params.h] = maximum[{i}] + log(sum{i});
    }
#for s in 0..SLICES
    store_o(first, t{i}, {8 * s}u + tx, o{s}[{i}] / sum{i});
#end
#end
}
