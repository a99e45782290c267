// C = A B on matrix units, of operands that are stored in f16, summed in f32. The matrix unit truncates its sums, 1.9e-8 for
// every 16 of k: far below what the operands have lost.
//
// A workgroup computes a 128 x TN tile of one layer (z) of C, each of its 4 subgroups (of 32) 64 x TN / 2; k in steps of 32,
// the next tiles in registers while the products run, one tile in workgroup memory: with a second one, or more than 24,576 B
// in all, fewer workgroups are resident and the products take twice as long. Rows in workgroup memory are padded by 8 f16.
// C goes through workgroup memory, one fragment a subgroup at a time: coopStoreT could neither convert nor guard tails.
// Grid: [ceil(n / TN), ceil(m / 128), ceil(k / part)], `part` a multiple of 32; any m, n, k. Workgroup memory 24,576 B (TB),
// 23,040 B (nn), 21,504 B (TA) with TN 128.
enable f16;
enable wgpu_cooperative_matrix;
const TN: u32 = 128; // 64 or 128
alias Operand = f16;
#import lib/gemm
const RUNNING: bool = VA && VB && WITHIN_M && WITHIN_N && WITHIN_K && !OVERLAP; // addresses advance by a step

// Tiles lie as the matrices are stored, rows along k or along the edge. In vec4: quads of a row, row length, all; rows
// that one pass of the 128 threads fills.
#if TA
const A_QUADS: u32 = 32;
const A_ROW: u32 = 34;
const A_SIZE: u32 = 1088;
const A_PASS: u32 = 4;
#else
const A_QUADS: u32 = 8;
const A_ROW: u32 = 10;
const A_SIZE: u32 = 1280;
const A_PASS: u32 = 16;
#endif
#if TB
const B_QUADS: u32 = 8;
const B_ROW: u32 = 10;
const B_SIZE: u32 = TN * 10;
const B_PASS: u32 = 16;
#else
const B_QUADS: u32 = TN / 4;
const B_ROW: u32 = TN / 4 + 2;
const B_SIZE: u32 = 32 * (TN / 4 + 2);
const B_PASS: u32 = 512 / TN;
#endif
const B_PASSES: u32 = TN / 16;
const COLS: u32 = TN / 32; // fragments of a subgroup along n

var<workgroup> sa: array<vec4<f16>, A_SIZE>;
var<workgroup> sb: array<vec4<f16>, {B_SIZE}>;
var<workgroup> staged: array<vec4<f32>, 256>; // [4 subgroups, 16, 16]

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

fn fetch_a(edge: u32, k: u32, row: u32, quad: u32) -> vec4<f16> {
#if TA
    return load_a(k + row, edge + quad * 4u);
#else
    return load_a(edge + row, k + quad * 4u);
#endif
}

fn fetch_b(edge: u32, k: u32, row: u32, quad: u32) -> vec4<f16> {
#if TB
    return load_b(edge + row, k + quad * 4u);
#else
    return load_b(k + row, edge + quad * 4u);
#endif
}

// The row of a tile that a thread fills. Rows of 64 bytes: r and r + 4 side by side, so that no two threads of a
// store meet in a bank.
fn tile_row(lane: u32, quads: u32) -> u32 {
    let row = lane / quads;
    if quads == 8u {
        return (row & 0xfffffff8u) | ((row & 1u) << 2u) | ((row >> 1u) & 3u);
    }
    return row;
}

@compute @workgroup_size(128)
fn gemm_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let own = vec2<u32>(wg.y * 128u, wg.x * TN);
    let m0 = min(own.x, params.last_m);
    let n0 = min(own.y, params.last_n);
    let sg = lane / 32u;
    let wm = (sg / 2u) * 64u;
    let wn = (sg % 2u) * (TN / 2u);
    let row_a = tile_row(lane, A_QUADS);
    let row_b = tile_row(lane, B_QUADS);
    let quad_a = lane % A_QUADS;
    let quad_b = lane % B_QUADS;
    let at_a = row_a * A_ROW + quad_a;
    let at_b = row_b * B_ROW + quad_b;
#if TA
    let fa = wm / 4u;
#else
    let fa = wm * A_ROW;
#endif
#if TB
    let fb = wn * B_ROW;
#else
    let fb = wn / 4u;
#endif
#for i in 0..4
#for j in 0..COLS
    var acc{i}_{j} = FragC();
#end
#end
    let start = wg.z * params.part.x;
    var fresh = start;
    var k = step_at(fresh);
#if RUNNING
    let across_a = params.a_row / 4u;
#if TB
    let across_b = params.k / 4u;
    var pb = (n0 + row_b) * across_b + k / 4u + quad_b;
    let along_b = 8u;
#else
    let across_b = params.n / 4u;
    var pb = (k + row_b) * across_b + n0 / 4u + quad_b;
    let along_b = 32u * across_b;
#endif
#if TA
    var pa = (k + row_a) * across_a + m0 / 4u + quad_a;
    let along_a = 32u * across_a;
#else
    var pa = (m0 + row_a) * across_a + k / 4u + quad_a;
    let along_a = 8u;
#endif
#for i in 0..8
    var ga{i} = vec4<Operand>(a[pa + {i * A_PASS}u * across_a]);
#end
#for i in 0..B_PASSES
    var gb{i} = vec4<Operand>(b[pb + {i * B_PASS}u * across_b]);
#end
#else
#for i in 0..8
    var ga{i} = fetch_a(m0, k, row_a + {i * A_PASS}u, quad_a);
#end
#for i in 0..B_PASSES
    var gb{i} = fetch_b(n0, k, row_b + {i * B_PASS}u, quad_b);
#end
#endif
    for (var t = 0u; ; t += 1u) {
#if OVERLAP
        if k < fresh {
#for i in 0..8
            ga{i} = zeroed_a(ga{i}, k, row_a + {i * A_PASS}u, quad_a, fresh);
#end
        }
#endif
#for i in 0..8
        sa[at_a + {i * A_PASS * A_ROW}u] = ga{i};
#end
#for i in 0..B_PASSES
        sb[at_b + {i * B_PASS * B_ROW}u] = gb{i};
#end
        workgroupBarrier();
        // The end is read anew in every step, from a place that changes: a driver that knew the number of steps would
        // unroll the loop, and take five times as long to compile it.
        let more = fresh + 32u < min(start + params.part[t % 4u], params.k);
        // The last step fetches its own tiles once more.
        fresh += select(0u, 32u, more);
#if RUNNING
        pa += select(0u, along_a, more);
        pb += select(0u, along_b, more);
#for i in 0..8
        ga{i} = vec4<Operand>(a[pa + {i * A_PASS}u * across_a]);
#end
#for i in 0..B_PASSES
        gb{i} = vec4<Operand>(b[pb + {i * B_PASS}u * across_b]);
#end
#else
        k = step_at(fresh);
#for i in 0..8
        ga{i} = fetch_a(m0, k, row_a + {i * A_PASS}u, quad_a);
#end
#for i in 0..B_PASSES
        gb{i} = fetch_b(n0, k, row_b + {i * B_PASS}u, quad_b);
#end
#endif
#for h in 0..2
        {
#for i in 0..4
#if TA
            let a{i} = coopLoad<FragA>(&sa[fa + {h * 16 * A_ROW + i * 4}u], A_ROW);
#else
            let a{i} = coopLoadT<FragA>(&sa[fa + {i * 16 * A_ROW + h * 4}u], A_ROW);
#endif
#end
#for j in 0..COLS
#if TB
            let b{j} = coopLoad<FragB>(&sb[fb + {j * 16 * B_ROW + h * 4}u], B_ROW);
#else
            let b{j} = coopLoadT<FragB>(&sb[fb + {h * 16 * B_ROW + j * 4}u], B_ROW);
#endif
#for i in 0..4
            acc{i}_{j} = coopMultiplyAdd(a{i}, b{j}, acc{i}_{j});
#end
#end
        }
#end
        workgroupBarrier();
        if !more {
            break;
        }
    }
    let row = (lane % 32u) / 4u;
    let quad = lane % 4u;
#for i in 0..4
#for j in 0..COLS
    coopStoreT(acc{i}_{j}, &staged[sg * 64u], 4u);
    workgroupBarrier();
#if VC
#for h in 0..2
    store_c(
        wg.z,
        m0 + wm + {i * 16 + h * 8}u + row,
        n0 + wn + {j * 16}u + quad * 4u,
        own,
        staged[sg * 64u + {h * 32}u + lane % 32u],
    );
#end
#else
    // Neighbours side by side: rows need not begin at quads.
#for h in 0..8
    store_element(
        wg.z,
        m0 + wm + {i * 16 + h * 2}u + lane % 32u / 16u,
        n0 + wn + {j * 16}u + lane % 16u,
        own,
        staged[sg * 64u + {h * 8}u + lane % 32u / 4u][lane % 4u],
    );
#end
#endif
    workgroupBarrier();
#end
#end
}
