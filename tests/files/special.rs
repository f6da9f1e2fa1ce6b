//! Begin tokens, and added tokens that only the files beside `tokenizer.json` name. All ids are those of
//! transformers 5.24, but that a begin token is never there twice.

use super::refused;
use fairy2i_gpu::files::corpus::TextTokenizer;
use fairy2i_gpu::files::{Source, Tokenizer};
use fairy2i_gpu::{Error, Result};
use serde_json::{Value, json};

const STORIES: &[u8] = include_bytes!("../data/stories260k.tokenizer.json");
const SETTINGS: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";
const SPECIAL: &str = "special_tokens_map.json";

fn stories() -> Value {
    serde_json::from_slice(STORIES).unwrap()
}

/// The tokenizer of a folder with these files, for a model with `vocab` embeddings and the begin token 0.
fn open(tokenizer: &Value, beside: &[(&str, Value)], vocab: usize) -> Result<Tokenizer> {
    let all = [("tokenizer.json", tokenizer.clone())];
    let all = all.iter().chain(beside);
    let files = all.map(|(name, value)| (name.to_string(), value.to_string().into_bytes()));
    let opened = Tokenizer::open(&Source::memory("m", files), Some(0), vocab)?;
    Ok(opened.expect("there is a tokenizer.json"))
}

fn settings(more: Value) -> Value {
    let mut all = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    let fields = all.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    all
}

fn token(content: &str, flag: &str) -> Value {
    let mut token = json!({
        "content": content, "lstrip": false, "normalized": false, "rstrip": false,
        "single_word": false, "special": true
    });
    if !flag.is_empty() {
        token[flag] = (flag != "special").into();
    }
    token
}

/// `added_tokens_decoder` with two chat tokens, each with one flag changed.
fn decoder(end: &str, start: &str) -> Value {
    settings(json!({"added_tokens_decoder": {
        "513": token("<|im_start|>", start), "512": token("<|im_end|>", end)
    }}))
}

#[test]
fn begin_tokens_are_what_the_tokenizer_says() {
    let mut plain = stories();
    plain["post_processor"] = Value::Null;
    let object = json!({"__type": "AddedToken", "content": "<s>"});
    // Tokenizer, settings, and what `a` and `<s>a` begin with besides the letter.
    for (tokenizer, more, begins, bos) in [
        (stories(), json!({}), true, 1),
        (stories(), json!({"bos_token": null}), true, 1),
        (stories(), json!({"bos_token": "</s>"}), true, 1),
        (stories(), json!({"add_bos_token": true}), true, 1),
        (stories(), json!({"add_bos_token": false}), false, 1),
        (plain.clone(), json!({"add_bos_token": true}), true, 1),
        (
            plain.clone(),
            json!({"add_bos_token": true, "bos_token": object}),
            true,
            1,
        ),
        (plain.clone(), json!({"add_bos_token": false}), false, 1),
        (plain.clone(), json!({}), false, 1),
        // Nothing but config.json names one.
        (
            plain.clone(),
            json!({"add_bos_token": true, "bos_token": null}),
            true,
            0,
        ),
        (
            plain,
            json!({"add_bos_token": true, "bos_token": "<none>"}),
            true,
            0,
        ),
    ] {
        let opened = open(&tokenizer, &[(SETTINGS, settings(more.clone()))], 512).unwrap();
        assert_eq!(opened.bos(), Some(bos), "{more}");
        let want = if begins { vec![bos, 261] } else { vec![261] };
        assert_eq!(opened.encode("a", true).unwrap(), want, "{more}");
        assert_eq!(opened.encode("a", false).unwrap(), [261], "{more}");
        if bos == 1 {
            assert_eq!(opened.encode("<s>a", true).unwrap(), [1, 261], "{more}");
            // What a text says twice is its own business.
            assert_eq!(
                opened.encode("<s><s>a", true).unwrap(),
                [1, 1, 261],
                "{more}"
            );
        }
    }
}

#[test]
fn post_processors_of_every_kind_begin_once() {
    let template = |single: Value| {
        json!({
            "type": "TemplateProcessing", "single": single,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
                "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
            }
        })
    };
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let both = template(json!([special("<s>"), text, special("</s>")]));
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let sequence = json!({"type": "Sequence", "processors": [bytes, both]});
    let roberta = json!({
        "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1],
        "trim_offsets": true, "add_prefix_space": false
    });
    let bert = json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]});
    for processor in [both, sequence, roberta, bert] {
        let mut json = stories();
        json["post_processor"] = processor.clone();
        for more in [json!({}), json!({"add_bos_token": true})] {
            let opened = open(&json, &[(SETTINGS, settings(more))], 512).unwrap();
            assert_eq!(opened.bos(), Some(1));
            for text in ["a", "<s>a"] {
                assert_eq!(
                    opened.encode(text, true).unwrap(),
                    [1, 261, 2],
                    "{processor}"
                );
            }
        }
    }
    // One that only ends a text.
    let mut json = stories();
    json["post_processor"] = template(json!([text, special("</s>")]));
    let opened = open(
        &json,
        &[(SETTINGS, settings(json!({"bos_token": null})))],
        512,
    )
    .unwrap();
    assert_eq!(opened.bos(), Some(0));
    assert_eq!(opened.encode("a", true).unwrap(), [261, 2]);
}

const TEXTS: [&str; 3] = [
    "<|im_start|>Hi<|im_end|>",
    "Hi <|im_start|> there <|im_end|> you",
    "a<|im_end|>b",
];

#[test]
fn added_tokens_of_other_files_are_tokens_with_their_flags() {
    let letters = [504, 506, 288, 98, 367, 506, 505];
    let cut = |begin: &[u32], end: &[u32]| [begin, &letters, end].concat();
    let both = json!({"<|im_end|>": 512, "<|im_start|>": 513});
    let plain = json!({"bos_token": "<s>"});
    let named = settings(json!({"eos_token": "<|im_end|>"}));
    let map = json!({"eos_token": {"content": "<|im_end|>", "lstrip": false}});
    let special = [
        vec![1, 513, 320, 417, 512],
        vec![1, 320, 417, 410, 513, 410, 383, 410, 512, 410, 364],
        vec![1, 261, 512, 268],
    ];
    let normalized = [
        cut(&[1, 513, 440, 417], &[]),
        vec![1, 320, 417, 513, 383, 512, 364],
        cut(&[1, 261], &[430]),
    ];
    let one_named = [
        vec![1, 513, 440, 417, 512],
        vec![1, 320, 417, 513, 383, 410, 512, 410, 364],
        vec![1, 261, 512, 268],
    ];
    for (beside, want) in [
        (vec![(SETTINGS, decoder("", ""))], special.clone()),
        // The newer field counts, whatever the older file says.
        (
            vec![
                (SETTINGS, decoder("", "")),
                (ADDED, json!({"<|im_end|>": 513, "<|im_start|>": 512})),
            ],
            special.clone(),
        ),
        (
            vec![(SETTINGS, decoder("lstrip", "rstrip"))],
            [
                vec![1, 513, 320, 417, 512],
                vec![1, 320, 417, 410, 513, 383, 512, 410, 364],
                vec![1, 261, 512, 268],
            ],
        ),
        (
            vec![(SETTINGS, decoder("single_word", ""))],
            [
                cut(&[1, 513, 320, 417], &[]),
                special[1].clone(),
                cut(&[1, 261], &[430]),
            ],
        ),
        (vec![(ADDED, both.clone())], normalized.clone()),
        (
            vec![(SETTINGS, plain.clone()), (ADDED, both.clone())],
            normalized,
        ),
        (
            vec![(SETTINGS, named), (ADDED, both.clone())],
            one_named.clone(),
        ),
        (
            vec![(SETTINGS, plain), (ADDED, both), (SPECIAL, map)],
            one_named,
        ),
    ] {
        let opened = open(&stories(), &beside, 514).unwrap();
        for (text, want) in TEXTS.iter().zip(want) {
            assert_eq!(
                opened.encode(text, true).unwrap(),
                want,
                "{text} with {beside:?}"
            );
        }
    }
}

#[test]
fn added_tokens_are_silent_if_special_and_shown_if_not() {
    let ids = [1, 513, 320, 417, 512, 261];
    for (special, text) in [("", "Hi a"), ("special", "<|im_start|> Hi<|im_end|> a")] {
        let opened = open(&stories(), &[(SETTINGS, decoder(special, special))], 514).unwrap();
        assert_eq!(opened.decode(&ids).unwrap().trim_start(), text);
        let mut stream = opened.stream(&ids[..1]).unwrap();
        let mut streamed: String = ids[1..]
            .iter()
            .map(|&id| stream.push(id).unwrap())
            .collect();
        streamed += &stream.finish().unwrap();
        assert_eq!(streamed.trim_start(), text);
        assert_eq!(opened.id("<|im_end|>"), Some(512));
        assert_eq!(opened.token(513).as_deref(), Some("<|im_start|>"));
        assert_eq!(opened.ids(), 514);
    }
}

#[test]
fn flags_of_known_tokens_are_those_stated_and_ids_those_of_the_tokenizer() {
    for id in ["2", "7"] {
        let stated = json!({"added_tokens_decoder": {id: token("</s>", "lstrip")}});
        let opened = open(&stories(), &[(SETTINGS, settings(stated))], 512).unwrap();
        let ids = opened.encode("x </s> y", true).unwrap();
        assert_eq!(ids, [1, 410, 444, 2, 410, 348]);
    }
    // Special tokens that are ordinary ones in tokenizer.json.
    let mut none = stories();
    none["added_tokens"] = json!([]);
    let opened = open(&none, &[(SETTINGS, settings(json!({})))], 512).unwrap();
    assert_eq!(
        opened.encode("x</s>y", true).unwrap(),
        [1, 410, 444, 2, 348]
    );
    assert_eq!(opened.decode(&[261, 2, 348]).unwrap(), "a y");
}

#[test]
fn ids_that_leave_a_gap_are_kept() {
    let gap = json!({"added_tokens_decoder": {"600": token("<|x|>", "")}});
    let opened = open(&stories(), &[(SETTINGS, settings(gap))], 640).unwrap();
    assert_eq!(opened.encode("a<|x|>", true).unwrap(), [1, 261, 600]);
    assert_eq!(opened.ids(), 601);
    assert_eq!(opened.decode(&[261, 550, 600]).unwrap(), "a");
}

#[test]
fn ids_that_contradict_each_other_are_refused() {
    let decoded = |tokens: Value| (SETTINGS, settings(json!({"added_tokens_decoder": tokens})));
    let x = token("<|x|>", "");
    for (file, names) in [
        (
            decoded(json!({"5": x})),
            &["tokenizer_config.json", "`<|x|>`", "id 5"][..],
        ),
        (
            decoded(json!({"512": x, "513": x})),
            &["`<|x|>`", "two ids"],
        ),
        (decoded(json!({"some": x})), &["`some`"]),
        (decoded(json!({"512": "x"})), &["`512`"]),
        (decoded(json!([x])), &["added_tokens_decoder"]),
        (
            (ADDED, json!({"<|x|>": 5})),
            &["added_tokens.json", "`<|x|>`", "id 5"],
        ),
        (
            (ADDED, json!({"<|x|>": 512, "<|y|>": 512})),
            &["added_tokens.json", "id 512"],
        ),
        (
            (ADDED, json!({"<|x|>": "y"})),
            &["added_tokens.json", "no id"],
        ),
        (decoded(json!({"300000": x})), &["id 300000"]),
    ] {
        refused(open(&stories(), &[file], 1 << 20), names);
    }
}

#[test]
fn tokens_without_an_embedding_are_refused_where_a_text_has_them() {
    let pad = json!({"added_tokens_decoder": {"512": token("<pad>", "")}});
    let opened = open(&stories(), &[(SETTINGS, settings(pad))], 512).unwrap();
    assert_eq!(opened.encode("a", true).unwrap(), [1, 261]);
    for special in [true, false] {
        let error: Error = opened.encode("a <pad>", special).unwrap_err();
        assert!(error.to_string().contains("`<pad>`"), "{error}");
    }
}

#[test]
fn data_sees_the_same_tokens() {
    let files = |beside: Value| {
        let config = json!({"vocab_size": 514, "bos_token_id": 0, "eos_token_id": 2});
        let files = [
            ("tokenizer.json", stories()),
            ("config.json", config),
            (SETTINGS, beside),
        ];
        let files = files.map(|(name, value)| (name.to_owned(), value.to_string().into_bytes()));
        TextTokenizer::open(&Source::memory("m", files)).unwrap()
    };
    let plain = files(settings(json!({})));
    assert_eq!((plain.id.bos, plain.id.eos), (Some(1), 2));
    let ended = |end: &str| {
        let mut beside = decoder(end, "");
        beside["eos_token"] = json!({"content": "<|im_end|>"});
        files(beside)
    };
    let chat = ended("");
    assert_eq!((chat.id.bos, chat.id.eos), (Some(1), 512));
    assert_ne!(chat.id.sha256, plain.id.sha256, "the ids are others");
    assert_ne!(chat.id.sha256, ended("lstrip").id.sha256);
    assert_eq!(chat.id.sha256, ended("").id.sha256);
}
