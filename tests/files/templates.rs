//! Templates of chats: Jinja2's meaning, files, bounds.

use super::refused;
use fairy2i_gpu::files::chat_template::{ChatInput, ChatTemplate, Family, Moment};
use fairy2i_gpu::files::{Source, Tokenizer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Made by `tools/jinja_cases.py`.
const CASES: &[u8] = include_bytes!("../data/templates/jinja.json");
const STORIES: &[u8] = include_bytes!("../data/stories260k.tokenizer.json");

/// What is known to be another thing here. minijinja decides the first group; the second one prints Python's own objects,
/// or asks for more of them than templates of chats do.
const DIFFERENT: [&str; 39] = [
    // comparisons and slices that Python refuses, and scopes of macros
    "{{ 1 < 'a' }}",
    "{{ n < 1 }}",
    "{{ undefined_thing < 1 }}",
    "{{ 1 in 'abc' }}",
    "{{ n[1:] }}",
    "{{ undefined_thing[1:] }}",
    "{{ l[1.0] }}|",
    "{{ 1.5e-10 ~ '' }}",
    "{{ '{!r}'.format('a') }}",
    "{% macro m(x, y=x) %}{{ y }}{% endmacro %}{{ m(3) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}",
    "{% block b %}x{{ i }}{% endblock %}",
    "{{ 'ß'.upper() }} {{ 'ǆ'.title() }}",
    "{{ '\\0' }}|{{ '\\101' }}|{{ '\\N{BULLET}' }}|{{ '\\U0001F30D' }}|{{ '\\a\\b\\f\\v' }}",
    // views, generators, namespaces, methods that are not called
    "{{ d.items() }}",
    "{{ d.keys() }}",
    "{{ d.values() }}",
    "{{ keys.items() }}",
    "{{ d.keys()[0] }}",
    "{{ range(3) }}",
    "{{ range(3) | tojson }}",
    "{{ d.items() | tojson }}",
    "{{ l | map('string') | tojson }}",
    "{{ namespace(a=1) | tojson }}",
    "{{ namespace() is mapping }}",
    "{% set ns = namespace(a=1, b='x') %}{{ ns }}",
    "{% for x in l %}{{ loop }}{% endfor %}",
    "{% macro m(a) %}x{% endmacro %}{{ m.name }} {{ m.arguments }}",
    "{{ (ls | map('upper'))[0] }}",
    "{{ (ls | map('upper')) | length }}",
    "{{ (ls | select) | length }}",
    "{{ (l | reverse)[0] }}",
    "{{ d.items() is iterable }} {{ d.items() is sequence }} {{ d.items is callable }} {{ d.items is defined }} {{ s.strip is defined }} {{ raise_exception is defined }} {{ strftime_now is callable }} {{ range is callable }}",
    "{{ keys.items is number }} {{ keys.get is callable }} {{ keys['items'] }} {{ keys.name }}",
    "{{ s.encode() }}",
    "{{ 'a-b'.translate({}) }}",
    "{{ '<b>x</b> y' | striptags }}",
    "{{ 1000 | filesizeformat }} {{ 1000000 | filesizeformat(true) }}",
    "{{ s | pprint }} {{ l | pprint }} {{ d | pprint }}",
];

fn render(template: &str, input: &ChatInput) -> fairy2i_gpu::Result<String> {
    ChatTemplate::new("t", template, Vec::new()).render(input)
}

#[test]
fn templates_mean_what_jinja2_means() {
    let all: Value = serde_json::from_slice(CASES).unwrap();
    let input = ChatInput {
        variables: all["context"].as_object().unwrap().clone(),
        now: Some(Moment::from_seconds(1_741_503_900)),
        ..ChatInput::default()
    };
    let (mut wrong, mut right) = (Vec::new(), Vec::new());
    for case in all["cases"].as_array().unwrap() {
        let template = case["template"].as_str().unwrap();
        let got = render(template, &input).map_err(|e| e.to_string());
        let holds = match (&got, case["expected"].as_str()) {
            (Ok(got), Some(expected)) => got == expected,
            (Err(_), None) => true,
            _ => false,
        };
        match (holds, DIFFERENT.contains(&template)) {
            (false, false) => wrong.push(format!(
                "{}: {template:?}: got {got:?}, {case}",
                case["kind"]
            )),
            (true, true) => right.push(template),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(right.is_empty(), "these are Jinja2's now: {right:#?}");
}

fn tokenizer() -> Tokenizer {
    Tokenizer::new("t", STORIES, None, None, 512).unwrap()
}

fn open(files: &[(&str, String)]) -> fairy2i_gpu::Result<ChatTemplate> {
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.clone().into_bytes()));
    ChatTemplate::open(&Source::memory("m", files), &tokenizer())
}

fn asked() -> ChatInput {
    ChatInput {
        messages: vec![json!({"role": "user", "content": "Hi"})],
        add_generation_prompt: true,
        ..ChatInput::default()
    }
}

#[test]
fn the_file_wins_and_lists_have_one_for_tools() {
    const SETTINGS: &str = "tokenizer_config.json";
    let with_tools = ChatInput {
        tools: Some(vec![json!({"name": "f"})]),
        ..asked()
    };
    let one = json!({"chat_template": "one {{ bos_token }}", "bos_token": {"content": "<s>"}})
        .to_string();
    let chat = open(&[(SETTINGS, one.clone())]).unwrap();
    assert_eq!(chat.render(&asked()).unwrap(), "one <s>");
    assert!(chat.origin().contains(SETTINGS) && chat.family().is_none());
    let chat = open(&[
        (SETTINGS, one),
        ("chat_template.jinja", "file {{ bos_token }}\n".into()),
    ])
    .unwrap();
    assert_eq!(chat.render(&asked()).unwrap(), "file <s>");
    assert!(chat.origin().contains("chat_template.jinja"));
    let list = json!({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]});
    let chat = open(&[(SETTINGS, list.to_string())]).unwrap();
    assert_eq!(chat.render(&asked()).unwrap(), "d");
    assert_eq!(chat.render(&with_tools).unwrap(), "t");
    let chat = open(&[]).unwrap();
    assert_eq!(chat.family(), Some(Family::Plain));
    assert!(chat.origin().contains("no chat template"));
    let text = chat.render(&asked()).unwrap();
    assert_eq!(text, "<s>User: Hi\nAssistant:");
}

#[test]
fn a_wrong_template_is_an_error_when_it_is_used() {
    for (field, named) in [
        (json!("{% if x %}"), "does not parse"),
        (json!(5), "neither a text nor a list"),
        (
            json!([{"name": "rag", "template": "x"}]),
            "neither a text nor a list",
        ),
        (
            json!("{{ nothing.there }}"),
            "does not work with these messages",
        ),
        (json!("{{ 'x' | nofilter }}"), "nofilter"),
        (
            json!("{{ raise_exception('Not\nso') }}"),
            "the chat template says: Not\\nso",
        ),
    ] {
        let chat = open(&[(
            "tokenizer_config.json",
            json!({"chat_template": field}).to_string(),
        )])
        .unwrap();
        refused(chat.render(&asked()), &[named]);
        refused(chat.encode(&tokenizer(), &asked()), &[named]);
    }
    refused(
        open(&[("tokenizer_config.json", "[]".into())]),
        &["tokenizer_config.json"],
    );
    refused(render("{{ strftime_now('%Y') }}", &asked()), &["the time"]);
}

#[test]
fn keys_keep_their_order() {
    let message = r#"{"role": "user", "z": 1, "a": {"y": 2, "b": null}, "m": 3}"#;
    let input = ChatInput {
        messages: vec![serde_json::from_str(message).unwrap()],
        ..ChatInput::default()
    };
    assert_eq!(
        render("{{ messages[0] | tojson }}", &input).unwrap(),
        message
    );
}

/// Templates come from strangers: whatever they do ends soon, in a text or an error, and takes no memory without bounds.
#[test]
fn hostile_templates_end() {
    let deep = |value: &str| {
        format!(
            "{{% set ns = namespace(x=[1]) %}}{{% for i in range(100000) %}}{{% set ns.x = {value} %}}{{% endfor %}}{{{{ ns.x }}}}"
        )
    };
    let set = |value: &str| "{% set x = ".to_owned() + value + " %}";
    let nest = set("[x]").repeat(20_000) + "{{ x }}{{ x == x }}{{ x | tojson }}";
    let cases = [
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ i * j }}{% endfor %}{% endfor %}".to_owned(),
        "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{% for a in [[1]] recursive %}{{ loop([[a]]) }}{% endfor %}".to_owned(),
        deep("[ns.x]"),
        deep("ns.x[0:]"),
        deep("ns.x[::-1]"),
        deep("ns.x + ns.x"),
        deep("ns.x * 2"),
        deep("{'a': ns.x}"),
        deep("[ns.x, ns.x]"),
        deep("(ns.x, ns.x)"),
        deep("ns.x | batch(1)"),
        deep("[[[[[[[[ns.x]]]]]]]] | tojson | list"),
        deep("dict(a=ns.x)"),
        nest,
        format!("{{% set x = [1]{} %}}{{{{ x }}}}", " | batch(1)".repeat(1000)),
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}".to_owned(),
        "{{ 'x' * 1000000000000 }}".to_owned(),
        "{{ 'x' * 99999999 }}{{ 'x' * 99999999 }}".to_owned(),
        "{{ '%999999999d' % 1 }}{{ '{:999999999}'.format(1) }}".to_owned(),
        "{{ 'x'.ljust(999999999999) }}".to_owned(),
        "{{ 'x' | center(999999999999) | indent(99999999) }}".to_owned(),
        "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(50) %}{% set ns.s = ns.s.replace('a', 'aaaaaaaa') %}{% endfor %}".to_owned(),
        "{% set ns = namespace(s='x,x') %}{% for i in range(50) %}{% set ns.s = ns.s.join(ns.s | list) %}{% endfor %}".to_owned(),
        "{{ range(100000) | list | tojson(indent=99999999999) }}".to_owned(),
        "{% include '/etc/passwd' %}{% import '/etc/passwd' as x %}".to_owned(),
        "{{ ''.__class__.__mro__[1].__subclasses__() }}".to_owned(),
        "{{ [[".repeat(10_000),
        "{% if t %}".repeat(10_000),
        "{{ 1".to_owned() + &" + 1".repeat(100_000) + " }}",
        "{{ x".to_owned() + &"|upper".repeat(4_000) + " }}",
        "{{ x".to_owned() + &"[0:]".repeat(1_000) + " }}",
        "{{ -".to_owned() + &"-".repeat(4_000) + "1 }}",
        "{{ not ".to_owned() + &"not ".repeat(4_000) + "1 }}",
        "{{ 2 ** 9999999999 }}{{ 10 ** 10 ** 10 }}".to_owned(),
        "x".repeat(2 << 20),
        "{{ '\\ud800\\udfff' }}{{ '\\x' }}{{ '\\U00110000' }}{{ '%' % () }}{{ '%(' % {} }}{{ '{' .format() }}".to_owned(),
    ];
    for template in &cases {
        let clock = Instant::now();
        let result = render(template, &asked());
        let shown: String = template.chars().take(80).collect();
        assert!(
            clock.elapsed() < Duration::from_secs(20),
            "{shown} took {:?}",
            clock.elapsed()
        );
        if let Ok(text) = result {
            assert!(text.len() <= 32 << 20, "{shown} wrote {} bytes", text.len());
        }
    }
    // Messages may be hostile, too.
    let mut nested = json!("x");
    for _ in 0..1000 {
        nested = json!([nested]);
    }
    let input = ChatInput {
        messages: vec![nested],
        ..ChatInput::default()
    };
    refused(render("{{ messages }}", &input), &["nested"]);
}
