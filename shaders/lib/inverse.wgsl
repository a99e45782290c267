// The inverse of a unit lower triangular matrix. Imports: lib/tile.

// Columns 4 q .. of row i of a unit lower triangular matrix whose part below the diagonal is the triangle.
fn unit_row(i: u32, q: u32) -> vec4<f32> {
    if q > i / 4u {
        return vec4(0.0);
    }
    let unit = vec4(4u * q) + vec4(0u, 1u, 2u, 3u) == vec4(i);
    return select(pool[triangle_at(i, q)], vec4(1.0), unit);
}

// The inverse of the unit lower triangular matrix in the pool, in its place: blocks of 16 on the diagonal by forward
// substitution, four columns a thread; then, twice the size each time, the blocks below them: -T2 A T1 for T1 above and T2
// beside the block A. All sums are by pairs, a u + b v = a (u + v) + (b - a) v, where u and v are of the inverse: with keys
// that are nearly equal and beta near 2 these nearly cancel, and a and b are nearly the same, so that little is rounded.
fn invert(lane: u32) {
    let first = lane / 4u * 16u;
    let j = vec4(4u * (lane % 4u)) + vec4(0u, 1u, 2u, 3u);
#for i in 0..16
    var x{i} = select(vec4(0.0), vec4(1.0), j == vec4({i}u));
#end
    if lane < CHUNK / 4u {
#for i in 1..16
#for q in 0..(i + 3) / 4
        {
            let a = pool[triangle_at(first + {i}u, first / 4u + {q}u)];
#for c in 0..2
#if 4 * q + 2 * c + 1 < i
            x{i} = fma(vec4(-a[{2 * c}]), x{4 * q + 2 * c} + x{4 * q + 2 * c + 1}, x{i});
            x{i} = fma(vec4(a[{2 * c}] - a[{2 * c + 1}]), x{4 * q + 2 * c + 1}, x{i});
#else
#if 4 * q + 2 * c < i
            x{i} = fma(vec4(-a[{2 * c}]), x{4 * q + 2 * c}, x{i});
#endif
#endif
#end
        }
#end
#end
    }
    workgroupBarrier();
    if lane < CHUNK / 4u {
#for i in 1..16
        if lane % 4u <= {i / 4}u {
            pool[triangle_at(first + {i}u, lane)] = select(vec4(0.0), x{i}, j < vec4({i}u));
        }
#end
    }
    workgroupBarrier();
    for (var size = 16u; size < CHUNK; size *= 2u) {
        let quads = size / 4u;
        let above = lane / (size * quads) * 2u * size;
        let beside = above + size;
        let i = beside + lane / quads % size;
        let q = above / 4u + lane % quads;
        let mine = beside < CHUNK;
        var sum = vec4(0.0);
        if mine {
            for (var k = 0u; k < quads; k++) {
                let a = pool[triangle_at(i, above / 4u + k)];
#for c in 0..2
                {
                    let upper = unit_row(above + 4u * k + {2 * c}u, q);
                    let lower = unit_row(above + 4u * k + {2 * c + 1}u, q);
                    sum = fma(vec4(a[{2 * c}]), upper + lower, sum);
                    sum = fma(vec4(a[{2 * c + 1}] - a[{2 * c}]), lower, sum);
                }
#end
            }
        }
        workgroupBarrier();
        if mine {
            pool[triangle_at(i, q)] = sum;
        }
        workgroupBarrier();
        sum = vec4(0.0);
        if mine {
            for (var k = 0u; k <= (i - beside) / 4u; k++) {
                let t = unit_row(i, beside / 4u + k);
#for c in 0..2
                {
                    let upper = pool[triangle_at(beside + 4u * k + {2 * c}u, q)];
                    let lower = pool[triangle_at(beside + 4u * k + {2 * c + 1}u, q)];
                    sum = fma(vec4(-t[{2 * c}] - t[{2 * c + 1}]), upper, sum);
                    sum = fma(vec4(t[{2 * c + 1}]), upper - lower, sum);
                }
#end
            }
        }
        workgroupBarrier();
        if mine {
            pool[triangle_at(i, q)] = sum;
        }
        workgroupBarrier();
    }
}

// Element n of what `invert` left, row by row.
fn inverse_element(n: u32) -> f32 {
    let i = n / CHUNK;
    let j = n % CHUNK;
    var value = 0.0;
    if j == i {
        value = 1.0;
    } else if j < i {
        value = triangle(i, j);
    }
    return value;
}
