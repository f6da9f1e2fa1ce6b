// Sums over a workgroup: running ones of its first 256 invocations, and one of all of them. Values are (low, high, count),
// a 64-bit integer and a 32-bit one, or (low, high).
// Requires: wide_add
// Provides: scan_sums, scan_add, scan_all, scan_total

var<workgroup> scan_sums: array<vec3<u32>, 256>; // each with those of all invocations before it
var<workgroup> scan_parts: array<vec3<u32>, 256>;
var<workgroup> scan_tiles: array<vec3<u32>, 16>;
var<workgroup> scan_low: atomic<u32>;
var<workgroup> scan_high: atomic<u32>;

fn scan_add(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    return vec3(wide_add(a.xy, b.xy), a.z + b.z);
}

// Fills `scan_sums`; all invocations must call it together.
fn scan_all(lane: u32, value: vec3<u32>) {
    workgroupBarrier(); // earlier sums may still be being read
    if lane < 256u {
        scan_parts[lane] = value;
    }
    workgroupBarrier();
    if lane < 16u {
        var sum = vec3(0u);
        for (var i = 0u; i < 16u; i++) {
            sum = scan_add(sum, scan_parts[16u * lane + i]);
        }
        scan_tiles[lane] = sum;
    }
    workgroupBarrier();
    if lane < 256u {
        var sum = vec3(0u);
        for (var i = 0u; i < lane / 16u; i++) {
            sum = scan_add(sum, scan_tiles[i]);
        }
        for (var i = lane & 0xf0u; i <= lane; i++) {
            sum = scan_add(sum, scan_parts[i]);
        }
        scan_sums[lane] = sum;
    }
    workgroupBarrier();
}

// The sum of all invocations' values, for all of them; all must call it together.
fn scan_total(lane: u32, value: vec2<u32>) -> vec2<u32> {
    if lane == 0u {
        atomicStore(&scan_low, 0u);
        atomicStore(&scan_high, 0u);
    }
    workgroupBarrier();
    if atomicAdd(&scan_low, value.x) > ~value.x {
        atomicAdd(&scan_high, 1u); // the lower half has passed its end
    }
    atomicAdd(&scan_high, value.y);
    workgroupBarrier();
    return vec2(atomicLoad(&scan_low), atomicLoad(&scan_high));
}
