//! Files of two-bit complex models, written element by element as their format says: every code and every scale has to come
//! out as the packed format has it, whatever the layout.

use super::gguf_make::Make;
use super::refused;
use fairy2i_gpu::codebook::{pack_row, words_for};
use fairy2i_gpu::files::{self, ModelFolder, Source};
use fairy2i_gpu::model::weights::packed;
use fairy2i_gpu::model::{Dtype, Granularity, Method};

/// Complex sizes.
const HIDDEN: usize = 64;
const INNER: usize = 128;
const VOCAB: usize = 128;

/// A linear layer: its name, and how many complex rows and columns it has.
type Layer = (&'static str, usize, usize);
const LAYERS: [Layer; 7] = [
    ("attn_q", HIDDEN, HIDDEN),
    ("attn_k", HIDDEN, HIDDEN),
    ("attn_v", HIDDEN, HIDDEN),
    ("attn_output", HIDDEN, HIDDEN),
    ("ffn_gate", INNER, HIDDEN),
    ("ffn_up", INNER, HIDDEN),
    ("ffn_down", HIDDEN, INNER),
];

/// A number for each place, without a pattern.
fn hash(layer: &str, places: &[usize]) -> u32 {
    let bytes = layer.bytes().map(usize::from).chain(places.iter().copied());
    bytes.fold(0x9E37_79B9, |h, x| {
        (h ^ x as u32).wrapping_mul(0x85EB_CA6B) ^ h >> 13
    })
}

/// The code of an element: 0 to 3 for -1, +1, -i, +i.
fn code(layer: &str, branch: usize, row: usize, column: usize) -> u8 {
    (hash(layer, &[branch, row, column]) >> 20 & 3) as u8
}

/// The bits of a positive 16-bit scale of a tile.
fn scale(layer: &str, branch: usize, tile: (usize, usize), part: usize) -> u16 {
    0x2000 + (hash(layer, &[7, branch, tile.0, tile.1, part]) >> 16 & 0x0FFF) as u16
}

/// Codes in tiles, apart from the scales; `tile` counts through several matrices.
fn bundle(layers: &[Layer], branches: usize) -> (Vec<u8>, Vec<u8>, usize) {
    let tiles: usize = layers
        .iter()
        .map(|(_, rows, columns)| rows / 64 * (columns / 64))
        .sum();
    let mut codes = vec![0; tiles * 64 * branches * 16];
    let mut scales = vec![0; tiles * branches * 4];
    let mut first = 0;
    for (name, rows, columns) in layers {
        for branch in 0..branches {
            for (m, k) in (0..*rows).flat_map(|m| (0..*columns).map(move |k| (m, k))) {
                let tile = first + m / 64 * (columns / 64) + k / 64;
                let slot = m % 64 / 16 * 16 + k % 64 / 4;
                let at = ((tile * 64 + slot) * branches + branch) * 16 + m % 16;
                codes[at] |= code(name, branch, m, k) << (2 * (k % 4));
                for part in 0..2 {
                    let bits = scale(name, branch, (m / 64, k / 64), part);
                    let at = 2 * ((tile * branches + branch) * 2 + part);
                    scales[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                }
            }
        }
        first += rows / 64 * (columns / 64);
    }
    (codes, scales, tiles)
}

/// A stage in blocks of 64 or 256 columns with scales of their tile, or of the matrix.
fn plane((name, rows, columns): Layer, branch: usize, width: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for m in 0..rows {
        for block in 0..columns / width {
            for chunk in 0..width / 64 {
                let start = block * width + 64 * chunk;
                let column = |l: usize, t: usize| code(name, branch, m, start + l + 16 * t);
                bytes.extend((0..16).map(|l| (0..4).fold(0, |b, t| b | column(l, t) << (2 * t))));
            }
            let tile = if width == 64 { (m / 64, block) } else { (0, 0) };
            for part in 0..2 {
                bytes.extend(scale(name, branch, tile, part).to_le_bytes());
            }
        }
    }
    bytes
}

fn keys(hidden: usize, inner: usize) -> Make {
    let made = Make::default()
        .text("general.architecture", "fairy2i")
        .text("fairy2i.base_arch", "llama")
        .text("fairy2i.quant.codebook", "{+/-1,+/-i}")
        .u32("fairy2i.schema_version", 2)
        .u32("fairy2i.quant.tile_size", 64)
        .u32("fairy2i.block_count", 1)
        .u32("fairy2i.context_length", 32)
        .u32("fairy2i.embedding_length", hidden as u32)
        .u32("fairy2i.feed_forward_length", inner as u32)
        .u32("fairy2i.attention.head_count", 2)
        .u32("fairy2i.attention.head_count_kv", 2)
        .u32("fairy2i.vocab_size", VOCAB as u32)
        .f32("fairy2i.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("fairy2i.rope.freq_base", 10000.0);
    dense(made, hidden)
}

/// Embedding, norms and head.
fn dense(made: Make, hidden: usize) -> Make {
    let pair = |i: usize| [0x3F80 + (i % 100) as u16, 0xBF80 + (i % 70) as u16];
    let embedding = (0..VOCAB * hidden)
        .flat_map(pair)
        .flat_map(u16::to_le_bytes);
    let norms = ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"];
    let made = made.tensor(
        "token_embd",
        &[hidden as u64, VOCAB as u64],
        0,
        embedding.collect(),
    );
    let ones = vec![1.0; 2 * hidden];
    let made = norms.iter().fold(made, |made, name| {
        made.floats(name, &[2 * hidden as u64], &ones)
    });
    let head = vec![0x3C; VOCAB * 2 * hidden * 2];
    made.tensor("output", &[2 * hidden as u64, VOCAB as u64], 1, head)
}

/// A bundle of each of these lists of layers, with scales of this type.
fn bundles(lists: &[(&str, &[Layer])], branches: usize, kind: u32) -> Make {
    let mut made = keys(HIDDEN, INNER);
    made.alignment = Some(64);
    for (name, layers) in lists {
        let (codes, scales, tiles) = bundle(layers, branches);
        let (b, tiles) = (branches as u64, tiles as u64);
        let name = format!("blk.0.{name}.bundle");
        made = made
            .tensor(&format!("{name}.codes"), &[16, b, 64, tiles], 46, codes)
            .tensor(&format!("{name}.scales"), &[2, b, tiles], kind, scales);
    }
    made
}

fn apart() -> Vec<(&'static str, &'static [Layer])> {
    let all = LAYERS.iter();
    all.map(|layer| (layer.0, std::slice::from_ref(layer)))
        .collect()
}

fn planes(layers: &[Layer], made: Make, kind: u32, width: usize) -> Make {
    layers.iter().fold(made, |made, layer| {
        ["U.s0", "U.s1", "W.s0", "W.s1"]
            .iter()
            .enumerate()
            .fold(made, |made, (branch, stage)| {
                let name = format!("blk.0.{}.{stage}", layer.0);
                let bytes = plane(*layer, branch, width);
                made.tensor(&name, &[layer.2 as u64, layer.1 as u64], kind, bytes)
            })
    })
}

fn open(made: &Make) -> fairy2i_gpu::Result<ModelFolder> {
    files::open_source(Source::memory("m", [("x.gguf".to_owned(), made.bytes())]))
}

/// The layer that the packed format calls `prefix`.
fn layer<'l>(layers: &'l [Layer], prefix: &str) -> &'l Layer {
    let names = [
        ("q_proj", "attn_q"),
        ("k_proj", "attn_k"),
        ("v_proj", "attn_v"),
        ("o_proj", "attn_output"),
        ("gate_proj", "ffn_gate"),
        ("up_proj", "ffn_up"),
        ("down_proj", "ffn_down"),
    ];
    let name = names
        .iter()
        .find(|(theirs, _)| prefix.ends_with(theirs))
        .unwrap()
        .1;
    layers.iter().find(|layer| layer.0 == name).unwrap()
}

/// Compares every code and scale with the elements.
fn same(opened: &ModelFolder, layers: &[Layer], stages: usize, bits_of: fn(f32) -> u16) {
    let recipe = opened.recipe.unwrap();
    assert_eq!(recipe.method, Method::Phase { stages });
    assert!(recipe.skip_head);
    for linear in opened
        .config
        .linears()
        .iter()
        .filter(|l| l.prefix != "lm_head")
    {
        let (name, rows, columns) = layer(layers, &linear.prefix);
        let stored = |kind: &str| {
            let tensor = opened.weights.tensor(&format!("{}.{kind}", linear.prefix));
            tensor.unwrap().unwrap()
        };
        let codes = stored("codes").bytes;
        let words = codes.chunks_exact(4);
        let codes: Vec<_> = words
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let mut want = Vec::new();
        for m in 0..*rows {
            for branch in 0..2 * stages {
                let power = |k| [2, 0, 3, 1][usize::from(code(name, branch, m, k))];
                let powers: Vec<u8> = (0..*columns).map(power).collect();
                let mut words = vec![0; words_for(*columns)];
                pack_row(&powers, &mut words);
                want.extend(words);
            }
        }
        assert_eq!(codes, want, "{}", linear.prefix);
        let scales = stored("scales");
        let values: Vec<u16> = scales
            .to_f32(0..scales.elements())
            .into_iter()
            .map(bits_of)
            .collect();
        let [blocks, groups, ..] = scales.shape[..] else {
            panic!("five dimensions")
        };
        let mut want = Vec::new();
        for tile in (0..blocks).flat_map(|r| (0..groups).map(move |c| (r, c))) {
            let tile = if recipe.granularity == Granularity::Row {
                (0, 0)
            } else {
                tile
            };
            for branch in 0..2 * stages {
                want.extend([0, 1].map(|part| scale(name, branch, tile, part)));
            }
        }
        assert_eq!(values, want, "{}", linear.prefix);
        packed(&*opened.weights, recipe, linear).expect("it loads");
    }
}

fn f16_bits(value: f32) -> u16 {
    half::f16::from_f32(value).to_bits()
}

fn bf16_bits(value: f32) -> u16 {
    half::bf16::from_f32(value).to_bits()
}

#[test]
fn bundles_are_read() {
    let opened = open(&bundles(&apart(), 4, 1)).unwrap();
    let tile = Granularity::Tile {
        rows: 64,
        columns: 64,
    };
    assert_eq!(opened.recipe.unwrap().granularity, tile);
    same(&opened, &LAYERS, 2, f16_bits);
    let embedding = opened
        .weights
        .tensor("model.embed_tokens.weight")
        .unwrap()
        .unwrap();
    assert_eq!(
        (embedding.dtype, &embedding.shape[..]),
        (Dtype::BF16, &[VOCAB, 2 * HIDDEN][..])
    );
    // Row 1: the first half has the low halves of its elements, the second the high ones.
    let row = &embedding.bytes[4 * HIDDEN..8 * HIDDEN];
    assert_eq!(row[..4], [0xC0, 0x3F, 0xC1, 0x3F]);
    assert_eq!(row[2 * HIDDEN..2 * HIDDEN + 4], [0xC0, 0xBF, 0xC1, 0xBF]);
    assert_eq!(
        (opened.config.hidden, opened.config.intermediate),
        (128, 256)
    );
    assert_eq!(opened.config.architecture, "LlamaForCausalLM");
    let head = opened.weights.dtype("lm_head.weight").unwrap();
    assert_eq!(head, Some(Dtype::F16));
}

#[test]
fn scales_of_zero_are_read() {
    let made = bundles(&apart(), 4, 1).last(|tensor| tensor.bytes[..4].fill(0));
    let opened = open(&made).unwrap();
    let name = "model.layers.0.mlp.down_proj";
    let scales = opened
        .weights
        .tensor(&format!("{name}.scales"))
        .unwrap()
        .unwrap();
    assert_eq!(scales.to_f32(0..2), [0.0; 2]);
    let linears = opened.config.linears();
    let layer = linears.iter().find(|l| l.prefix == name).unwrap();
    packed(&*opened.weights, opened.recipe.unwrap(), layer).expect("it loads");
}

#[test]
fn one_stage_may_have_queries_keys_and_values_in_one_bundle() {
    let mut lists = vec![("attn_qkv", &LAYERS[..3])];
    lists.extend(apart().into_iter().skip(3));
    for (kind, bits_of) in [(1, f16_bits as fn(f32) -> u16), (30, bf16_bits)] {
        same(
            &open(&bundles(&lists, 2, kind)).unwrap(),
            &LAYERS,
            1,
            bits_of,
        );
    }
}

#[test]
fn blocks_with_the_scales_of_their_tile_are_read() {
    for kind in [42, 44] {
        let made = planes(&LAYERS, keys(HIDDEN, INNER), kind, 64);
        same(&open(&made).unwrap(), &LAYERS, 2, f16_bits);
    }
}

#[test]
fn blocks_with_the_scales_of_the_matrix_are_read() {
    let layers = LAYERS.map(|(name, _, _)| (name, 256, 256));
    let made = planes(&layers, keys(256, 256), 40, 256);
    let opened = open(&made).unwrap();
    assert_eq!(opened.recipe.unwrap().granularity, Granularity::Row);
    same(&opened, &layers, 2, f16_bits);
}

#[test]
fn files_that_contradict_themselves_are_refused() {
    let good = || bundles(&apart(), 4, 1);
    refused(
        open(&good().u32("fairy2i.quant.residual_steps", 1)),
        &["residual_steps", "2"],
    );
    refused(
        open(
            &good()
                .without("fairy2i.base_arch")
                .text("fairy2i.base_arch", "gpt2"),
        ),
        &["gpt2"],
    );
    refused(
        open(&good().u32("fairy2i.weight.m_block", 32)),
        &["m_block", "32"],
    );
    let order = good().text("fairy2i.weight.code_order", "other");
    refused(open(&order), &["code_order", "other"]);
    refused(open(&good().u32("fairy2i.new", 1)), &["fairy2i.new"]);
    let schema = good()
        .without("fairy2i.schema_version")
        .u32("fairy2i.schema_version", 5);
    refused(open(&schema), &["schema_version"]);
    let without = bundles(&apart()[..6], 4, 1);
    refused(open(&without), &["blk.0.ffn_down.bundle.codes", "missing"]);
    let other = good().floats("blk.0.attn_q.U.s0", &[1], &[1.0]);
    refused(open(&other), &["blk.0.attn_q.U.s0", "not a tensor"]);
    let small = good()
        .without("fairy2i.embedding_length")
        .u32("fairy2i.embedding_length", 32);
    refused(open(&small), &["tensor(s)"]);
    // The largest exponent is that of an infinity.
    let infinite = good().last(|tensor| tensor.bytes[..2].copy_from_slice(&[0x00, 0xFC]));
    let names = ["ffn_down.bundle.scales", "-inf", "not a scale"];
    refused(open(&infinite), &names);
}

#[test]
fn scales_between_codes_are_checked() {
    let row = |bytes: &mut [u8]| bytes[16] ^= 1;
    let all = |bytes: &mut [u8]| {
        let blocks = bytes.chunks_exact_mut(20);
        blocks.for_each(|block| block[18..].copy_from_slice(&[0x01, 0x7E]));
    };
    for (change, what) in [
        (
            &row as &dyn Fn(&mut [u8]),
            &["ffn_down.U.s0", "several"][..],
        ),
        (&all, &["ffn_down", "NaN", "not a scale"]),
    ] {
        let mut made = planes(&LAYERS[..6], keys(HIDDEN, INNER), 44, 64);
        for (branch, stage) in ["U.s0", "U.s1", "W.s0", "W.s1"].iter().enumerate() {
            let mut bytes = plane(LAYERS[6], branch, 64);
            change(&mut bytes);
            made = made.tensor(&format!("blk.0.ffn_down.{stage}"), &[128, 64], 44, bytes);
        }
        let opened = open(&made).unwrap();
        for part in ["scales", "codes"] {
            let name = format!("model.layers.0.mlp.down_proj.{part}");
            refused(opened.weights.tensor(&name), what);
        }
    }
}
