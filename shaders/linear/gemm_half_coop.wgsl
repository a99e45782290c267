// C = A B on matrix units, of operands that are stored in f16, summed in f32. The matrix unit truncates its sums, 1.9e-8 for
// every 16 of k: far below what the operands have lost.
//
// A workgroup computes a 128 x TN tile of one layer (z) of C, each of its 4 subgroups (of 32) 64 x TN / 2; k in steps of 32,
// the next tiles in registers while the products run, one tile in workgroup memory: with a second one, or more than 24,576 B
// in all, fewer workgroups are resident and the products take twice as long. Rows in workgroup memory are padded by 8 f16.
// C goes through workgroup memory, one fragment a subgroup at a time: coopStoreT could neither convert nor guard tails.
// Grid: [ceil(n / TN), ceil(m / 128), ceil(k / part)], `part` a multiple of 32; any m, n, k. CUT: a row of the tiles before `rows`
// and then of all parts of the others. Workgroup memory 24,576 B (TB),
// 23,040 B (nn), 21,504 B (TA) with TN 128.
enable f16;
enable wgpu_cooperative_matrix;
alias Operand = f16;
const THREADS: u32 = 128;
#import lib/gemm_units

const COLS: u32 = TN / 32; // fragments of a subgroup along n

var<workgroup> sa: array<vec4<f16>, A_SIZE>;
var<workgroup> sb: array<vec4<f16>, {B_SIZE}>;
var<workgroup> staged: array<vec4<f32>, 256>; // [4 subgroups, 16, 16]

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

@compute @workgroup_size(128)
fn gemm_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let place = place_of(wg);
    let own = place.own;
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
    var fresh = place.start;
    var k = step_at(fresh);
#if RUNNING
    var across_a = stride_a(column_a(m0, fresh, quad_a));
    let across_b = stride_b();
    let step_a = along_a(32u, across_a);
    let step_b = along_b(32u);
    var pa = first_a(m0, fresh, row_a, quad_a);
    var pb = first_b(n0, k, row_b, quad_b);
    let left_b = rows_left(n0, row_b);
#for i in 0..A_PASSES
    var ga{i} = vec4<Operand>(a[pa + {i * A_PASS}u * across_a]);
#end
#for i in 0..B_PASSES
    var gb{i} = running_b(pb, {i * B_PASS}u * across_b, left_b, n0, quad_b);
#end
#else
    // The first step has zeros and fetches the first tiles: guards are long, so they are written out once.
#for i in 0..A_PASSES
    var ga{i} = vec4<Operand>();
#end
#for i in 0..B_PASSES
    var gb{i} = vec4<Operand>();
#end
#endif
    for (var t = 0u; ; t += 1u) {
#if OVERLAP
        if k < fresh {
#for i in 0..A_PASSES
            ga{i} = zeroed_a(ga{i}, k, row_a + {i * A_PASS}u, quad_a, fresh);
#end
        }
#endif
#for i in 0..A_PASSES
        sa[at_a + {i * A_PASS * A_ROW}u] = ga{i};
#end
#for i in 0..B_PASSES
        sb[at_b + {i * B_PASS * B_ROW}u] = gb{i};
#end
        workgroupBarrier();
        // The last step fetches its own tiles once more.
#if RUNNING
        let more = fresh + 32u < end_of(place, t);
        fresh += select(0u, 32u, more);
#if OVERLAP
        let by = step_at(fresh) - k;
        k += by;
        pa += along_a(by, across_a);
        pb += along_b(by);
#else
        pa += select(0u, step_a, more);
        pb += select(0u, step_b, more);
#endif
#if PIECES > 1 && !TA
        let column = column_a(m0, fresh, quad_a);
        if more && column - piece_at(column).x < 32u {
            across_a = stride_a(column);
            pa = first_a(m0, fresh, row_a, quad_a);
        }
#endif
#for i in 0..A_PASSES
        ga{i} = vec4<Operand>(a[pa + {i * A_PASS}u * across_a]);
#end
#for i in 0..B_PASSES
        gb{i} = running_b(pb, {i * B_PASS}u * across_b, left_b, n0, quad_b);
#end
#else
        let more = t == 0u || fresh + 32u < end_of(place, t);
        fresh += select(0u, 32u, more && t > 0u);
        k = step_at(fresh);
#for i in 0..A_PASSES
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
    // What C is added to is asked for a row of blocks ahead.
#for j in 0..COLS
    let old0_{j} = old_block(m0 + wm, n0 + wn + {j * 16}u, lane % 32u);
#end
#for i in 0..4
#if i < 3
#for j in 0..COLS
    let old{i + 1}_{j} = old_block(m0 + wm + {i * 16 + 16}u, n0 + wn + {j * 16}u, lane % 32u);
#end
#endif
#for j in 0..COLS
    coopStoreT(acc{i}_{j}, &staged[sg * 64u], 4u);
    workgroupBarrier();
    store_block(place.layer, m0 + wm + {i * 16}u, n0 + wn + {j * 16}u, own, sg * 64u, lane % 32u, 1.0, 1.0, old{i}_{j});
    workgroupBarrier();
#end
#end
}
