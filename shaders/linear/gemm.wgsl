// C = A B in plain f32, for every adapter and any size. A workgroup computes a TILE x TILE tile of one layer (z) of C,
// a thread U x U blocks of 4 x 4. Half of the threads fetch A, half B, a 4 x 4 block each: it is turned in registers
// where the stored rows run along k, so that both tiles lie k-major in workgroup memory and only whole vec4 are written.
// The next blocks are in registers while the products run. Grid: [ceil(n / TILE), ceil(m / TILE), ceil(k / part)],
// `part` a multiple of BK. Workgroup memory 16,384 B (4,096 B for TILE 32).
alias Operand = f32;
const TILE: u32 = 64; // 32, 64 or 128
const U: u32 = TILE / 128 + 1;
const SIDE: u32 = TILE / (4 * U); // threads along an edge of the tile
const HALF: u32 = SIDE * SIDE / 2;
const BK: u32 = 16 * HALF / TILE;
const ROW: u32 = TILE / 4; // quads in a row of the tile
#import lib/gemm

var<workgroup> sa: array<vec4<f32>, {BK * ROW}>; // [BK, TILE]
var<workgroup> sb: array<vec4<f32>, {BK * ROW}>; // [BK, TILE]

fn fetch_a(m: u32, k: u32, e: u32) -> vec4<f32> {
#if TA
    return load_a(k + e, m);
#else
    return load_a(m + e, k);
#endif
}

fn fetch_b(n: u32, k: u32, e: u32) -> vec4<f32> {
#if TB
    return load_b(n + e, k);
#else
    return load_b(k + e, n);
#endif
}

@compute @workgroup_size({SIDE * SIDE})
fn gemm(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m0 = wg.y * TILE;
    let n0 = wg.x * TILE;
    let end = min((wg.z + 1u) * params.part.x, params.k);
    let row = lane / SIDE;
    let col = lane % SIDE;
    let for_b = lane >= HALF;
    let block = lane % HALF;
    let quad = block % ROW;
    let depth = (block / ROW) * 4u;
    let at = depth * ROW + quad;
#for e in 0..4
    var g{e}: vec4<f32>;
#end
#for u in 0..U
#for r in 0..4
#for v in 0..U
    var c{u}_{r}_{v} = vec4<f32>(0.0);
#end
#end
#end
    var k = wg.z * params.part.x;
    if for_b {
#for e in 0..4
        g{e} = fetch_b(n0 + quad * 4u, k + depth, {e}u);
#end
    } else {
#for e in 0..4
        g{e} = fetch_a(m0 + quad * 4u, k + depth, {e}u);
#end
    }
    while k < end {
        if for_b {
#if TB
#for e in 0..4
            sb[at + {e}u * ROW] = vec4<f32>(g0[{e}], g1[{e}], g2[{e}], g3[{e}]);
#end
#else
#for e in 0..4
            sb[at + {e}u * ROW] = g{e};
#end
#endif
        } else {
#if TA
#for e in 0..4
            sa[at + {e}u * ROW] = g{e};
#end
#else
#for e in 0..4
            sa[at + {e}u * ROW] = vec4<f32>(g0[{e}], g1[{e}], g2[{e}], g3[{e}]);
#end
#endif
        }
        workgroupBarrier();
        k += BK;
        if for_b {
#for e in 0..4
            g{e} = fetch_b(n0 + quad * 4u, k + depth, {e}u);
#end
        } else {
#for e in 0..4
            g{e} = fetch_a(m0 + quad * 4u, k + depth, {e}u);
#end
        }
        for (var i = 0u; i < BK; i += 1u) {
#for u in 0..U
            let a{u} = sa[i * ROW + row + {u * SIDE}u];
            let b{u} = sb[i * ROW + col + {u * SIDE}u];
#end
#for u in 0..U
#for r in 0..4
#for v in 0..U
            c{u}_{r}_{v} = fma(vec4<f32>(a{u}[{r}]), b{v}, c{u}_{r}_{v});
#end
#end
#end
        }
        workgroupBarrier();
    }
#for u in 0..U
#for r in 0..4
#for v in 0..U
    {
        let to = vec2<u32>(m0 + (row + {u * SIDE}u) * 4u + {r}u, n0 + (col + {v * SIDE}u) * 4u);
        store_c(wg.z, to.x, to.y, vec2<u32>(), c{u}_{r}_{v}, old_c(to.x, to.y));
    }
#end
#end
#end
}
