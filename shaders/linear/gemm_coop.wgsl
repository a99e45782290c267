// C = A B at f32 accuracy on f16 matrix units: each operand times 2^e (its largest magnitude then lies in [2^14, 2^15))
// is split into hi + lo while it is staged, and hi hi + hi lo + lo hi is summed. The matrix unit truncates its f32 sums, 1.8e-8
// for every product of 16, so every 128 of k start fresh accumulators, which ordinary f32 additions add up.
//
// A workgroup computes a 128 x 128 tile of one layer (z) of C, each of its 8 subgroups (of 32) 64 x 32; k in steps of 32,
// the next tiles in registers while the products run. Rows in workgroup memory are padded by 8 f16. C goes through
// workgroup memory, one fragment a subgroup at a time: coopStoreT could neither guard tails nor take any row length.
// Grid: [ceil(n / 128), ceil(m / 128), ceil(k / part)], `part` a multiple of 32; any m, n, k. CUT: a row of the tiles before `rows`
// and then of all parts of the others. Workgroup memory 49,152 B
// (TB), 46,080 B (nn), 43,008 B (TA).
enable f16;
enable wgpu_cooperative_matrix;
alias Operand = f32;
const THREADS: u32 = 256;
#import lib/gemm_units
#import lib/split

@group(0) @binding(4) var<storage, read_write> amax_a: array<u32>; // [1] bits of the largest magnitude
@group(0) @binding(5) var<storage, read_write> amax_b: array<u32>; // [1]

var<workgroup> a_hi: array<vec4<f16>, A_SIZE>;
var<workgroup> a_lo: array<vec4<f16>, A_SIZE>;
var<workgroup> b_hi: array<vec4<f16>, {B_SIZE}>;
var<workgroup> b_lo: array<vec4<f16>, {B_SIZE}>;
var<workgroup> staged: array<vec4<f32>, 512>; // [8 subgroups, 16, 16]

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

@compute @workgroup_size(256)
fn gemm_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let place = place_of(wg);
    let own = place.own;
    let m0 = min(own.x, params.last_m);
    let n0 = min(own.y, params.last_n);
    let sg = lane / 32u;
    let wm = (sg / 4u) * 64u;
    let wn = (sg % 4u) * 32u;
    let e_a = scale_exponent(amax_a[0]);
    let e_b = scale_exponent(amax_b[0]);
    let scale_a = power_of_two(e_a);
    let scale_b = power_of_two(e_b);
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
#for j in 0..2
    var acc{i}_{j} = FragC();
    var s{i}_{j} = FragC(); // of the last steps
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
    var gb{i} = running_b(pb, {i * B_PASS}u * across_b, left_b, n0, quad_b);
#end
#else
    // The first step has zeros and fetches the first tiles: guards are long, so they are written out once.
#for i in 0..A_PASSES
    var ga{i} = vec4<Operand>();
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
        {
            let xa = ga{i} * scale_a;
            let ha = high(xa);
            a_hi[at_a + {i * A_PASS * A_ROW}u] = vec4<f16>(ha);
            a_lo[at_a + {i * A_PASS * A_ROW}u] = vec4<f16>(xa - ha);
            let xb = gb{i} * scale_b;
            let hb = high(xb);
            b_hi[at_b + {i * B_PASS * B_ROW}u] = vec4<f16>(hb);
            b_lo[at_b + {i * B_PASS * B_ROW}u] = vec4<f16>(xb - hb);
        }
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
        gb{i} = running_b(pb, {i * B_PASS}u * across_b, left_b, n0, quad_b);
#end
#else
        let more = t == 0u || fresh + 32u < end_of(place, t);
        fresh += select(0u, 32u, more && t > 0u);
        k = step_at(fresh);
#for i in 0..A_PASSES
        ga{i} = fetch_a(m0, k, row_a + {i * A_PASS}u, quad_a);
        gb{i} = fetch_b(n0, k, row_b + {i * B_PASS}u, quad_b);
#end
#endif
#for h in 0..2
        {
#for i in 0..4
#if TA
            let ah{i} = coopLoad<FragA>(&a_hi[fa + {h * 16 * A_ROW + i * 4}u], A_ROW);
            let al{i} = coopLoad<FragA>(&a_lo[fa + {h * 16 * A_ROW + i * 4}u], A_ROW);
#else
            let ah{i} = coopLoadT<FragA>(&a_hi[fa + {i * 16 * A_ROW + h * 4}u], A_ROW);
            let al{i} = coopLoadT<FragA>(&a_lo[fa + {i * 16 * A_ROW + h * 4}u], A_ROW);
#endif
#end
#for j in 0..2
#if TB
            let bh{j} = coopLoad<FragB>(&b_hi[fb + {j * 16 * B_ROW + h * 4}u], B_ROW);
            let bl{j} = coopLoad<FragB>(&b_lo[fb + {j * 16 * B_ROW + h * 4}u], B_ROW);
#else
            let bh{j} = coopLoadT<FragB>(&b_hi[fb + {h * 16 * B_ROW + j * 4}u], B_ROW);
            let bl{j} = coopLoadT<FragB>(&b_lo[fb + {h * 16 * B_ROW + j * 4}u], B_ROW);
#endif
#for i in 0..4
            s{i}_{j} = coopMultiplyAdd(al{i}, bh{j}, s{i}_{j});
#end
#for i in 0..4
            s{i}_{j} = coopMultiplyAdd(ah{i}, bl{j}, s{i}_{j});
#end
#for i in 0..4
            s{i}_{j} = coopMultiplyAdd(ah{i}, bh{j}, s{i}_{j});
#end
#end
        }
#end
        if t % 4u == 3u || !more {
#for i in 0..4
#for j in 0..2
            acc{i}_{j} = acc{i}_{j} + s{i}_{j};
            s{i}_{j} = FragC();
#end
#end
        }
        workgroupBarrier();
        if !more {
            break;
        }
    }
    // 2^-(e_a + e_b) in two factors, each in f32's range; NaN if an operand is not finite.
    let e = -(e_a + e_b);
    let bad = max(amax_a[0], amax_b[0]) >= 0x7f800000u;
    let unscale = bitcast<f32>(select(bitcast<u32>(power_of_two(e / 2)), 0x7fc00000u, bad));
    let unscale_rest = power_of_two(e - e / 2);
    // What C is added to is asked for a row of blocks ahead.
#for j in 0..2
    let old0_{j} = old_block(m0 + wm, n0 + wn + {j * 16}u, lane % 32u);
#end
#for i in 0..4
#if i < 3
#for j in 0..2
    let old{i + 1}_{j} = old_block(m0 + wm + {i * 16 + 16}u, n0 + wn + {j * 16}u, lane % 32u);
#end
#endif
#for j in 0..2
    coopStoreT(acc{i}_{j}, &staged[sg * 64u], 4u);
    workgroupBarrier();
    store_block(place.layer, m0 + wm + {i * 16}u, n0 + wn + {j * 16}u, own, sg * 64u, lane % 32u, unscale, unscale_rest, old{i}_{j});
    workgroupBarrier();
#end
#end
}
