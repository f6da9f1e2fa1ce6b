// A search by radix for the element at which a running sum passes a number: elements are ordered by 64 bits, (high, low),
// of which no two are the same, and bins hold the weights and the count of those that have a byte in common.
// Requires: scan_add, scan_all, wide_cmp, wide_sub
// Provides: Radix, radix_found, radix_clear, radix_add, radix_sum, radix_start, radix_choose, radix_holds, radix_next

// The elements whose order begins with the bytes found so far, and those before them: (low, high, count) of their weights.
struct Radix {
    prefix: vec2<u32>,
    mask: vec2<u32>, // the bits of it that are found
    before: vec3<u32>,
    here: vec3<u32>,
}

var<workgroup> radix_found: Radix;
var<workgroup> radix_low: array<atomic<u32>, 256>;
var<workgroup> radix_high: array<atomic<u32>, 256>;
var<workgroup> radix_count: array<atomic<u32>, 256>;

fn radix_clear(lane: u32) {
    if lane < 256u {
        atomicStore(&radix_low[lane], 0u);
        atomicStore(&radix_high[lane], 0u);
        atomicStore(&radix_count[lane], 0u);
    }
}

// Adds an element to the bin of its byte `level`, 0 to 7 from the top.
fn radix_add(order: vec2<u32>, level: u32, weight: u32) {
    let half = select(order.x, order.y, level >= 4u);
    let bin = (half >> (24u - 8u * (level % 4u))) & 0xffu;
    atomicAdd(&radix_count[bin], 1u);
    if atomicAdd(&radix_low[bin], weight) > ~weight {
        atomicAdd(&radix_high[bin], 1u); // the lower half has passed its end
    }
}

// What is in the bin of this invocation; all must call it together, and find the running sums in `scan_sums`.
fn radix_sum(lane: u32) -> vec3<u32> {
    var bin = vec3(0u);
    if lane < 256u {
        bin = vec3(atomicLoad(&radix_low[lane]), atomicLoad(&radix_high[lane]), atomicLoad(&radix_count[lane]));
    }
    scan_all(lane, bin);
    return bin;
}

// The search that has found nothing yet. Where `radix_choose` finds nothing either, no element is left of it.
fn radix_start() -> Radix {
    return Radix(vec2(0u), vec2(0u), vec3(0u), vec3(0u));
}

// The invocation into whose bin `number` falls, counted in elements or in weights, adds its byte to the prefix of `now`;
// `sum` is the running sum of the bins up to its own.
fn radix_choose(lane: u32, level: u32, now: Radix, bin: vec3<u32>, sum: vec3<u32>, number: vec2<u32>, by_count: bool) {
    let end = scan_add(now.before, sum);
    let begin = vec3(wide_sub(end.xy, bin.xy), end.z - bin.z);
    let low = select(begin.xy, vec2(begin.z, 0u), by_count);
    let high = select(end.xy, vec2(end.z, 0u), by_count);
    if lane < 256u && wide_cmp(low, number) <= 0 && wide_cmp(number, high) < 0 {
        let shift = 24u - 8u * (level % 4u);
        let half = select(vec2(1u, 0u), vec2(0u, 1u), level >= 4u);
        radix_found = Radix(now.prefix | (half * (lane << shift)), now.mask | (half * (0xffu << shift)), begin, bin);
    }
}

// whether an element is one of those that are searched
fn radix_holds(now: Radix, order: vec2<u32>) -> bool {
    return all((order & now.mask) == now.prefix);
}

// The level after this one. The lower half of the order is less than `end`, so that its first bytes may be known to be 0.
fn radix_next(level: u32, end: u32) -> u32 {
    return select(level + 1u, 4u + countLeadingZeros(end - 1u) / 8u, level == 3u);
}
