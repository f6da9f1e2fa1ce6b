// Where positions lie in a cache whose slots are rings: position t at t modulo the capacity. The kernel declares the override
// RING, which is false where no position reaches the capacity, and p.capacity.
// Requires: p, RING
// Provides: ring_lap, ring_place, ring_places

// The multiple of the capacity that does not exceed `begin`: where the round began in which that position was written.
fn ring_lap(begin: u32) -> u32 {
    return select(0u, begin / p.capacity * p.capacity, RING);
}

// Where in a slot position `t` lies, which is less than a capacity beyond the position whose lap this is. One subtraction more
// suffices, and below the capacity it wraps to a number that is larger than all places.
fn ring_place(t: u32, lap: u32) -> u32 {
    let place = t - lap;
    return select(place, min(place, place - p.capacity), RING);
}

fn ring_places(t: vec4<u32>, lap: u32) -> vec4<u32> {
    let places = t - lap;
    return select(places, min(places, places - p.capacity), vec4(RING));
}
