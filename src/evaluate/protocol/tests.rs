use super::*;

fn opened() -> crate::files::ModelFolder {
    crate::files::open_source(crate::builtin::source()).expect("the model")
}

fn words(opened: &crate::files::ModelFolder) -> Words<'_> {
    Words {
        tokenizer: opened.tokenizer.as_ref().expect("a tokenizer"),
        bos: Some(1),
        eos: Some(2),
    }
}

fn cut(protocol: Protocol, length: usize, stride: usize, text: &str) -> Text {
    let opened = opened();
    let cutting = Cutting {
        protocol,
        length,
        stride,
    };
    Text::cut(&Content::Whole(text.to_owned()), cutting, &words(&opened)).expect("windows")
}

fn counted(text: &Text) -> Vec<u32> {
    let targets = text.windows.iter().flat_map(|w| &w.targets);
    targets.copied().filter(|&t| t != IGNORED).collect()
}

fn ids(text: &str, special: bool) -> Vec<u32> {
    let opened = opened();
    let tokenizer = opened.tokenizer.as_ref().expect("a tokenizer");
    tokenizer.encode(text, special).expect("ids")
}

const TALE: &str =
    "Once upon a time there was a captain who had a parrot, and the parrot had a plan.";

/// "Once", an empty line, "upon a time", and a document that fits into no block of eight tokens.
#[test]
fn blocks_of_the_papers_hold_whole_documents() {
    let (first, second) = (ids("Once", false), ids("upon a time", false));
    let long = "far too many words for a block as short as that one is";
    let text = cut(
        Protocol::Paper,
        8,
        8,
        &format!("Once\n\n{long}\nupon a time\n"),
    );
    let tokens = [&[1][..], &first, &[2], &second, &[2]].concat();
    assert_eq!(text.count, tokens.len() - 1);
    let mut targets = tokens[1..].to_vec();
    targets[first.len() + 1] = IGNORED; // behind the first end
    let tokens = tokens[..targets.len()].to_vec();
    assert_eq!(text.windows, [Window { tokens, targets }]);
}

#[test]
fn plain_blocks_drop_what_fills_none() {
    let text = cut(Protocol::Blocks, 4, 4, TALE);
    let all = ids(TALE, false);
    assert_eq!(text.tokens, all.len());
    assert_eq!(counted(&text), all[..all.len() / 3 * 3]);
    assert!(text.windows.iter().all(|w| w.tokens.len() == 3));
    assert!(text.windows.iter().all(|w| w.tokens[0] == 1));
    assert_eq!(text.count, all.len() / 3 * 3);
}

#[test]
fn a_model_without_the_token_of_a_protocol_says_so() {
    let opened = opened();
    let content = Content::Whole(TALE.to_owned());
    for protocol in [Protocol::Blocks, Protocol::Paper] {
        let cutting = Cutting {
            protocol,
            length: 8,
            stride: 8,
        };
        let words = Words {
            bos: None,
            ..words(&opened)
        };
        assert!(Text::cut(&content, cutting, &words).is_err());
    }
}

/// With windows of n tokens each counts those at indices above n / 2, n - 1 - n / 2 of them; bos replaces the first
/// token of a chunk.
#[test]
fn chunks_count_their_second_half() {
    let all = ids(TALE, true);
    for length in [6, 7] {
        let text = cut(Protocol::LlamaPerplexity, length, length, TALE);
        assert_eq!(text.windows.len(), all.len() / length);
        let want: Vec<u32> = all
            .chunks_exact(length)
            .flat_map(|chunk| &chunk[length / 2 + 1..])
            .copied()
            .collect();
        assert_eq!(counted(&text), want);
        assert_eq!(text.count, text.windows.len() * (length - 1 - length / 2));
        assert!(text.windows.iter().all(|w| w.tokens[0] == 1));
        assert_eq!(text.windows[1].tokens[1..], all[length + 1..2 * length - 1]);
    }
}

#[test]
fn windows_with_a_stride_count_every_token_once() {
    let all = ids(TALE, true);
    for (length, stride) in [(8, 3), (8, 8), (5, 1), (100, 50)] {
        let text = cut(Protocol::Strided, length, stride, TALE);
        let mut want = all[1..].to_vec();
        if stride == length {
            // the first token of a window that overlaps with none has nothing before it
            want = all.chunks(length).flat_map(|c| &c[1..]).copied().collect();
        }
        assert_eq!(counted(&text), want, "{length} {stride}");
    }
}

#[test]
fn documents_do_not_run_into_each_other() {
    let opened = opened();
    let content = Content::Documents(vec!["Once".into(), "upon a time".into()]);
    let cutting = Cutting {
        protocol: Protocol::Blocks,
        length: 3,
        stride: 3,
    };
    let text = Text::cut(&content, cutting, &words(&opened)).expect("windows");
    let all = [ids("Once", false), vec![2], ids("upon a time", false)].concat();
    assert_eq!(counted(&text), all[..all.len() / 2 * 2]);
    assert_eq!(text.bytes, "Once".len() + "upon a time".len());
}
