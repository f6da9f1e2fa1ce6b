// Keys and values of attention on their way to `tile`. The kernel declares SHARE, and VALUES, where values begin in the tile:
// 0 if they take the place of used up keys.
// Requires: coop_stage_eights, Eights, SHARE, VALUES
// Provides: Staged, coop_stage_pair_keys, coop_stage_pair_values

struct Staged {
    k: Eights,
    v: Eights,
}

// stages keys, and with them their values unless these are to take their place
fn coop_stage_pair_keys(s: Staged, index: u32) {
    coop_stage_eights(s.k, 0u, index);
    if SHARE == 1u {
        coop_stage_eights(s.v, VALUES, index);
    }
}

// stages values in the place of keys that are used up
fn coop_stage_pair_values(s: Staged, index: u32) {
    if SHARE == 2u {
        coop_stage_eights(s.v, 0u, index);
    }
}
