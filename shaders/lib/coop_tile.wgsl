// Tiles of 128 rows by 64 factors in workgroup memory, for products by cooperative matrices of 16 by 16.
// 16 subgroups of 32 each own 32 rows by 32 columns of a tile of sums. Rows are padded against bank conflicts.
// Provides: WIDTH, TILE, PITCH, tile_a, tile_b

const WIDTH = 512u;
const TILE = 128u;
const PITCH = 18u; // vec4s from row to row: 64 halves and 8 more

var<workgroup> tile_a: array<vec4<f16>, 2304>;
var<workgroup> tile_b: array<vec4<f16>, 2304>;
