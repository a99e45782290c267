// The largest magnitude of x as the bits of an f32; infinity and NaN come out above all numbers. A maximum does not
// depend on the order, so workgroups meet in an atomic. A workgroup takes 16 quads (or elements, without VEC) a thread;
// grid: ops::grid_1d over ceil(n / 4096) workgroups. The host has set `top` to 0.
#import lib/grid
const VEC: bool = false; // n counts vec4s

alias t_x = f32;

struct Params { n: u32 }

#if VEC
@group(0) @binding(0) var<storage, read_write> x: array<vec4<t_x>>; // [n]
#else
@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [n]
#endif
@group(0) @binding(1) var<storage, read_write> top: array<atomic<u32>>; // [1]
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> shared_top: atomic<u32>;

@compute @workgroup_size(256)
fn amax(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = workgroup_index(wg, count) * 4096u + lane;
    var best = 0u;
    for (var i = 0u; i < 16u; i += 1u) {
        let at = first + 256u * i;
        if at < params.n {
#if VEC
            let bits = bitcast<vec4<u32>>(vec4<f32>(x[at])) & vec4<u32>(0x7fffffffu);
            best = max(best, max(max(bits.x, bits.y), max(bits.z, bits.w)));
#else
            best = max(best, bitcast<u32>(f32(x[at])) & 0x7fffffffu);
#endif
        }
    }
    if lane == 0u {
        atomicStore(&shared_top, 0u);
    }
    workgroupBarrier();
    atomicMax(&shared_top, best);
    workgroupBarrier();
    if lane == 0u {
        atomicMax(&top[0], atomicLoad(&shared_top));
    }
}
