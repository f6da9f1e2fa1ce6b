// Reading four columns of a piece of any width. Features columns.wgsl.

@group(0) @binding(1) var<storage, read> r: array<f32>;

// whether columns of a group can be missing among four
const RAGGED = true;

// the real blocks of columns c to c + 3; 0 where there are none
fn load_four(row: u32, c: u32) -> Four {
    let upper = row * p.columns;
    let right = p.columns - p.half;
    var v = Four();
    v.a = load_part(upper, c, p.half);
    v.b = load_part(upper + p.half, c, right);
    if row < p.lower_rows {
        let lower = upper + p.rows * p.columns;
        v.c = load_part(lower, c, p.half);
        v.d = load_part(lower + p.half, c, right);
    }
    return v;
}

// values c to c + 3 of the `end` that begin at `first`
fn load_part(first: u32, c: u32, end: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if c < end {
        v.x = r[first + c];
    }
    if c + 1u < end {
        v.y = r[first + c + 1u];
    }
    if c + 2u < end {
        v.z = r[first + c + 2u];
    }
    if c + 3u < end {
        v.w = r[first + c + 3u];
    }
    return v;
}
