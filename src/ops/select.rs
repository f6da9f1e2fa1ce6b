//! Choosing tokens from logits: argmax and top-k.
