//! Rotary embedding with the KV cache, and causal attention over it.
