// Gradients of keys and values (models.md 4.8): dz = p (d_o v^T - del) with p from lse, dk = scale dz^T q, dv = p^T d_o.
// A workgroup: ROWS keys of one (b, h), over the tiles of 32 queries from its first key on; tiles are transposed, keys
// down and queries across. Grid: ops::grid_1d over B H ceil(T / ROWS).
// The host guarantees D <= 32 SLICES, D % 4 == 0 if VEC.
#import lib/grid

alias t_q = f32;
alias t_k = f32;
alias t_v = f32;
alias t_d_o = f32;
alias t_dk = f32;
alias t_dv = f32;
const RM: u32 = 4u; // rows a thread
const SLICES: u32 = 4u;
const VEC: bool = true; // 16-byte loads
#import lib/attention_tile

struct Params { t: u32, h: u32, d: u32, heads: u32, tiles: u32, scale: f32 }

#if VEC
@group(0) @binding(0) var<storage, read_write> q: array<vec4<t_q>>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<t_k>>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<t_v>>; // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> d_o: array<vec4<t_d_o>>; // [B, T, H, D]
@group(0) @binding(6) var<storage, read_write> dk: array<vec4<t_dk>>; // [B, T, H, D]
@group(0) @binding(7) var<storage, read_write> dv: array<vec4<t_dv>>; // [B, T, H, D]
#else
@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<t_v>; // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> d_o: array<t_d_o>; // [B, T, H, D]
@group(0) @binding(6) var<storage, read_write> dk: array<t_dk>; // [B, T, H, D]
@group(0) @binding(7) var<storage, read_write> dv: array<t_dv>; // [B, T, H, D]
#endif
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [B, T, H]
@group(0) @binding(5) var<storage, read_write> del: array<f32>; // [B, T, H]
@group(0) @binding(8) var<uniform> params: Params;

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

fn load_d_o(first: u32, t: u32, c: u32) -> vec4<f32> {
    if t >= params.t || 4u * c >= params.d {
        return vec4<f32>();
    }
#if VEC
    return vec4<f32>(d_o[(first + t * params.h) * (params.d / 4u) + c]);
#else
    let i = (first + t * params.h) * params.d + 4u * c + offsets(c, params.d);
    let row = vec4<f32>(f32(d_o[i.x]), f32(d_o[i.y]), f32(d_o[i.z]), f32(d_o[i.w]));
    return select(vec4<f32>(), row, inside(c, params.d));
#endif
}

fn store_dk(first: u32, t: u32, c: u32, row: vec4<f32>) {
    if t >= params.t || 4u * c >= params.d {
        return;
    }
#if VEC
    dk[(first + t * params.h) * (params.d / 4u) + c] = vec4<t_dk>(row);
#else
    let i = (first + t * params.h) * params.d + 4u * c;
    let n = params.d - 4u * c;
    dk[i] = t_dk(row.x);
    if n > 1u {
        dk[i + 1u] = t_dk(row.y);
    }
    if n > 2u {
        dk[i + 2u] = t_dk(row.z);
    }
    if n > 3u {
        dk[i + 3u] = t_dk(row.w);
    }
#endif
}

fn store_dv(first: u32, t: u32, c: u32, row: vec4<f32>) {
    if t >= params.t || 4u * c >= params.d {
        return;
    }
#if VEC
    dv[(first + t * params.h) * (params.d / 4u) + c] = vec4<t_dv>(row);
#else
    let i = (first + t * params.h) * params.d + 4u * c;
    let n = params.d - 4u * c;
    dv[i] = t_dv(row.x);
    if n > 1u {
        dv[i + 1u] = t_dv(row.y);
    }
    if n > 2u {
        dv[i + 2u] = t_dv(row.z);
    }
    if n > 3u {
        dv[i + 3u] = t_dv(row.w);
    }
#endif
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
    let head = index / params.tiles;
    let first = head / params.h * params.t * params.h + head % params.h;
    // The first keys have the most queries; they come first.
    let k0 = index % params.tiles * ROWS;
    let ty = lane / 8u;
    let tx = lane % 8u;
#for s in 0..SLICES
    var dk{s}: Acc;
    var dv{s}: Acc;
#end
    for (var q0 = k0; q0 < params.t; q0 += 32u) {
        var z: Acc;
        var dp: Acc;
        for (var s = 0u; s < SLICES; s++) {
            workgroupBarrier();
#for i in 0..RM
            left[(ty + {16 * i}u) * PITCH + tx] = load_k(first, k0 + ty + {16 * i}u, 8u * s + tx);
#end
            right[spread(ty) * PITCH + tx] = load_q(first, q0 + ty, 8u * s + tx);
            right[spread(ty + 16u) * PITCH + tx] = load_q(first, q0 + ty + 16u, 8u * s + tx);
            workgroupBarrier();
            multiply_rows(&z, ty, tx);
        }
        for (var s = 0u; s < SLICES; s++) {
            workgroupBarrier();
#for i in 0..RM
            left[(ty + {16 * i}u) * PITCH + tx] = load_v(first, k0 + ty + {16 * i}u, 8u * s + tx);
#end
            right[spread(ty) * PITCH + tx] = load_d_o(first, q0 + ty, 8u * s + tx);
            right[spread(ty + 16u) * PITCH + tx] = load_d_o(first, q0 + ty + 16u, 8u * s + tx);
            workgroupBarrier();
            multiply_rows(&dp, ty, tx);
        }
        workgroupBarrier();
        let queries = vec4<u32>(q0 + 4u * tx) + vec4<u32>(0u, 1u, 2u, 3u);
        let rows = vec4<u32>(first) + min(queries, vec4<u32>(params.t - 1u)) * params.h;
        let log_sum = vec4<f32>(lse[rows.x], lse[rows.y], lse[rows.z], lse[rows.w]);
        let mean = vec4<f32>(del[rows.x], del[rows.y], del[rows.z], del[rows.w]);
#for i in 0..RM
        let key{i} = vec4<u32>(k0 + ty + {16 * i}u);
        let seen{i} = (key{i} <= queries) & (queries < vec4<u32>(params.t));
        let log_p{i} = clamp(params.scale * z[{i}] - log_sum, vec4<f32>(-100.0), vec4<f32>(1.0));
        let p{i} = select(vec4<f32>(), exp(log_p{i}), seen{i});
        let dz{i} = p{i} * (dp[{i}] - mean);
        left[(ty + {16 * i}u) * PITCH + tx] = p{i};
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        right[ty * PITCH + tx] = load_d_o(first, q0 + ty, {8 * s}u + tx);
        right[(ty + 16u) * PITCH + tx] = load_d_o(first, q0 + ty + 16u, {8 * s}u + tx);
        workgroupBarrier();
        multiply_columns(&dv{s}, ty, tx);
#end
        workgroupBarrier();
#for i in 0..RM
        left[(ty + {16 * i}u) * PITCH + tx] = dz{i};
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        right[ty * PITCH + tx] = load_q(first, q0 + ty, {8 * s}u + tx);
        right[(ty + 16u) * PITCH + tx] = load_q(first, q0 + ty + 16u, {8 * s}u + tx);
        workgroupBarrier();
        multiply_columns(&dk{s}, ty, tx);
#end
    }
#for i in 0..RM
#for s in 0..SLICES
    store_dk(first, k0 + ty + {16 * i}u, {8 * s}u + tx, params.scale * dk{s}[{i}]);
    store_dv(first, k0 + ty + {16 * i}u, {8 * s}u + tx, dv{s}[{i}]);
#end
#end
}
