// Causal softmax attention on matrix units (models.md 4.8; lib/attention_coop has the structure). Weights are 2^(score - m),
// scores in powers of two. m need not be the row's maximum, f16 reaching from 2^-14 to 2^15: it is set ROOM above that of
// the row's first tile, and only raised, which rescales sum and output rows, when a score passes m + LIMIT. With decays
// the tiles go from the last to the first, since the latest keys then have the largest scores.
//
// TALL: a subgroup has 32 rows, so that what it reads of keys and values serves two products, and no registers are left to
// raise m: a row of which a score passes m + LIMIT is lost. A second run, REPAIR, makes all rows of a workgroup with a lost one
// anew, 64 at a time.
//
// Tiles of queries end at the end of the sequence: the short one is the first, where there are few keys. The longest rows
// go first. Grid: [ceil(T / ROWS), B H], of REPAIR [ceil(T / (128 PER)), B H]. The host guarantees B T H D < 2^32.
enable f16;
enable wgpu_cooperative_matrix;
const BACK: bool = false;
#import lib/attention_coop

const TALL: bool = false;
const REPAIR: bool = false;
alias t_o = f32;

@group(0) @binding(3) var<storage, read_write> o: array<vec4<t_o>>; // [B, T, H, D]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [B, T, H]
#if SPLIT
@group(0) @binding(5) var<storage, read_write> amax_q: array<u32>; // [1] bits of the largest magnitude
@group(0) @binding(6) var<storage, read_write> amax_k: array<u32>; // [1]
@group(0) @binding(7) var<storage, read_write> amax_v: array<u32>; // [1]
#endif
#if FORGET
@group(0) @binding(8) var<storage, read_write> sums: array<vec2<i32>>; // [B, T, H], of attention_decay_sums
#endif
#if TALL || REPAIR
@group(0) @binding(9) var<storage, read_write> lost: array<u32>; // [B H, ceil(T / 128), 4 subgroups] of TALL: 1 with a lost row
#endif
@group(0) @binding(10) var<uniform> params: Params;

#if SPLIT
const ROOM: f32 = -6.0; // the low halves need room below
#else
const ROOM: f32 = 8.0;
#endif
const LIMIT: f32 = 15.0;
const NOTHING: f32 = -1.0e30; // a masked score
const LOWEST: f32 = -1.0e10; // m of a row without keys

const OWN: u32 = {1 + TALL}; // blocks of 16 rows of a subgroup
const ROWS: u32 = {64 * OWN}; // of a workgroup
const PER: u32 = 4; // times the 128 rows of TALL: what a workgroup of REPAIR looks after

// Workgroups of TALL a head.
fn tall_count() -> u32 {
    return (params.t + 127u) / 128u;
}

fn put(operand: u32, i: u32, x: Value) {
    o[i] = vec4<t_o>(x);
}

#if REPAIR
@compute @workgroup_size(128)
fn attention_fwd_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    place_head(wg.y);
    let tall = wg.x + lid % 32u / 4u * count.x;
    var here = 0u;
    if lid % 32u < 4u * PER && tall < tall_count() {
        here = lost[(wg.y * tall_count() + tall) * 4u + lid % 4u];
    }
    // Each subgroup by itself, and in loops: in an `if`, or after a `return`, products on matrix units go wrong.
    let all = subgroupBallot(here != 0u).x;
    for (var i = 0u; i < 2u * PER; i++) {
        let after = 2u * (wg.x + i / 2u * count.x) + i % 2u;
        let anew = ((all >> (4u * (i / 2u))) & 15u) != 0u && 64u * after < params.t;
        for (var once = select(0u, 1u, anew); once > 0u; once = 0u) {
            make_rows(wg.y, after, lid);
        }
    }
}
#else
@compute @workgroup_size(128)
fn attention_fwd_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    place_head(wg.y);
    make_rows(wg.y, wg.x, lid);
}
#endif

// The ROWS rows of the head that `after` times ROWS others follow.
fn make_rows(head: u32, after: u32, lid: u32) {
    let sg = lid / 32u;
    let lane = lid % 32u;
    let stop = params.t - after * ROWS;
    let begin = max(stop, ROWS) - ROWS;
    let q0 = begin + 16u * OWN * sg;
    // Keys that the subgroup has to see.
    let until = select(0u, min(q0 + 16u * OWN, stop), q0 < stop);
    let at_block = sg * 80u;
    let at_pair = sg * PAIR;
    let mine = lane / 2u;
    let keys = (lane % 2u) * 4u;
    let at_row = at_block + mine * 5u + (lane % 2u) * 2u;
    let at_weights = at_pair + mine * NEXT + keys / 4u;
    let at_operand = at_pair + lane / 4u * NEXT + lane % 4u;
    let at_scores = at_block + keys * 5u + mine / 4u;
    let part = mine % 4u;
#for r in 0..OWN
    let query{r} = q0 + {16 * r}u + mine;
#end

#if SPLIT
    let e_q = scale_exponent(amax_q[0]);
    let e_k = scale_exponent(amax_k[0]);
    let e_v = scale_exponent(amax_v[0]);
    let unscale = unless_infinite(power_of_two(-e_v), max(amax_q[0], max(amax_k[0], amax_v[0])));
#else
    let e_q = 0;
    let e_k = 0;
    let e_v = 0;
    let unscale = 1.0;
#endif
    let scale_q = power_of_two(e_q);
    let scale_k = power_of_two(e_k);
    let scale_v = power_of_two(e_v);
    let unit = params.scale * LOG2_E * power_of_two(-e_q) * power_of_two(-e_k);

#for r in 0..OWN
#for b in 0..BLOCKS
    let upper{r}_{b} = scaled(fetch(Q, q0 + {16 * r}u + lane / 4u, {4 * b}u + lane % 4u), scale_q);
    let lower{r}_{b} = scaled(fetch(Q, q0 + {16 * r + 8}u + lane / 4u, {4 * b}u + lane % 4u), scale_q);
    put_pair(at_operand, 8u * NEXT, top_half(upper{r}_{b}), top_half(lower{r}_{b}));
    let own{r}_{b} = coopLoadT<FragA>(&pair[at_pair], NEXT);
#if SPLIT
    put_pair(at_operand, 8u * NEXT, rest(upper{r}_{b}), rest(lower{r}_{b}));
    let own_low{r}_{b} = coopLoadT<FragA>(&pair[at_pair], NEXT);
#endif
    var o{r}_{b} = FragC();
#end
    var m{r} = LOWEST;
    var sum{r} = 0.0;
#if TALL
    var peak{r} = LOWEST;
#endif
#if FORGET
    let late{r} = sums[first + min(query{r}, params.t - 1u) * params.h];
#endif
#end
#if !TALL
    var begun = false;
#endif

#for n in 0..LOADS
    let row{n} = ({128 * n}u + lid) / QUADS;
    let quad{n} = ({128 * n}u + lid) % QUADS;
#end
    let tiles = (stop + 15u) / 16u;
#if FORGET
    var k0 = 16u * (tiles - 1u);
#else
    var k0 = 0u;
#endif
#for n in 0..LOADS
    var near{n} = fetch(K, k0 + row{n}, quad{n});
    var far{n} = fetch(V, k0 + row{n}, quad{n});
#end
#if FORGET
    var early = sums[first + min(k0 + lane % 16u, params.t - 1u) * params.h];
#endif
    for (var tile = 0u; tile < tiles; tile += 1u) {
#for n in 0..LOADS
#if BLOCKS % 2 == 1 && n + 1 == LOADS
        if row{n} < 16u
#endif
        {
            put_tile(row{n}, quad{n}, scaled(near{n}, scale_k), scaled(far{n}, scale_v));
        }
#end
        workgroupBarrier();
        let here = k0;
#if FORGET
        if lane < 16u {
            keep_sum(at_block, lane, early);
        }
        k0 = max(k0, 16u) - 16u;
        early = sums[first + min(k0 + lane % 16u, params.t - 1u) * params.h];
#else
        k0 += 16u;
#endif
#for n in 0..LOADS
        near{n} = fetch(K, k0 + row{n}, quad{n});
        far{n} = fetch(V, k0 + row{n}, quad{n});
#end
        for (var once = here; once < until; once = until) {
#for r in 0..OWN
            var s{r} = FragC();
#end
#if SPLIT
            var s_low = FragC();
#endif
#for b in 0..BLOCKS
            {
                let y = coopLoad<FragB>(&near[{4 * b}], PITCH);
#for r in 0..OWN
                s{r} = coopMultiplyAdd(own{r}_{b}, y, s{r});
#end
#if SPLIT
                s_low = coopMultiplyAdd(own_low0_{b}, y, s_low);
                s_low = coopMultiplyAdd(own0_{b}, coopLoad<FragB>(&near_low[{4 * b}], PITCH), s_low);
#endif
            }
#end
#if SPLIT
            s0 = s0 + s_low;
#endif
            let key = vec4<u32>(0u, 1u, 2u, 3u) + (here + keys);
#for r in 0..OWN
            subgroupBarrier();
            coopStore(s{r}, &block[at_block], 5u);
            subgroupBarrier();
            var z{r}_0 = scores_at(at_scores, part);
            var z{r}_1 = scores_at(at_scores + 40u, part);
            let meets_diagonal{r} = here + 15u > q0 + {16 * r}u;
#if FORGET
            let of_query{r} = sums_at(late{r}, late{r}, late{r}, late{r});
            let decay{r}_0 = LOG2_E * log_decay(of_query{r}, kept_sums(at_block, keys));
            let decay{r}_1 = LOG2_E * log_decay(of_query{r}, kept_sums(at_block, keys + 8u));
#else
            let decay{r}_0 = vec4<f32>();
            let decay{r}_1 = vec4<f32>();
#endif
#if SPLIT
            // unit may be so small that it would take a masked score back.
            var scaled{r}_0 = fma(z{r}_0, vec4<f32>(unit), decay{r}_0);
            var scaled{r}_1 = fma(z{r}_1, vec4<f32>(unit), decay{r}_1);
            if meets_diagonal{r} {
                scaled{r}_0 = select(vec4<f32>(NOTHING), scaled{r}_0, key <= vec4<u32>(query{r}));
                scaled{r}_1 = select(vec4<f32>(NOTHING), scaled{r}_1, key + 8u <= vec4<u32>(query{r}));
            }
            let top{r} = largest(scaled{r}_0, scaled{r}_1);
#else
            if meets_diagonal{r} {
                z{r}_0 = select(vec4<f32>(NOTHING), z{r}_0, key <= vec4<u32>(query{r}));
                z{r}_1 = select(vec4<f32>(NOTHING), z{r}_1, key + 8u <= vec4<u32>(query{r}));
            }
#if FORGET
            let top{r} = largest(fma(z{r}_0, vec4<f32>(unit), decay{r}_0), fma(z{r}_1, vec4<f32>(unit), decay{r}_1));
#else
            let top{r} = unit * largest(z{r}_0, z{r}_1);
#endif
#endif
#if TALL
            if tile == 0u {
                m{r} = max(top{r}, subgroupShuffleXor(top{r}, 1u)) + ROOM;
            }
            peak{r} = max(peak{r}, top{r});
#else
            let raise = subgroupAny(top0 > m0 + LIMIT);
            var keep = 1.0;
            if raise {
                let raised = max(m0, max(top0, subgroupShuffleXor(top0, 1u)) + ROOM);
                keep = exp2(m0 - raised);
                m0 = raised;
                sum0 *= keep;
            }
            for (var grow = select(1u, 0u, raise && begun); grow < 1u; grow = 1u) {
#for b in 0..BLOCKS
                subgroupBarrier();
                coopStoreT(o0_{b}, &block[at_block], 5u);
                subgroupBarrier();
                block[at_row] *= keep;
                block[at_row + 1u] *= keep;
                subgroupBarrier();
                o0_{b} = coopLoadT<FragC>(&block[at_block], 5u);
#end
            }
            begun = true;
#endif
            // Not x - m: a rounded x would differ from what the backward pass, which has another m, makes of it.
            var x{r} = exp2(fma(z{r}_0, vec4<f32>(unit), decay{r}_0 - m{r}));
            var y{r} = exp2(fma(z{r}_1, vec4<f32>(unit), decay{r}_1 - m{r}));
#if SPLIT
            if meets_diagonal{r} {
                x{r} = select(vec4<f32>(), x{r}, key <= vec4<u32>(query{r}));
                y{r} = select(vec4<f32>(), y{r}, key + 8u <= vec4<u32>(query{r}));
            }
#endif
            sum{r} += total(x{r} + y{r});
            put_pair(at_weights, 2u, narrow(x{r}), narrow(y{r}));
            let p{r} = coopLoadT<FragA>(&pair[at_pair], NEXT);
#end
#if SPLIT
            put_pair(at_weights, 2u, rest(x0), rest(y0));
            let p_low = coopLoadT<FragA>(&pair[at_pair], NEXT);
#endif
#for b in 0..BLOCKS
            {
                let z = coopLoadT<FragB>(&far[{4 * b}], PITCH);
#if SPLIT
                var add = coopMultiplyAdd(p_low, z, FragC());
                add = coopMultiplyAdd(p0, coopLoadT<FragB>(&far_low[{4 * b}], PITCH), add);
                add = coopMultiplyAdd(p0, z, add);
                o0_{b} = o0_{b} + add;
#else
#for r in 0..OWN
                o{r}_{b} = coopMultiplyAdd(p{r}, z, o{r}_{b});
#end
#endif
            }
#end
        }
        workgroupBarrier();
    }

#if TALL
    let some = subgroupAny(max(peak0 - m0, peak1 - m1) > LIMIT);
    if lane == 0u {
        lost[(head * tall_count() + after) * 4u + sg] = select(0u, 1u, some);
    }
#endif
#for r in 0..OWN
    sum{r} += subgroupShuffleXor(sum{r}, 1u);
    if lane % 2u == 0u && query{r} < stop {
        lse[first + query{r} * params.h] = LN_2 * (m{r} + log2(sum{r}));
    }
#for b in 0..BLOCKS
    subgroupBarrier();
    coopStoreT(o{r}_{b}, &block[at_block], 5u);
    subgroupBarrier();
    if query{r} < stop {
        let c = {4 * b}u + (lane % 2u) * 2u;
        store(0u, query{r}, c, block[at_row] / sum{r} * unscale);
        store(0u, query{r}, c + 1u, block[at_row + 1u] / sum{r} * unscale);
    }
#end
#end
}
