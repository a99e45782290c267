// Second stage of sums over rows, several in a launch: sum[c] (+)= sum over p of partials[p, c], always in the same order.
// A workgroup does 2^shift columns (WIDE: quads of them) of one sum, at most 256; as many threads as are left share a column, each
// takes every so-manieth part, then a tree. A launch of one sum knows its shift: looking it up takes as long as a small sum.
// Grid: ops::grid_1d over the sums' ceil(n / 2^shift) together. Host: `ops::reduce::column_sum`, `gpu::sums`.
#import lib/grid
#import lib/wide

const JOBS: u32 = 64u;
const SEVERAL: bool = false;
const SHIFT: u32 = 5;
alias t_sum = f32;
#if WIDE
alias a_sum = vec4<t_sum>;
#else
alias a_sum = t_sum;
#endif

struct Job {
    first: u32, // workgroup; those that are not used have the largest number
    shift: u32, // of one of several
    parts: u32,
    n: u32,
    accumulate: u32,
    partial: u32, // where the sum's own [parts, n] begin
    sum: u32, // and its [n]
    wide: u32, // the host's
}
struct Params { jobs: array<Job, JOBS> }

@group(0) @binding(0) var<storage, read_write> partials: array<Lanes>; // [parts, n] of each
@group(0) @binding(1) var<storage, read_write> sum: array<a_sum>; // [n] of each
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> slices: array<Lanes, 256>;

@compute @workgroup_size(256)
fn column_sum(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
#if SEVERAL
    var at = 0u;
    for (var half = JOBS / 2u; half > 0u; half /= 2u) {
        if params.jobs[at + half].first <= group {
            at += half;
        }
    }
    let job = params.jobs[at];
    let shift = job.shift;
#else
    let job = params.jobs[0];
    let shift = SHIFT;
#endif
    let c = ((group - job.first) << shift) + (thread & ((1u << shift) - 1u));
    let slice = thread >> shift;
    let apart = 256u >> shift;
    var total = Lanes();
    if c < job.n {
        let first = job.partial + c;
        var p = slice;
        for (; p + 3u * apart < job.parts; p += 4u * apart) {
            // Four at a time are under way, and added in the same order.
#for i in 0..4
            let part{i} = partials[first + (p + {i}u * apart) * job.n];
#end
            total = (((total + part0) + part1) + part2) + part3;
        }
        for (; p < job.parts; p += apart) {
            total += partials[first + p * job.n];
        }
    }
    slices[thread] = total;
    workgroupBarrier();
    for (var span = apart / 2u; span > 0u; span /= 2u) {
        if slice < span {
            slices[thread] += slices[thread + (span << shift)];
        }
        workgroupBarrier();
    }
    if slice == 0u && c < job.n {
        var result = slices[thread];
        if job.accumulate != 0u {
            result += Lanes(sum[job.sum + c]);
        }
        sum[job.sum + c] = a_sum(result);
    }
}
