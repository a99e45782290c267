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
#import lib/attention_tile

struct Params { t: u32, h: u32, d: u32, heads: u32, tiles: u32, scale: f32 }

#if VEC
@group(0) @binding(0) var<storage, read_write> q: array<vec4<t_q>>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<t_k>>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<t_v>>; // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> d_o: array<vec4<t_d_o>>; // [B, T, H, D]
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<t_dq>>; // [B, T, H, D]
#else
@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<t_v>; // [B, T, H, D]
@group(0) @binding(3) var<storage, read_write> d_o: array<t_d_o>; // [B, T, H, D]
@group(0) @binding(6) var<storage, read_write> dq: array<t_dq>; // [B, T, H, D]
#endif
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [B, T, H]
@group(0) @binding(5) var<storage, read_write> del: array<f32>; // [B, T, H]
@group(0) @binding(7) var<uniform> params: Params;

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

fn store_dq(first: u32, t: u32, c: u32, row: vec4<f32>) {
    if t >= params.t || 4u * c >= params.d {
        return;
    }
#if VEC
    dq[(first + t * params.h) * (params.d / 4u) + c] = vec4<t_dq>(row);
#else
    let i = (first + t * params.h) * params.d + 4u * c;
    let n = params.d - 4u * c;
    dq[i] = t_dq(row.x);
    if n > 1u {
        dq[i + 1u] = t_dq(row.y);
    }
    if n > 2u {
        dq[i + 2u] = t_dq(row.z);
    }
    if n > 3u {
        dq[i + 3u] = t_dq(row.w);
    }
#endif
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
    let head = index / params.tiles;
    let first = head / params.h * params.t * params.h + head % params.h;
    // The longest rows first: short ones fill the end of the launch.
    let q0 = (params.tiles - 1u - index % params.tiles) * ROWS;
    let ty = lane / 8u;
    let tx = lane % 8u;
#for s in 0..SLICES
    var dq{s}: Acc;
#end
#for i in 0..RM
    // Rows past the end read the last row's statistics and are not stored.
    let row{i} = first + min(q0 + ty + {16 * i}u, params.t - 1u) * params.h;
    let lse{i} = lse[row{i}];
    let del{i} = del[row{i}];
#end
    for (var k0 = 0u; k0 < min(q0 + ROWS, params.t); k0 += 32u) {
        var z: Acc;
        var dp: Acc;
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
        for (var s = 0u; s < SLICES; s++) {
            workgroupBarrier();
#for i in 0..RM
            left[(ty + {16 * i}u) * PITCH + tx] = load_d_o(first, q0 + ty + {16 * i}u, 8u * s + tx);
#end
            right[spread(ty) * PITCH + tx] = load_v(first, k0 + ty, 8u * s + tx);
            right[spread(ty + 16u) * PITCH + tx] = load_v(first, k0 + ty + 16u, 8u * s + tx);
            workgroupBarrier();
            multiply_rows(&dp, ty, tx);
        }
        workgroupBarrier();
        let keys = vec4<u32>(k0 + 4u * tx) + vec4<u32>(0u, 1u, 2u, 3u);
#for i in 0..RM
        let seen{i} = keys <= vec4<u32>(q0 + ty + {16 * i}u);
        let log_p{i} = clamp(params.scale * z[{i}] - lse{i}, vec4<f32>(-100.0), vec4<f32>(1.0));
        let p{i} = select(vec4<f32>(), exp(log_p{i}), seen{i});
        left[(ty + {16 * i}u) * PITCH + tx] = p{i} * (dp[{i}] - del{i});
#end
#for s in 0..SLICES
#if s > 0
        workgroupBarrier();
#endif
        right[ty * PITCH + tx] = load_k(first, k0 + ty, {8 * s}u + tx);
        right[(ty + 16u) * PITCH + tx] = load_k(first, k0 + ty + 16u, {8 * s}u + tx);
        workgroupBarrier();
        multiply_columns(&dq{s}, ty, tx);
#end
    }
#for i in 0..RM
#for s in 0..SLICES
    store_dq(first, q0 + ty + {16 * i}u, {8 * s}u + tx, params.scale * dq{s}[{i}]);
#end
#end
}
