// Sums of log decays log_f_0 + .. + log_f_t of each head, as an integer number of quarters and a rest of at most an
// eighth: sums between two steps are differences of these that lose no digits, however large the sums are.
// A workgroup: one (b, h), `per` consecutive steps a thread. Grid: ops::grid_1d over B H.
// The host guarantees 256 per >= T and T <= 131072, so that T 4096 quarters fit in an i32.
#import lib/grid
#import lib/prefix

struct Params { t: u32, h: u32, heads: u32, per: u32 }

@group(0) @binding(0) var<storage, read_write> log_f: array<f32>; // [B, T, H]
@group(0) @binding(1) var<storage, read_write> sums: array<vec2<i32>>; // [B, T, H]: quarters, bits of the rest
@group(0) @binding(2) var<uniform> params: Params;

struct Item { quarters: i32, rest: f32 }

fn item(x: f32) -> Item {
    let quarters = round(4.0 * x);
    return Item(i32(quarters), x - 0.25 * quarters);
}

fn join(a: Item, b: Item) -> Item {
    let rest = item(a.rest + b.rest);
    return Item(a.quarters + b.quarters + rest.quarters, rest.rest);
}

@compute @workgroup_size(256)
fn attention_decay_sums(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = workgroup_index(wg, count);
    if head >= params.heads {
        return;
    }
    let first = head / params.h * params.t * params.h + head % params.h;
    let begin = min(lane * params.per, params.t);
    let end = min(begin + params.per, params.t);
    var own: Item;
    for (var t = begin; t < end; t++) {
        own = join(own, item(max(log_f[first + t * params.h], -4096.0)));
    }
    var sum = sum_before(lane, own);
    for (var t = begin; t < end; t++) {
        let row = first + t * params.h;
        sum = join(sum, item(max(log_f[row], -4096.0)));
        sums[row] = vec2<i32>(sum.quarters, bitcast<i32>(sum.rest));
    }
}
