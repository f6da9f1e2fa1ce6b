// Tiles of attention in training without matrix units: products of the workgroup's 32 rows with 32 other ones, the columns, and
// sums of those, weighted. An invocation owns rows lane / 8 and lane / 8 + 16, and columns lane % 8, lane % 8 + 8 and so on.
// Values are staged 32 of a row at a time. The kernel declares `flash_at`, a value of a row.
// Requires: flash_at
// Provides: CHUNK, TILE, WIDTH, flash_tile_place, flash_tile_products, flash_tile_stage, flash_tile_sums, flash_tile_weights

const WIDTH = 128u;
const TILE = 32u;
const CHUNK = 32u;           // values of a row that are staged at a time
const FLASH_TILE_PITCH = 9u; // vec4s from row to row

var<workgroup> flash_tile_rows: array<vec4<f32>, 288>;
var<workgroup> flash_tile_columns: array<vec4<f32>, 288>;
var<workgroup> flash_tile_weights: array<f32, 1056>; // [32, 33]

// of the weight of an invocation's row 0 or 1 and its column 0 to 3
fn flash_tile_place(lane: u32, row: u32, column: u32) -> u32 {
    return (lane / 8u + 16u * row) * 33u + lane % 8u + 8u * column;
}

// values j to j + 3 of row `row` of kind `kind`
fn flash_tile_four(head: u32, kind: u32, row: u32, j: u32) -> vec4<f32> {
    return vec4(
        flash_at(head, kind, row, j),
        flash_at(head, kind, row, j + 1u),
        flash_at(head, kind, row, j + 2u),
        flash_at(head, kind, row, j + 3u),
    );
}

// stages values from j on of the 32 columns from `first` on
fn flash_tile_stage(lane: u32, head: u32, kind: u32, first: u32, j: u32) {
    workgroupBarrier();
    for (var i = lane; i < 256u; i += WIDTH) {
        let row = i / 8u;
        flash_tile_columns[row * FLASH_TILE_PITCH + i % 8u] = flash_tile_four(head, kind, first + row, j + 4u * (i % 8u));
    }
    workgroupBarrier();
}

// Products of the rows from `first.x` on of kind `kinds.x` with the columns from `first.y` on of kind `kinds.y`.
fn flash_tile_products(lane: u32, head: u32, kinds: vec2<u32>, first: vec2<u32>, head_dim: u32) -> mat2x4<f32> {
    var sums = mat2x4<f32>();
    for (var j = 0u; j < head_dim; j += CHUNK) {
        workgroupBarrier();
        for (var i = lane; i < 256u; i += WIDTH) {
            let row = i / 8u;
            flash_tile_rows[row * FLASH_TILE_PITCH + i % 8u] =
                flash_tile_four(head, kinds.x, first.x + row, j + 4u * (i % 8u));
        }
        flash_tile_stage(lane, head, kinds.y, first.y, j);
        let row = lane / 8u * FLASH_TILE_PITCH;
        let column = lane % 8u * FLASH_TILE_PITCH;
        for (var k = 0u; k < 8u; k++) {
            let x0 = flash_tile_rows[row + k];
            let x1 = flash_tile_rows[row + 16u * FLASH_TILE_PITCH + k];
            let y0 = flash_tile_columns[column + k];
            let y1 = flash_tile_columns[column + 8u * FLASH_TILE_PITCH + k];
            let y2 = flash_tile_columns[column + 16u * FLASH_TILE_PITCH + k];
            let y3 = flash_tile_columns[column + 24u * FLASH_TILE_PITCH + k];
            sums[0] += vec4(dot(x0, y0), dot(x0, y1), dot(x0, y2), dot(x0, y3));
            sums[1] += vec4(dot(x1, y0), dot(x1, y1), dot(x1, y2), dot(x1, y3));
        }
    }
    return sums;
}

// Sums of the staged columns, weighted: four values of both rows of an invocation, from 4 * (lane % 8) on.
fn flash_tile_sums(lane: u32, before: mat2x4<f32>) -> mat2x4<f32> {
    var sums = before;
    let row = lane / 8u * 33u;
    for (var k = 0u; k < TILE; k++) {
        let y = flash_tile_columns[k * FLASH_TILE_PITCH + lane % 8u];
        sums[0] += flash_tile_weights[row + k] * y;
        sums[1] += flash_tile_weights[row + 16u * 33u + k] * y;
    }
    return sums;
}
