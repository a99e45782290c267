// Causal softmax attention on matrix units (models.md 4.8; lib/attention_coop has the structure). Weights are 2^(score - m),
// scores in powers of two. m need not be the row's maximum, f16 reaching from 2^-14 to 2^15: it is set ROOM above that of
// the row's first tile, and only raised, which rescales sum and output rows, when a score passes m + LIMIT. With decays
// the tiles go from the last to the first, since the latest keys then have the largest scores.
//
// Tiles of queries end at the end of the sequence: the short one is the first, where there are few keys. The longest rows
// go first. The host guarantees B T H D < 2^32.
enable f16;
enable wgpu_cooperative_matrix;
const BACK: bool = false;
#import lib/attention_coop

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
@group(0) @binding(9) var<uniform> params: Params;

#if SPLIT
const ROOM: f32 = -6.0; // the low halves need room below
#else
const ROOM: f32 = 8.0;
#endif
const LIMIT: f32 = 15.0;
const NOTHING: f32 = -1.0e30; // a masked score
const LOWEST: f32 = -1.0e10; // m of a row without keys

fn put(operand: u32, i: u32, x: Value) {
    o[i] = vec4<t_o>(x);
}

@compute @workgroup_size(128)
fn attention_fwd_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    place_head(wg.y);
    let sg = lid / 32u;
    let lane = lid % 32u;
    let stop = params.t - wg.x * 64u;
    let q0 = max(stop, 64u) - 64u + 16u * sg;
    // Keys that the subgroup has to see.
    let until = select(0u, min(q0 + 16u, stop), q0 < stop);
    let at_block = sg * 80u;
    let at_pair = sg * 64u;
    let mine = lane / 2u;
    let keys = (lane % 2u) * 4u;
    let at_row = at_block + mine * 5u + (lane % 2u) * 2u;
    let at_weights = at_pair + mine * 4u + keys / 4u;
    let at_scores = at_block + keys * 5u + mine / 4u;
    let part = mine % 4u;
    let query = q0 + mine;

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

#for b in 0..BLOCKS
    let upper{b} = scaled(fetch(Q, q0 + lane / 4u, {4 * b}u + lane % 4u), scale_q);
    let lower{b} = scaled(fetch(Q, q0 + 8u + lane / 4u, {4 * b}u + lane % 4u), scale_q);
    put_pair(at_pair + lane, 32u, top_half(upper{b}), top_half(lower{b}));
    let own{b} = coopLoadT<FragA>(&pair[at_pair], 4u);
#if SPLIT
    put_pair(at_pair + lane, 32u, rest(upper{b}), rest(lower{b}));
    let own_low{b} = coopLoadT<FragA>(&pair[at_pair], 4u);
#endif
    var o{b} = FragC();
#end
    var m = LOWEST;
    var sum = 0.0;
    var begun = false;
#if FORGET
    let late = sums[first + min(query, params.t - 1u) * params.h];
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
            var s = FragC();
#if SPLIT
            var s_low = FragC();
#endif
#for b in 0..BLOCKS
            {
                let y = coopLoad<FragB>(&near[{4 * b}], PITCH);
                s = coopMultiplyAdd(own{b}, y, s);
#if SPLIT
                s_low = coopMultiplyAdd(own_low{b}, y, s_low);
                s_low = coopMultiplyAdd(own{b}, coopLoad<FragB>(&near_low[{4 * b}], PITCH), s_low);
#endif
            }
#end
#if SPLIT
            s = s + s_low;
#endif
            subgroupBarrier();
            coopStore(s, &block[at_block], 5u);
            subgroupBarrier();
            let z0 = scores_at(at_scores, part);
            let z1 = scores_at(at_scores + 40u, part);
#if FORGET
            let of_query = sums_at(late, late, late, late);
            let decay0 = LOG2_E * log_decay(of_query, kept_sums(at_block, keys));
            let decay1 = LOG2_E * log_decay(of_query, kept_sums(at_block, keys + 8u));
#else
            let decay0 = vec4<f32>();
            let decay1 = vec4<f32>();
#endif
            var x = fma(z0, vec4<f32>(unit), decay0);
            var y = fma(z1, vec4<f32>(unit), decay1);
            let key = vec4<u32>(0u, 1u, 2u, 3u) + (here + keys);
            let meets_diagonal = here + 15u > q0;
            if meets_diagonal {
                x = select(vec4<f32>(NOTHING), x, key <= vec4<u32>(query));
                y = select(vec4<f32>(NOTHING), y, key + 8u <= vec4<u32>(query));
            }
            let top = largest(x, y);
            let raise = subgroupAny(top > m + LIMIT);
            var keep = 1.0;
            if raise {
                let raised = max(m, max(top, subgroupShuffleXor(top, 1u)) + ROOM);
                keep = exp2(m - raised);
                m = raised;
                sum *= keep;
            }
            for (var grow = select(1u, 0u, raise && begun); grow < 1u; grow = 1u) {
#for b in 0..BLOCKS
                subgroupBarrier();
                coopStoreT(o{b}, &block[at_block], 5u);
                subgroupBarrier();
                block[at_row] *= keep;
                block[at_row + 1u] *= keep;
                subgroupBarrier();
                o{b} = coopLoadT<FragC>(&block[at_block], 5u);
#end
            }
            begun = true;
            // Not x - m: a rounded x would differ from what the backward pass, which has another m, makes of it.
            x = exp2(fma(z0, vec4<f32>(unit), decay0 - m));
            y = exp2(fma(z1, vec4<f32>(unit), decay1 - m));
            if meets_diagonal {
                x = select(vec4<f32>(), x, key <= vec4<u32>(query));
                y = select(vec4<f32>(), y, key + 8u <= vec4<u32>(query));
            }
            sum += total(x + y);
            put_pair(at_weights, 2u, narrow(x), narrow(y));
            let p = coopLoadT<FragA>(&pair[at_pair], 4u);
#if SPLIT
            put_pair(at_weights, 2u, rest(x), rest(y));
            let p_low = coopLoadT<FragA>(&pair[at_pair], 4u);
#endif
#for b in 0..BLOCKS
            {
                let z = coopLoadT<FragB>(&far[{4 * b}], PITCH);
#if SPLIT
                var add = coopMultiplyAdd(p_low, z, FragC());
                add = coopMultiplyAdd(p, coopLoadT<FragB>(&far_low[{4 * b}], PITCH), add);
                add = coopMultiplyAdd(p, z, add);
                o{b} = o{b} + add;
#else
                o{b} = coopMultiplyAdd(p, z, o{b});
#endif
            }
#end
        }
        workgroupBarrier();
    }

    sum += subgroupShuffleXor(sum, 1u);
    if lane % 2u == 0u && query < stop {
        lse[first + query * params.h] = LN_2 * (m + log2(sum));
    }
#for b in 0..BLOCKS
    subgroupBarrier();
    coopStoreT(o{b}, &block[at_block], 5u);
    subgroupBarrier();
    if query < stop {
        let c = {4 * b}u + (lane % 2u) * 2u;
        store(0u, query, c, block[at_row] / sum * unscale);
        store(0u, query, c + 1u, block[at_row + 1u] / sum * unscale);
    }
#end
}
