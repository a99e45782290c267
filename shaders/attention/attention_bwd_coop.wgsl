// Gradients of queries, keys or values on matrix units (models.md 4.8; lib/attention_coop has the structure): with p from
// lse and dz = p (grad_o v^T - del), dq = scale dz k, dk = scale dz^T q, dv = p^T grad_o. A launch each: two sets of output rows do
// not fit the registers, unless operands are single f16 and heads at most 128 wide. For dq a workgroup's own rows are queries and its tiles keys, else the other way round.
//
// p is used times 2^14 and dz divided by the largest that it can be over 2^15, so that all of f16 is used. Tiles of queries
// end at the end of the sequence. The longest rows go first.
enable f16;
enable wgpu_cooperative_matrix;
const BACK: bool = true;
#import lib/attention_coop

const OF: u32 = 0; // 0: dq, 1: dk, 2: dv, 3: dk and dv
const BY_KEY: bool = OF > 0;
const THROUGH: bool = OF != 2; // needs dz
const BOTH: bool = OF == 3;
alias t_target_rows = f32;
#if BOTH
alias t_value_rows = f32;
#endif

@group(0) @binding(5) var<storage, read_write> target_rows: array<vec4<t_target_rows>>; // [B, T, H, D]
#if SPLIT
@group(0) @binding(6) var<storage, read_write> amax_q: array<u32>; // [1] bits of the largest magnitude
@group(0) @binding(7) var<storage, read_write> amax_k: array<u32>; // [1]
#endif
@group(0) @binding(8) var<storage, read_write> amax_v: array<u32>; // [1]
@group(0) @binding(9) var<storage, read_write> amax_grad_o: array<u32>; // [1]
#if FORGET && THROUGH
@group(0) @binding(10) var<storage, read_write> dz_sums: array<f32>; // [B, T, H]: of dz without the diagonal
#endif
#if BOTH
@group(0) @binding(11) var<storage, read_write> value_rows: array<vec4<t_value_rows>>; // [B, T, H, D]
#endif
@group(0) @binding(12) var<uniform> params: Params;

const UP: f32 = 14.0; // p times 2^UP
// dz over this: with operands below 2^15, grad_o v^T and del are at most D 2^30.
const WIDEST: f32 = 65536.0 * f32(16u * BLOCKS);
const NARROWER: f32 = 1.0 / WIDEST;

// Own operands, and those of tiles: `near` makes scores with the first and, transposed, the target of dz.
#if BY_KEY
const OWN: u32 = K;
const OWN_FAR: u32 = V;
const NEAR: u32 = Q;
const FAR: u32 = GRAD_O;
#else
const OWN: u32 = Q;
const OWN_FAR: u32 = GRAD_O;
const NEAR: u32 = K;
const FAR: u32 = V;
#endif

fn put(operand: u32, i: u32, x: Value) {
#if BOTH
    if operand == V {
        value_rows[i] = vec4<t_value_rows>(x);
        return;
    }
#endif
    target_rows[i] = vec4<t_target_rows>(x);
}

@compute @workgroup_size(128)
fn attention_bwd_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    place_head(wg.y);
    let sg = lid / 32u;
    let lane = lid % 32u;
#if BY_KEY
    let own = wg.x * 64u + 16u * sg;
    let stop = params.t;
    let begin = wg.x * 64u;
#else
    let stop = params.t - wg.x * 64u;
    let own = max(stop, 64u) - 64u + 16u * sg;
    let begin = 0u;
#endif
    let at_block = sg * 80u;
    let at_pair = sg * PAIR;
    let mine = lane / 2u;
    let keys = (lane % 2u) * 4u;
    let at_weights = at_pair + mine * NEXT + keys / 4u;
    let at_operand = at_pair + lane / 4u * NEXT + lane % 4u;
    let part = mine % 4u;
    let r = lane / 4u;
    let c = lane % 4u;

#if SPLIT
    let e_q = scale_exponent(amax_q[0]);
    let e_k = scale_exponent(amax_k[0]);
    let e_v = scale_exponent(amax_v[0]);
    let e_grad_o = scale_exponent(amax_grad_o[0]);
    let bad = max(max(amax_q[0], amax_k[0]), max(amax_v[0], amax_grad_o[0]));
    let narrower = NARROWER;
#else
    let e_q = 0;
    let e_k = 0;
    let e_v = 0;
    let e_grad_o = 0;
    let bad = max(amax_v[0], amax_grad_o[0]);
    let e_dz = clamp(scale_exponent(amax_v[0]) + scale_exponent(amax_grad_o[0]), -100, 100);
    let narrower = NARROWER * power_of_two(e_dz);
#endif
    let unit = params.scale * LOG2_E * power_of_two(-e_q) * power_of_two(-e_k);
#if BY_KEY
    let scale_own = power_of_two(e_k);
    let scale_own_far = power_of_two(e_v);
    let scale_near = power_of_two(e_q);
    let scale_far = power_of_two(e_grad_o);
#else
    let scale_own = power_of_two(e_q);
    let scale_own_far = power_of_two(e_grad_o);
    let scale_near = power_of_two(e_k);
    let scale_far = power_of_two(e_v);
#endif

#for side in 0..1 + THROUGH
#for b in 0..BLOCKS
#if side == 0
    let upper{side}_{b} = scaled(fetch(OWN, own + r, {4 * b}u + c), scale_own);
    let lower{side}_{b} = scaled(fetch(OWN, own + 8u + r, {4 * b}u + c), scale_own);
#else
    let upper{side}_{b} = scaled(fetch(OWN_FAR, own + r, {4 * b}u + c), scale_own_far);
    let lower{side}_{b} = scaled(fetch(OWN_FAR, own + 8u + r, {4 * b}u + c), scale_own_far);
#endif
    put_pair(at_operand, 8u * NEXT, top_half(upper{side}_{b}), top_half(lower{side}_{b}));
    let own{side}_{b} = coopLoadT<FragA>(&pair[at_pair], NEXT);
#if SPLIT
    put_pair(at_operand, 8u * NEXT, rest(upper{side}_{b}), rest(lower{side}_{b}));
    let own_low{side}_{b} = coopLoadT<FragA>(&pair[at_pair], NEXT);
#endif
#end
#end
#for b in 0..BLOCKS
    var sum{b} = FragC();
#if BOTH
    var of_v{b} = FragC();
#endif
#end
#if FORGET
#if THROUGH
    var dz_before = vec4<f32>();
    var dz_after = vec4<f32>();
#endif
#if BY_KEY
    if lane < 16u {
        keep_sum(at_block, lane, stats[first + min(own + lane, params.t - 1u) * params.h].zw);
    }
#endif
#endif
#if !BY_KEY
    let stat = stats[first + min(own + mine, params.t - 1u) * params.h];
#endif

#for n in 0..LOADS
    let row{n} = ({128 * n}u + lid) / QUADS;
    let quad{n} = ({128 * n}u + lid) % QUADS;
    var near{n} = fetch(NEAR, begin + row{n}, quad{n});
    var far{n} = fetch(FAR, begin + row{n}, quad{n});
#end
#if FORGET && !BY_KEY
    var early = stats[first + min(begin + lane % 16u, params.t - 1u) * params.h].zw;
#endif
    for (var t0 = begin; t0 < stop; t0 += 16u) {
#for n in 0..LOADS
#if BLOCKS % 2 == 1 && n + 1 == LOADS
        if row{n} < 16u
#endif
        {
            put_tile(row{n}, quad{n}, scaled(near{n}, scale_near), scaled(far{n}, scale_far));
        }
#end
        workgroupBarrier();
#if FORGET && !BY_KEY
        if lane < 16u {
            keep_sum(at_block, lane, early);
        }
#endif
#for n in 0..LOADS
        near{n} = fetch(NEAR, t0 + 16u + row{n}, quad{n});
        far{n} = fetch(FAR, t0 + 16u + row{n}, quad{n});
#end
#if FORGET && !BY_KEY
        early = stats[first + min(t0 + 16u + lane % 16u, params.t - 1u) * params.h].zw;
#endif
#if BY_KEY
        let meets = own < t0 + 16u && own < stop;
#else
        let meets = t0 < own + 16u && own < stop;
#endif
        for (var once = select(1u, 0u, meets); once < 1u; once = 1u) {
#if BY_KEY
            let stat = stats[first + min(t0 + mine, params.t - 1u) * params.h];
#endif
            var s = FragC();
#if SPLIT
            var s_low = FragC();
#endif
#for b in 0..BLOCKS
            {
                let y = coopLoad<FragB>(&near[{4 * b}], PITCH);
                s = coopMultiplyAdd(own0_{b}, y, s);
#if SPLIT
                s_low = coopMultiplyAdd(own_low0_{b}, y, s_low);
                s_low = coopMultiplyAdd(own0_{b}, coopLoad<FragB>(&near_low[{4 * b}], PITCH), s_low);
#endif
            }
#end
#if SPLIT
            s = s + s_low;
#endif
#if THROUGH
            var d = FragC();
#if SPLIT
            var d_low = FragC();
#endif
#for b in 0..BLOCKS
            {
                let y = coopLoad<FragB>(&far[{4 * b}], PITCH);
                d = coopMultiplyAdd(own1_{b}, y, d);
#if SPLIT
                d_low = coopMultiplyAdd(own_low1_{b}, y, d_low);
                d_low = coopMultiplyAdd(own1_{b}, coopLoad<FragB>(&far_low[{4 * b}], PITCH), d_low);
#endif
            }
#end
#if SPLIT
            d = d + d_low;
#endif
#endif
#for side in 0..1 + THROUGH
            subgroupBarrier();
#if side == 0
            coopStore(s, &block[at_block], 5u);
#else
            coopStore(d, &block[at_block], 5u);
#endif
            subgroupBarrier();
#if BY_KEY
            var x{side} = block[at_block + mine * 5u + keys / 4u];
            var y{side} = block[at_block + mine * 5u + keys / 4u + 2u];
#else
            var x{side} = scores_at(at_block + keys * 5u + mine / 4u, part);
            var y{side} = scores_at(at_block + (keys + 8u) * 5u + mine / 4u, part);
#endif
#end
            var offset0 = vec4<f32>(-LOG2_E * bitcast<f32>(stat.x));
            var offset1 = offset0;
#if FORGET
            let of_query = sums_at(stat.zw, stat.zw, stat.zw, stat.zw);
            offset0 = fma(log_decay(of_query, kept_sums(at_block, keys)), vec4<f32>(LOG2_E), offset0);
            offset1 = fma(log_decay(of_query, kept_sums(at_block, keys + 8u)), vec4<f32>(LOG2_E), offset1);
#endif
            // Above 1 by rounding alone.
            x0 = exp2(min(fma(x0, vec4<f32>(unit), offset0), vec4<f32>(1.0)));
            y0 = exp2(min(fma(y0, vec4<f32>(unit), offset1), vec4<f32>(1.0)));
#if BY_KEY
            let query = t0 + mine;
            let key = vec4<u32>(0u, 1u, 2u, 3u) + (own + keys);
            let inner = t0 >= own + 15u && t0 + 16u <= params.t;
            let seen = select(0u, query + 1u, query < params.t);
#else
            let query = own + mine;
            let key = vec4<u32>(0u, 1u, 2u, 3u) + (t0 + keys);
            let inner = t0 + 15u <= own;
            let seen = query + 1u;
#endif
            if !inner {
                x0 = select(vec4<f32>(), x0, key < vec4<u32>(seen));
                y0 = select(vec4<f32>(), y0, key + 8u < vec4<u32>(seen));
            }
#if BOTH
            put_pair(at_weights, 2u, narrow(x0 * exp2(UP)), narrow(y0 * exp2(UP)));
            let weights = coopLoad<FragA>(&pair[at_pair], NEXT);
#for b in 0..BLOCKS
            of_v{b} = coopMultiplyAdd(weights, coopLoadT<FragB>(&far[{4 * b}], PITCH), of_v{b});
#end
#endif
#if THROUGH
            // Where a key has all of its row's weight dz is 0, and grad_o v^T and del are only nearly the same.
            let del = bitcast<f32>(stat.y) * power_of_two(e_grad_o) * power_of_two(e_v);
            x0 = select(x0 * ((x1 - del) * narrower), vec4<f32>(), x0 >= vec4<f32>(1.0));
            y0 = select(y0 * ((y1 - del) * narrower), vec4<f32>(), y0 >= vec4<f32>(1.0));
#if FORGET
            dz_before += select(x0, vec4<f32>(), key == vec4<u32>(query));
            dz_after += select(y0, vec4<f32>(), key + 8u == vec4<u32>(query));
#endif
#else
            x0 *= exp2(UP);
            y0 *= exp2(UP);
#endif
            put_pair(at_weights, 2u, narrow(x0), narrow(y0));
#if BY_KEY
            let p = coopLoad<FragA>(&pair[at_pair], NEXT);
#else
            let p = coopLoadT<FragA>(&pair[at_pair], NEXT);
#endif
#if SPLIT
            put_pair(at_weights, 2u, rest(x0), rest(y0));
#if BY_KEY
            let p_low = coopLoad<FragA>(&pair[at_pair], NEXT);
#else
            let p_low = coopLoadT<FragA>(&pair[at_pair], NEXT);
#endif
#endif
#for b in 0..BLOCKS
            {
#if THROUGH
                let z = coopLoadT<FragB>(&near[{4 * b}], PITCH);
#else
                let z = coopLoadT<FragB>(&far[{4 * b}], PITCH);
#endif
#if SPLIT
                var add = coopMultiplyAdd(p_low, z, FragC());
#if THROUGH
                add = coopMultiplyAdd(p, coopLoadT<FragB>(&near_low[{4 * b}], PITCH), add);
#else
                add = coopMultiplyAdd(p, coopLoadT<FragB>(&far_low[{4 * b}], PITCH), add);
#endif
                add = coopMultiplyAdd(p, z, add);
                sum{b} = sum{b} + add;
#else
                sum{b} = coopMultiplyAdd(p, z, sum{b});
#endif
            }
#end
        }
        workgroupBarrier();
    }

#if THROUGH
#if SPLIT
    let of_dz = unless_infinite(power_of_two(-e_v), bad) * power_of_two(-e_grad_o) * WIDEST;
#else
    let of_dz = unless_infinite(power_of_two(-e_dz), bad) * WIDEST;
#endif
#if BY_KEY
    let unscale = params.scale * power_of_two(-e_q);
#else
    let unscale = params.scale * power_of_two(-e_k);
#endif
#else
    let of_dz = unless_infinite(exp2(-UP), bad);
    let unscale = power_of_two(-e_grad_o);
#endif
#if FORGET && THROUGH
#if BY_KEY
#for i in 1..5
    dz_before += subgroupShuffleXor(dz_before, {1 + (i >= 2) + 2 * (i >= 3) + 4 * (i >= 4)}u * 2u);
    dz_after += subgroupShuffleXor(dz_after, {1 + (i >= 2) + 2 * (i >= 3) + 4 * (i >= 4)}u * 2u);
#end
    if mine < 4u && own + keys + mine < stop {
        dz_sums[first + (own + keys + mine) * params.h] = dz_before[mine] * of_dz;
    }
    if mine < 4u && own + keys + 8u + mine < stop {
        dz_sums[first + (own + keys + 8u + mine) * params.h] = dz_after[mine] * of_dz;
    }
#else
    var dz_sum = total(dz_before + dz_after);
    dz_sum += subgroupShuffleXor(dz_sum, 1u);
    if lane % 2u == 0u && own + mine < stop {
        dz_sums[first + (own + mine) * params.h] = dz_sum * of_dz;
    }
#endif
#endif
#for b in 0..BLOCKS
    subgroupBarrier();
    coopStoreT(sum{b}, &block[at_block], 5u);
    subgroupBarrier();
    if own + r < stop {
        store(0u, own + r, {4 * b}u + c, block[at_block + r * 5u + c] * unscale * of_dz);
    }
    if own + r + 8u < stop {
        store(0u, own + r + 8u, {4 * b}u + c, block[at_block + 40u + r * 5u + c] * unscale * of_dz);
    }
#end
#if BOTH
    let of_p = unless_infinite(exp2(-UP), bad);
#for b in 0..BLOCKS
    subgroupBarrier();
    coopStoreT(of_v{b}, &block[at_block], 5u);
    subgroupBarrier();
    if own + r < stop {
        store(V, own + r, {4 * b}u + c, block[at_block + r * 5u + c] * of_p);
    }
    if own + r + 8u < stop {
        store(V, own + r + 8u, {4 * b}u + c, block[at_block + 40u + r * 5u + c] * of_p);
    }
#end
#endif
}
