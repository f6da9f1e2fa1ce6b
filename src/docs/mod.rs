//! Prose: how the crate is built, what is exact, how fast it is, how to train with it.
//!
//! The pages are Markdown files in `src/docs`, so that they read well in a repository, too. There, a link leads to a
//! neighbouring file; here, `links.md` stands before each page and gives the same names to modules and items, since
//! Markdown takes the first definition of a link. rustdoc checks these, the test `prose` the others.

/// One page for each Markdown file.
macro_rules! pages {
    ($($name:ident = $file:literal;)*) => {
        $(
            #[doc = include_str!("links.md")]
            #[doc = include_str!($file)]
            pub mod $name {}
        )*
    };
}

pages! {
    commands = "commands.md";
    serve = "serve.md";
    browser = "browser.md";
    architecture = "architecture.md";
    glossary = "glossary.md";
    exactness = "exactness.md";
    performance = "performance.md";
    training = "training.md";
    clusters = "clusters.md";
    data = "data.md";
    scale = "scale.md";
    quality = "quality.md";
    calibration = "calibration.md";
    ifairy = "ifairy.md";
    models = "models.md";
    gguf = "gguf.md";
    changelog = "changelog.md";
}

#[doc = include_str!("links.md")]
#[doc = include_str!("lab_notes/index.md")]
pub mod lab_notes {
    pages! {
        decoding = "lab_notes/decoding.md";
        streams = "lab_notes/streams.md";
        prompts = "lab_notes/prompts.md";
        attention = "lab_notes/attention.md";
        quantizing = "lab_notes/quantizing.md";
        calibrating = "lab_notes/calibrating.md";
        submission = "lab_notes/submission.md";
        processor = "lab_notes/processor.md";
    }
}

#[doc = include_str!("links.md")]
#[doc = include_str!("notes/index.md")]
pub mod notes {
    pages! {
        gemv_rows = "notes/gemv_rows.md";
        round_vector = "notes/round_vector.md";
        phase_gemm_bits = "notes/phase_gemm_bits.md";
        attention_coop = "notes/attention_coop.md";
        phase_scale = "notes/phase_scale.md";
    }
}
